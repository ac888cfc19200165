"""The identity of an attachment, and the memory the agent keeps of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Self

AttachmentKey = tuple[str, str]

# The node's own interface goes through the loop as a pod's does. No container has an empty ID.
NODE_NIC: AttachmentKey = ("", "ovn0")


@dataclass(frozen=True, slots=True)
class Attachment:
    """One interface of one sandbox, as the runtime asked for it at ADD.

    ``netns`` is the path the runtime gave, ``uid`` the pod's UID or None where the runtime sent none,
    ``sequence`` the order in which ADDs were received on this node since ``boot_id``, ``routes`` the destinations and
    gateways that the network's configuration adds for every pod.
    """

    container_id: str
    ifname: str
    netns: str
    namespace: str
    pod: str
    uid: str | None
    provider: str
    boot_id: str
    sequence: int
    routes: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of_deletion(cls, container_id: str, ifname: str, boot_id: str) -> Self:
        """All that a DEL names: enough to find what is ours of it."""
        return cls(container_id, ifname, "", "", "", None, "ovn", boot_id, 0)

    @classmethod
    def of_node(cls, node: str) -> Self:
        """The node's own interface, which lies in the node's own namespace."""
        return cls(*NODE_NIC, "", "", node, None, "ovn", "", 0)

    @property
    def key(self) -> AttachmentKey:
        return (self.container_id, self.ifname)

    @property
    def is_node(self) -> bool:
        return self.key == NODE_NIC

    @property
    def owner(self) -> tuple[str, str]:
        return (self.namespace, self.pod)

    @property
    def called(self) -> tuple[str, str]:
        """What people call it by: its pod, or `node/ovn0`."""
        return ("node", self.ifname) if self.is_node else self.owner


class Life(StrEnum):
    """Whether a sandbox lives. DEAD is proved by the kernel; HIDDEN cannot be seen while its veth lives."""

    ALIVE = "alive"
    DEAD = "dead"
    HIDDEN = "hidden"


@dataclass(frozen=True, slots=True)
class Record:
    """An attachment and the last good annotations that its network was made from.

    Enough to keep the network right with the API server away. ``good`` is None between the receipt
    of an ADD and its first valid annotations.
    """

    attachment: Attachment
    good: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Pod:
    """What the agent keeps of a pod object; nothing else of it stays in memory.

    ``uid`` is ``metadata.uid`` or, for a static pod, its annotation ``kubernetes.io/config.mirror``:
    that is the UID which kubelet gives to the runtime.
    """

    kind: ClassVar[str] = "Pod"
    api_version: ClassVar[str] = "v1"

    namespace: str
    name: str
    uid: str
    annotations: Mapping[str, str] = field(default_factory=dict)
    object_uid: str = ""

    @property
    def owner(self) -> tuple[str, str]:
        return (self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Node:
    """Facts of this node that shape every pod's network.

    ``mtu`` is for pods, in bytes; ``lacks`` are the kinds of qdisc, the action, and `nf_tables`, as far as its kernel
    does not have them.
    """

    bridge: str
    mtu: int
    userspace: bool
    lacks: frozenset[str] = frozenset()
