"""What the scope of provider networks needs of the node and of the cluster."""

from collections.abc import Sequence
from typing import Protocol

from ovnlet.core.resources import LinkEntry
from ovnlet.core.underlay.networks import Intent
from ovnlet.core.underlay.record import Found
from ovnlet.reconcile.scope import Host, Key


class ProviderHost(Host, Protocol):
    """The node's side. ``drivers.uplink_host`` implements it."""

    def capture(self, intent: Intent) -> Found:
        """Return what the NIC and its bridge have. Raise Unsafe or NodeFault."""
        ...

    def entries(self, nic: str, *others: str) -> tuple[LinkEntry, ...]:
        """Return what the links have, as if the NIC had all of it. Raise Refused or OSError."""
        ...

    def disputes(self, intent: Intent) -> tuple[str, ...]:
        """Return what others keep on the NIC that is left there, in words."""
        ...

    async def checks(self, intent: Intent) -> tuple[str, ...]:
        """Return who answers now, by the NIC or by its bridge."""
        ...

    async def silent(self, link: str, checks: Sequence[str]) -> str:
        """Return the first of them that does not answer by the link; empty if all do."""
        ...


class Follower(Protocol):
    """The kernel's notifications. ``drivers.watch.kernel`` implements it."""

    def follow(self, key: Key, *links: str) -> None:
        """Hint this key when one of the links changes, or an address or a route on it."""
        ...

    def forget(self, key: Key) -> None:
        """Follow nothing of this key."""
        ...


class Turn(Protocol):
    """The right to move an uplink, which one node of the cluster has at a time."""

    async def taken(self) -> bool:
        """Take it if nobody has it, and return whether this node has it."""
        ...

    async def release(self) -> None:
        """Let another node have it. Do nothing without it."""
        ...


class AnyTime:
    """The right to move an uplink while others do."""

    async def taken(self) -> bool:
        """Return True."""
        return True

    async def release(self) -> None:
        """Do nothing."""
