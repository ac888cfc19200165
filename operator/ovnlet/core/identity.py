"""Identities: what the keys of the loop stand for, and the record of an attachment."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Protocol, Self

from ovnlet.core import ids

AttachmentKey = tuple[str, str]


class Identity(Protocol):
    """What a key of the loop stands for."""

    @property
    def key(self) -> AttachmentKey:
        """A container ID, empty outside of containers, and a name."""
        ...

    @property
    def called(self) -> tuple[str, str]:
        """The pair of names for display: namespace and pod, or `node` and `ovn0`."""
        ...


class PortIdentity(Identity, Protocol):
    """An identity with a link in the node's own namespace that is a port of br-int."""

    @property
    def netns(self) -> str:
        """The path of the sandbox's network namespace; empty outside of one."""
        ...

    @property
    def host_link(self) -> str:
        """The name of the link and of the port."""
        ...

    @property
    def mark(self) -> str:
        """Our value in the port's external_ids."""
        ...

    def adopts(self, labels: Mapping[str, str], iface_ids: Collection[str]) -> bool:
        """Return whether an unmarked port with these external_ids was made for this identity."""
        ...


@dataclass(frozen=True, slots=True)
class Attachment:
    """One interface of one sandbox, with its pod and its names on the node.

    ``netns`` is the path that the runtime gave. ``uid`` is the pod's UID, None where the runtime
    sent none. ``sequence`` is the order in which ADDs were received on this node since ``boot_id``.
    ``routes`` are the destinations and gateways that the network configuration adds for every pod,
    ``mtu`` is the MTU that it gives, 0 for none.
    ``host_link`` and ``iface_id`` are fixed at ADD and kept in the record: an adopted port keeps
    the name under which it was found. Both are derived where they are not given.
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
    host_link: str = ""
    iface_id: str = ""
    mtu: int = 0

    def __post_init__(self) -> None:
        """Derive the names that were not given."""
        if not self.host_link:
            object.__setattr__(self, "host_link", ids.host_link(self.container_id, self.ifname))
        if not self.iface_id and self.pod:
            iface_id = ids.iface_id(self.namespace, self.pod, self.provider)
            object.__setattr__(self, "iface_id", iface_id)

    @classmethod
    def of_deletion(cls, container_id: str, ifname: str, boot_id: str) -> Self:
        """Return what a DEL names, which is enough to find everything of the attachment."""
        return cls(container_id, ifname, "", "", "", None, "ovn", boot_id, 0)

    @property
    def machine(self) -> str:
        """The virtual machine that the pod launches, by its logical port; empty in other pods."""
        name = self.iface_id.removesuffix(ids.iface_id(self.namespace, "", self.provider))
        return name if self.pod and name not in (self.pod, self.iface_id) else ""

    @property
    def key(self) -> AttachmentKey:
        """Container ID and interface name, by which the runtime names it."""
        return (self.container_id, self.ifname)

    @property
    def owner(self) -> tuple[str, str]:
        """Namespace and name of the pod."""
        return (self.namespace, self.pod)

    @property
    def mark(self) -> str:
        """Our value in the external_ids of its rows."""
        return ids.mark(self.container_id, self.ifname)

    @property
    def called(self) -> tuple[str, str]:
        """The name for display: the pod's."""
        return self.owner

    def adopts(self, labels: Mapping[str, str], iface_ids: Collection[str]) -> bool:
        """Return whether kube-ovn-cni, or this agent without a mark, made the port for this pod.

        A DEL names no pod, and the port's name follows from its container ID. After a restart of
        the node that is all there is of a sandbox that was never adopted.
        """
        del iface_ids
        if not self.pod:
            return labels.get("vendor") == "kube-ovn" and "pod_name" in labels
        whose = (labels.get("vendor"), labels.get("pod_namespace"))
        names = {self.pod, self.machine} - {""}
        return whose == ("kube-ovn", self.namespace) and labels.get("pod_name") in names


class OfNode:
    """The identity of something that a node has once, in no container."""

    __slots__ = ()
    name: ClassVar[str]

    @property
    def key(self) -> AttachmentKey:
        """No container has an empty ID."""
        return ("", self.name)

    @property
    def called(self) -> tuple[str, str]:
        """The name for display."""
        return ("node", self.name)


@dataclass(frozen=True, slots=True)
class NodeInterface(OfNode):
    """The node's own interface, an internal port in the node's own namespace."""

    node: str
    name: ClassVar[str] = "ovn0"
    netns: ClassVar[str] = ""

    @property
    def ifname(self) -> str:
        """The name of the interface."""
        return self.name

    @property
    def host_link(self) -> str:
        """The interface itself: there is no pair of links."""
        return self.name

    @property
    def mark(self) -> str:
        """Our value in the external_ids of its rows."""
        return ids.mark("", self.name)

    def adopts(self, labels: Mapping[str, str], iface_ids: Collection[str]) -> bool:
        """Return whether an unmarked port has the node's own logical port."""
        return labels.get("iface-id") in iface_ids


class Life(StrEnum):
    """Whether a sandbox is alive. DEAD is proved by the kernel; HIDDEN is unseen but has a veth."""

    ALIVE = "alive"
    DEAD = "dead"
    HIDDEN = "hidden"


@dataclass(frozen=True, slots=True)
class Record:
    """An attachment and the last good annotations that its network was made from.

    It is enough to repair the network while the API server is away. ``good`` is None between the
    receipt of an ADD and its first valid annotations.
    """

    attachment: Attachment
    good: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Pod:
    """What the agent keeps of a pod object; nothing else of it stays in memory.

    ``uid`` is ``metadata.uid`` or, for a static pod, its annotation
    ``kubernetes.io/config.mirror``: that is the UID which kubelet gives to the runtime.
    ``deleting`` means that it has a deletionTimestamp. ``probes`` are ports that kubelet probes.
    """

    kind: ClassVar[str] = "Pod"
    api_version: ClassVar[str] = "v1"

    namespace: str
    name: str
    uid: str
    annotations: Mapping[str, str] = field(default_factory=dict)
    object_uid: str = ""
    deleting: bool = False
    probes: frozenset[int] = frozenset()

    @property
    def owner(self) -> tuple[str, str]:
        """Namespace and name."""
        return (self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Node:
    """Facts of this node that every pod's network depends on.

    ``mtu`` is for pods, in bytes. ``lacks`` are the kinds of qdisc and the action that its kernel
    does not have. ``mtu_unknown`` says why the MTU had to be assumed. ``unpoliced`` are
    links of the node on which ovs-vswitchd makes no police filter.
    """

    bridge: str
    mtu: int
    userspace: bool
    lacks: frozenset[str] = frozenset()
    mtu_unknown: str = ""
    unpoliced: frozenset[str] = frozenset()
