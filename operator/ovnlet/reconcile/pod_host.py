"""The part of the node where attachments are kept, as the loop needs it."""

from collections.abc import Iterable
from typing import Protocol

from ovnlet.core.identity import Attachment, Life, Node
from ovnlet.core.resources import Network
from ovnlet.reconcile.scope import Host, Key


class PodHost(Host, Protocol):
    """The drivers of attachments. ``drivers.sandbox_host`` implements it."""

    @property
    def node(self) -> Node:
        """The facts of this node."""
        ...

    def holders(self, iface_id: str) -> Iterable[tuple[str, Attachment | None]]:
        """Return the live ports that have an `iface-id`, and the attachment that each is of."""
        ...

    def pod_end(self, attachment: Attachment, /) -> tuple[str, str] | None:
        """Return name and MAC of the pod's end as they are; None where no pair is whole."""
        ...

    def life(self, attachment: Attachment) -> Life:
        """Return whether the sandbox is alive."""
        ...

    async def installed(self, attachment: Attachment) -> None:
        """Wait without a bound until OVN has installed the port."""
        ...

    async def joined(self, switch: str) -> None:
        """Wait without a bound until the switch is joined to the bridge of its physical network."""
        ...

    async def hopeless(self, attachment: Attachment) -> str | None:
        """Return why OVN cannot install the port, and what to do; None while it may."""
        ...

    async def other_holder(
        self, attachment: Attachment, network: Network
    ) -> tuple[str, str] | None:
        """Return an address of the network that another machine has, and its MAC; None without one.

        Ask on the wire for up to 1.2 s, and leave nothing open in the pod. Raise NodeFault or
        UnknownSandbox.
        """
        ...

    async def announce(self, attachment: Attachment, network: Network) -> None:
        """Announce each address of the network once, and leave nothing open in the pod.

        Raise NodeFault or UnknownSandbox.
        """
        ...


class Follower(Protocol):
    """The kernel's notifications of a sandbox. ``drivers.watch.kernel`` implements it."""

    def follow(self, key: Key, link: str, *, netns: str) -> None:
        """Hint this key when the link or anything in the network namespace changes."""
        ...

    def follows(self, key: Key) -> bool:
        """Return whether anything of this key is followed."""
        ...

    def forget(self, key: Key) -> None:
        """Follow nothing of this key."""
        ...
