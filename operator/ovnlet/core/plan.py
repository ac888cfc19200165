"""The difference between what is and what should be: ``diff`` and the two verbs.

Both verbs are idempotent. ENSURE makes a resource as desired, whether it is missing or different.
REMOVE makes it absent, whether it exists or not. A plan that is interrupted at any point leaves
ordinary drift, which the next plan repairs.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import cache
from typing import Any, Generic

from typing_extensions import TypeVar

from ovnlet.core.resources import (
    ORDER,
    AnyResource,
    LinkEntry,
    Port,
    Resource,
    Route,
    Veth,
    northbound,
)

_RANK: dict[type, int] = {kind: rank for rank, kind in enumerate((*ORDER, *northbound.ORDER))}
# By default the resources of a node. The controller's plans have northbound rows instead.
R = TypeVar("R", bound=AnyResource, default=Resource)
R_co = TypeVar("R_co", bound=AnyResource, default=Resource, covariant=True)


class Verb(StrEnum):
    """What a step does with its resource."""

    ENSURE = "ensure"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Step(Generic[R_co]):
    """One step of a plan. ``was`` is the observed value that ENSURE changes, None if it creates."""

    verb: Verb
    resource: R_co
    was: R_co | None = None

    def __str__(self) -> str:
        """Return the step as one line: `+` creates, `~` changes, `-` removes."""
        kind = type(self.resource).__name__
        if self.verb is Verb.REMOVE:
            return f"- {kind} {_words(self.resource)}"
        if self.was is None:
            return " ".join((f"+ {kind} {_words(self.resource)}", *_attributes(self.resource)))
        return f"~ {kind} {_words(self.resource)}: {', '.join(_changes(self.was, self.resource))}"


Plan = tuple[Step, ...]


def diff(desired: frozenset[R], observed: frozenset[R]) -> tuple[Step[R], ...]:
    """Return the steps that turn ``observed`` into ``desired``: all removals, then all ensures.

    Types with ``removed_last`` are removed after the ensures. Removals run against the creation
    order, ensures along it. What is within a removed resource
    goes with it: it gets no step of its own and does not count as present. The port of a removed
    link is removed too, because a new link under the old row would inherit its `ovn-installed`.
    """
    if desired == observed:
        return ()
    wanted = {resource.key: resource for resource in desired}
    removed = {resource.key for resource in observed if resource.key not in wanted}
    removed_links = {
        resource.host
        for resource in observed
        if isinstance(resource, Veth) and resource.key in removed
    }
    removed |= {
        resource.key
        for resource in observed
        if isinstance(resource, Port) and resource.name in removed_links
    }
    remaining = {resource.key: resource for resource in observed if resource.within not in removed}
    present = {key: resource for key, resource in remaining.items() if key not in removed}
    removes = sorted(
        (r for key, r in remaining.items() if key in removed), key=_order, reverse=True
    )
    ensures = sorted((r for key, r in wanted.items() if present.get(key) != r), key=_order)
    return (
        *(Step(Verb.REMOVE, resource) for resource in removes if not _is_removed_last(resource)),
        *(Step(Verb.ENSURE, resource, present.get(resource.key)) for resource in ensures),
        *(Step(Verb.REMOVE, resource) for resource in removes if _is_removed_last(resource)),
    )


def _is_removed_last(resource: AnyResource) -> bool:
    """Return whether its removal must wait until all else is there."""
    return bool(getattr(resource, "removed_last", False))


def _order(resource: AnyResource) -> tuple[int, int, str]:
    """Return the sort key: rank of the type, connected routes before others, then the key."""
    indirect = isinstance(resource, Route) and resource.via is not None
    place = resource.place if isinstance(resource, LinkEntry) else int(indirect)
    return _RANK[type(resource)], place, str(resource.key)


def _words(resource: AnyResource) -> str:
    _, *rest = resource.key
    return " ".join(str(part) for part in rest if not isinstance(part, bool | bytes))


def _attributes(resource: Any) -> Iterator[str]:
    """Yield what a new resource has besides its key, without our marks and labels."""
    kind: Any = type(resource)
    key = resource.key
    for name, default in _shown(kind):
        value = getattr(resource, name)
        if value is None or value == default or isinstance(value, tuple | frozenset):
            continue
        if value not in key:
            yield f"{name} {value}"


@cache
def _shown(kind: type) -> tuple[tuple[str, Any], ...]:
    """Return the fields that a line of a log may have, with their defaults."""
    hidden = ("alias", "place")
    return tuple((each.name, each.default) for each in fields(kind) if each.name not in hidden)


def _changes(was: Any, now: Any) -> Iterator[str]:
    """Yield what differs between two values of a resource; of a map only the keys that differ."""
    for field in fields(now):
        before, after = getattr(was, field.name), getattr(now, field.name)
        if before == after:
            continue
        if isinstance(before, frozenset) and isinstance(after, frozenset):
            yield from _key_changes(dict(before), dict(after))
        else:
            yield f"{field.name} {_format(before)} -> {_format(after)}"


def _format(value: Any) -> str:
    return (",".join(map(str, value)) or "none") if isinstance(value, tuple) else str(value)


def _key_changes(before: dict[str, str], after: dict[str, str]) -> Iterator[str]:
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            yield f"{name} {before.get(name)} -> {after.get(name)}"
