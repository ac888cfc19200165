"""Stores of API objects. A watch and our own LIST feed them, and the newest resource version wins.

A store does no I/O and keeps only what its reader takes from an object.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

Owner = tuple[str, str]


class StoredObject(Protocol):
    """What a store needs of the objects that it keeps."""

    @property
    def owner(self) -> Owner:
        """Namespace (empty for a cluster-scoped object) and name."""

    @property
    def object_uid(self) -> str:
        """The ``metadata.uid``."""


T = TypeVar("T", bound=StoredObject)


@dataclass(frozen=True, slots=True)
class Kind:
    """A resource of the API server.

    ``selector`` is a field selector; with one, the server lists and watches only the objects that
    match it.
    """

    group: str
    version: str
    plural: str
    selector: str = ""

    @property
    def path(self) -> str:
        """The URL path of the collection in all namespaces."""
        return (
            f"/apis/{self.group}/{self.version}/{self.plural}"
            if self.group
            else f"/api/{self.version}/{self.plural}"
        )


@dataclass(frozen=True, slots=True)
class Version(Generic[T]):
    """An object at one resource version; ``value`` is None if the reader does not want it."""

    owner: Owner
    version: int
    value: T | None


class Store(Generic[T]):
    """The objects of one kind, as last reported.

    The watch and our own LIST race each other. Each reports the resource version of an object, and
    the newest version of a namespace and name wins, a deletion included. ``changed(old, new)`` is
    called at every change, with None for an object that does not exist. ``complete`` is set once a
    whole list was stored.
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
        """Return the object of this namespace and name; None if there is none."""
        return self._values.get(owner)

    def __iter__(self) -> Iterator[T]:
        """Iterate over a copy: the store may change meanwhile."""
        return iter(tuple(self._values.values()))

    def read(self, body: Mapping[str, Any]) -> Version[T]:
        """Return what to store of an object's JSON. Called in kopf's thread too.

        Raises KeyError, TypeError, ValueError or AttributeError for a body that is not an object.
        """
        metadata = body["metadata"]
        owner = (metadata.get("namespace") or "", metadata["name"])
        return Version(owner, int(metadata["resourceVersion"]), self._read(body))

    def update(self, seen: Version[T]) -> None:
        """Store an object that was created or changed, unless something newer is known of it."""
        if seen.version > self._newest.get(seen.owner, 0):
            self._newest[seen.owner] = seen.version
            self._put(seen.owner, seen.value)

    def delete(self, seen: Version[T]) -> None:
        """Remove a deleted object, unless something newer is known of it."""
        if seen.version >= self._newest.get(seen.owner, 0):
            self._newest[seen.owner] = seen.version
            self._put(seen.owner, None)

    def replace(self, listed: Iterable[Version[T]], version: int) -> bool:
        """Store a complete list that was taken at ``version``, and remove what it lacks.

        Return False if resource versions started over: the cluster was restored from a backup. The
        store then forgets the versions it knew and takes the list as the truth.
        """
        if restored := version < self._listed:
            self._newest.clear()
        self._listed = version
        present = {seen.owner: seen for seen in listed}
        self._newest = {o: v for o, v in self._newest.items() if o in present or v > version}
        for owner in [
            owner for owner in self._values if owner not in present and owner not in self._newest
        ]:
            self._put(owner, None)
        for seen in present.values():
            self.update(seen)
        self.complete.set()
        return not restored

    def _put(self, owner: Owner, value: T | None) -> None:
        """Set or remove (None) a value, and report it if it is a change.

        If that raises, the value stays as it was, so that the next list reports the change again.
        """
        old = self._values.get(owner)
        self._set(owner, value)
        if old == value:
            return
        try:
            self._changed(old, value)
        except BaseException:
            self._set(owner, old)
            self._newest.pop(owner, None)
            raise

    def _set(self, owner: Owner, value: T | None) -> None:
        self._values.pop(owner, None)
        if value is not None:
            self._values[owner] = value
