"""From what is to what should be: ``diff`` and the two verbs.

Both verbs are idempotent. ENSURE makes a thing so, whether it is missing or different; REMOVE makes
it absent, whether it is there or not. A plan cut short anywhere is just drift for the next one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Generic

from typing_extensions import TypeVar

from ovnlet.core.resources import ORDER, Port, Resource, Route, Thing, Veth, northbound

_RANK: dict[type, int] = {kind: rank for rank, kind in enumerate((*ORDER, *northbound.ORDER))}
# A node's things where nothing else is said; the controller's are of the northbound database.
R = TypeVar("R", bound=Thing, default=Resource)
R_co = TypeVar("R_co", bound=Thing, default=Resource, covariant=True)


class Verb(StrEnum):
    ENSURE = "ensure"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Step(Generic[R_co]):
    """One step. ``was`` is the observed value that ENSURE changes, None where it creates."""

    verb: Verb
    resource: R_co
    was: R_co | None = None

    def __str__(self) -> str:
        kind = type(self.resource).__name__
        if self.verb is Verb.REMOVE:
            return f"- {kind} {_words(self.resource)}"
        if self.was is None:
            return " ".join((f"+ {kind} {_words(self.resource)}", *_attributes(self.resource)))
        return f"~ {kind} {_words(self.resource)}: {', '.join(_changes(self.was, self.resource))}"


Plan = tuple[Step, ...]


def diff(desired: frozenset[R], observed: frozenset[R]) -> tuple[Step[R], ...]:
    """The steps that turn ``observed`` into ``desired``: removals downwards, then ensures upwards.

    What lies within a removed thing goes with it: it is neither removed by a step of its own nor
    counted as present. A port of a removed link is removed too, lest the next link inherit its `ovn-installed`.
    """
    wanted = {resource.key: resource for resource in desired}
    doomed = {resource.key for resource in observed if resource.key not in wanted}
    bereft = {
        resource.host
        for resource in observed
        if isinstance(resource, Veth) and resource.key in doomed
    }
    doomed |= {
        resource.key
        for resource in observed
        if isinstance(resource, Port) and resource.name in bereft
    }
    remaining = {resource.key: resource for resource in observed if resource.within not in doomed}
    present = {key: resource for key, resource in remaining.items() if key not in doomed}
    removes = sorted((r for key, r in remaining.items() if key in doomed), key=_order, reverse=True)
    ensures = sorted((r for key, r in wanted.items() if present.get(key) != r), key=_order)
    return (
        *(Step(Verb.REMOVE, resource) for resource in removes),
        *(Step(Verb.ENSURE, resource, present.get(resource.key)) for resource in ensures),
    )


def _order(resource: Thing) -> tuple[int, bool, str]:
    indirect = isinstance(resource, Route) and resource.via is not None
    return _RANK[type(resource)], indirect, str(resource.key)


def _words(resource: Thing) -> str:
    _, *rest = resource.key
    return " ".join(str(part) for part in rest if part is not False and part is not True)


def _attributes(resource: Any) -> Iterator[str]:
    """What a new thing has besides its key; our marks and labels on it are not news."""
    for field in fields(resource):
        value = getattr(resource, field.name)
        plain = isinstance(value, tuple | frozenset) or field.name == "alias"
        if not plain and value is not None and value != field.default and value not in resource.key:
            yield f"{field.name} {value}"


def _changes(was: Any, now: Any) -> Iterator[str]:
    for field in fields(now):
        before, after = getattr(was, field.name), getattr(now, field.name)
        if before == after:
            continue
        if isinstance(before, frozenset) and isinstance(after, frozenset):
            yield from _key_changes(dict(before), dict(after))
        else:
            yield f"{field.name} {_said(before)} -> {_said(after)}"


def _said(value: Any) -> str:
    return (",".join(map(str, value)) or "none") if isinstance(value, tuple) else str(value)


def _key_changes(before: dict[str, str], after: dict[str, str]) -> Iterator[str]:
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            yield f"{name} {before.get(name)} -> {after.get(name)}"
