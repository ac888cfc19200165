"""A cache of parsed annotations, bounded by the memory that its entries need."""

from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class ParseCache(Generic[T]):
    """Keeps the values that were used last.

    ``most`` bounds the sum of the entries' costs; an entry's cost is given by who adds it. One
    that costs more than a sixty-fourth of it is not kept: it would displace too many others.
    """

    def __init__(self, most: int) -> None:
        self._most, self._sum = most, 0
        self._entries: dict[Hashable, tuple[T, int]] = {}

    def __len__(self) -> int:
        """Return the number of values."""
        return len(self._entries)

    def get(self, key: Hashable) -> T | None:
        """Return the value, and count it as just used."""
        if (entry := self._entries.pop(key, None)) is None:
            return None
        self._entries[key] = entry
        return entry[0]

    def put(self, key: Hashable, value: T, cost: int) -> None:
        """Keep a value that is not kept yet, and drop those that were not used for longest."""
        if cost > self._most // 64:
            return
        self._entries[key] = value, cost
        self._sum += cost
        while self._sum > self._most:
            _, dropped = self._entries.pop(next(iter(self._entries)))
            self._sum -= dropped
