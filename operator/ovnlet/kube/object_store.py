"""Kinds of object that are followed: by kopf's watch, by our own LIST, into a store in which older news never wins."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

Owner = tuple[str, str]


class StoredObject(Protocol):
    """What is kept of an object."""

    @property
    def owner(self) -> Owner: ...
    @property
    def object_uid(self) -> str: ...


T = TypeVar("T", bound=StoredObject)


@dataclass(frozen=True, slots=True)
class Kind:
    """``selector`` is a field selector by which the server tells of some objects only."""

    group: str
    version: str
    plural: str
    selector: str = ""

    @property
    def path(self) -> str:
        return (
            f"/apis/{self.group}/{self.version}/{self.plural}"
            if self.group
            else f"/api/{self.version}/{self.plural}"
        )


@dataclass(frozen=True, slots=True)
class Version(Generic[T]):
    """An object, or None where the reader does not want it, and the resource version at which it was so."""

    owner: Owner
    version: int
    value: T | None


class Store(Generic[T]):
    """Objects of one kind as last heard of. ``changed`` is given what was and what is.

    The watch and our own LIST race each other: whoever tells of an object tells its resource version too, and the
    newest one of that namespace and name wins, a deletion included. ``complete`` is set once a whole list was taken.
    """

    def __init__(
        self,
        kind: Kind,
        read: Callable[[Mapping[str, Any]], T | None],
        changed: Callable[[T | None, T | None], None],
        complete: asyncio.Event | None = None,
    ) -> None:
        self.kind, self._read, self._changed = kind, read, changed
        self._values: dict[Owner, T] = {}
        self._newest: dict[Owner, int] = {}
        self._listed = 0
        self.complete = complete or asyncio.Event()

    def get(self, owner: Owner) -> T | None:
        return self._values.get(owner)

    def __iter__(self) -> Iterator[T]:
        return iter(tuple(self._values.values()))

    def read(self, body: Mapping[str, Any]) -> Version[T]:
        """Called in kopf's thread too."""
        metadata = body["metadata"]
        owner = (metadata.get("namespace") or "", metadata["name"])
        return Version(owner, int(metadata["resourceVersion"]), self._read(body))

    def seen(self, seen: Version[T]) -> None:
        if seen.version > self._newest.get(seen.owner, 0):
            self._newest[seen.owner] = seen.version
            self._put(seen.owner, seen.value)

    def gone(self, seen: Version[T]) -> None:
        if seen.version >= self._newest.get(seen.owner, 0):
            self._newest[seen.owner] = seen.version
            self._put(seen.owner, None)

    def listed(self, listed: Iterable[Version[T]], version: int) -> bool:
        """Take a complete list. False tells that versions run anew: the cluster was restored from a backup."""
        if restored := version < self._listed:
            self._newest.clear()
        self._listed = version
        there = {seen.owner: seen for seen in listed}
        self._newest = {o: v for o, v in self._newest.items() if o in there or v > version}
        for owner in [
            owner for owner in self._values if owner not in there and owner not in self._newest
        ]:
            self._put(owner, None)
        for seen in there.values():
            self.seen(seen)
        self.complete.set()
        return not restored

    def _put(self, owner: Owner, value: T | None) -> None:
        old = self._values.pop(owner, None)
        if value is not None:
            self._values[owner] = value
        if old != value:
            self._changed(old, value)
