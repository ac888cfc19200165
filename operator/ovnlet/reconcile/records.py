"""The record of attachments as the loop needs it: what survives a restart of the agent."""

from collections.abc import Iterator
from typing import Protocol

from ovnlet.core.identity import AttachmentKey, Record
from ovnlet.reconcile.state import Owner


class Records(Protocol):
    """The records of this boot. ``drivers.store.sandboxes`` implements it."""

    @property
    def boot_id(self) -> str:
        """The kernel's boot ID, which each record has."""
        ...

    def __iter__(self) -> Iterator[Record]:
        """Yield every record."""
        ...

    def get(self, key: AttachmentKey) -> Record | None:
        """Return the record of this key."""
        ...

    def of(self, owner: Owner) -> list[Record]:
        """Return the records of a pod."""
        ...

    def claiming(self, iface_id: str) -> list[Record]:
        """Return the records of the attachments that have this `iface-id`."""
        ...

    def in_subnet(self, name: str) -> list[Record]:
        """Return the records whose last good annotations name this Subnet."""
        ...

    def claim(self, record: Record) -> None:
        """Keep a record in memory alone: nothing is on the node for it yet."""
        ...

    def put(self, record: Record) -> None:
        """Write a record; return once it is on disk."""
        ...

    def remove(self, key: AttachmentKey) -> None:
        """Remove a record, in memory and on disk."""
        ...

    def next_sequence(self) -> int:
        """Return the number of the next ADD received."""
        ...

    def is_of_earlier_boot(self, sequence: int) -> bool:
        """Return whether a sequence is too far ahead of the clock to be of this boot."""
        ...
