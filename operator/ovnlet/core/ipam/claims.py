"""The pods and nodes that need a logical switch port, and the addresses they ask for."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar

from ovnlet.core import ids, values
from ovnlet.core.allocation import Address
from ovnlet.core.annotations import CHASSIS, key, node_port
from ovnlet.core.ipam.subnets import Subnet
from ovnlet.core.resources.northbound import MARK

PROVIDER = "ovn"
UNICAST_MAC = re.compile(r"[0-9a-f][02468ace](:[0-9a-f]{2}){5}")
_ORDINAL = re.compile(r"-(\d+)$")
# OVN reads a comma in `requested-chassis` as a list.
_CHASSIS = re.compile(r"[^\s,]{1,255}")

# Characters of a text that is cached: a MAC and addresses. A tenant may write 2**18 in annotations.
_CACHED = 256

# The label of a port with the name of the pod's StatefulSet.
WORKLOAD_LABEL = "ovnlet-workload"
# The label of a port with the provider of a further network.
PROVIDER_LABEL = "ovnlet-provider"
# The label of a virtual machine's port, and what a key begins with: no pod's name has a blank.
MACHINE_LABEL, MACHINE_KEY = "ovnlet-machine", "vm "

Owner = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Binding:
    """What a port is bound to: its MAC and one address of each family, IPv4 first."""

    mac: str
    addresses: tuple[Address, ...]

    def __str__(self) -> str:
        """Return MAC and addresses as OVN writes them in a port's `addresses`."""
        return " ".join((self.mac, *map(str, self.addresses)))

    @property
    def ips(self) -> str:
        """The addresses, comma separated."""
        return ",".join(map(str, self.addresses))


@dataclass(frozen=True, slots=True)
class Workload:
    """What the controller keeps of a pod, or one network of it.

    ``provider`` is the network's, `ovn` for a pod's own. ``asks`` is what the pod asks for in its
    list of networks, by short names; an annotation takes precedence. ``networks`` and
    ``default_network`` are that list and the network in place of its own, as written.
    ``machine`` is the virtual machine that it launches, or empty: the port is the machine's then,
    whichever pod launches it. ``created`` is its creation time; ``target`` means that it is the
    target of a live migration. ``nodes`` are those of source and target during one.
    ``workload`` is the name of its StatefulSet, or empty. ``runtime_uid`` is the UID that kubelet
    passes to the runtime and the agent writes to OVSDB; it is empty if it equals the object's UID.
    ``chassis`` is its node's chassis as far as known. Without it the port asks for the Node's
    name, which OVN compares with the chassis' host name.
    """

    kind: ClassVar[str] = "Pod"
    api_version: ClassVar[str] = "v1"

    namespace: str
    name: str
    object_uid: str
    node: str
    finished: bool = False
    workload: str = ""
    runtime_uid: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)
    chassis: str = ""
    provider: str = PROVIDER
    asks: Mapping[str, str] = field(default_factory=dict)
    networks: str = ""
    default_network: str = ""
    machine: str = ""
    created: str = ""
    target: bool = False
    nodes: tuple[str, ...] = ()

    @property
    def owner(self) -> Owner:
        """Namespace and name."""
        return (self.namespace, self.name)

    @property
    def key(self) -> Owner:
        """Namespace, and the name with the provider of a further network behind a slash.

        The name is that of the virtual machine, marked as one, for all pods that launch it.
        """
        name = f"{MACHINE_KEY}{self.machine}" if self.machine else self.name
        return (self.namespace, name if self.provider == PROVIDER else f"{name}/{self.provider}")

    @property
    def identity(self) -> str:
        """Of what object a port with its addresses is: it gets no others while that exists."""
        return f"{MACHINE_KEY}{self.machine}" if self.machine else self.object_uid

    @property
    def port(self) -> str:
        """The name of its logical switch port."""
        return ids.iface_id(self.namespace, self.machine or self.name, self.provider)

    def value(self, name: str) -> str:
        """Return the annotation of this network with that short name, or an empty string."""
        return self.annotations.get(key(self.provider, name), "")

    def asked(self, name: str) -> str:
        """Return that annotation, or else what the list of networks asks for."""
        return self.value(name) or self.asks.get(name, "")

    @property
    def options(self) -> dict[str, str]:
        """The options of its logical switch port.

        During a live migration both chassis may have the port. The target's drops all packets until
        the machine sends a RARP there (ovn-nb(5), activation-strategy).
        """
        chosen = {"requested-chassis": self.chassis or ",".join(self.nodes) or self.node}
        if not self.machine:
            chosen["iface-id-ver"] = self.runtime_uid or self.object_uid
        if len(self.nodes) > 1:
            chosen["activation-strategy"] = "rarp"
        return chosen

    @property
    def labels(self) -> dict[str, str]:
        """Our external_ids of its logical switch port."""
        whose = f"{self.namespace}/{self.machine or self.name}"
        found = {MARK: "pod", "vendor": "kube-ovn", "pod": whose}
        if self.machine:
            found[MACHINE_LABEL] = self.machine
        if self.workload:
            found[WORKLOAD_LABEL] = self.workload
        if self.provider != PROVIDER:
            found[PROVIDER_LABEL] = self.provider
        return found


@dataclass(frozen=True, slots=True)
class NodeClaim:
    """What the controller keeps of a Node. ``internal`` holds the node's own addresses.

    ``uplinks`` are its annotations of provider networks, which its agent writes.
    """

    kind: ClassVar[str] = "Node"
    api_version: ClassVar[str] = "v1"
    namespace: ClassVar[str] = ""
    provider: ClassVar[str] = PROVIDER

    name: str
    object_uid: str
    internal: tuple[str, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    node_labels: Mapping[str, str] = field(default_factory=dict)
    uplinks: Mapping[str, str] = field(default_factory=dict)

    @property
    def owner(self) -> Owner:
        """An empty namespace, and the name."""
        return ("", self.name)

    @property
    def key(self) -> Owner:
        """The same: a Node has one port."""
        return self.owner

    @property
    def identity(self) -> str:
        """Of what object a port with its addresses is."""
        return self.object_uid

    def value(self, name: str) -> str:
        """Return the annotation with that short name, or an empty string."""
        return self.annotations.get(key(PROVIDER, name), "")

    def asked(self, name: str) -> str:
        """Return the same: a Node asks by its annotations alone."""
        return self.value(name)

    @property
    def port(self) -> str:
        """The name of its logical switch port.

        A port that an earlier release made keeps its name, which a pod's port could have as well.
        """
        first = ids.node_iface_id(self.name)
        return first if node_port(self.annotations) == first else ids.node_port(self.name)

    @property
    def chassis(self) -> str:
        """The name of its chassis, which its agent writes to the Node; empty if it is unknown."""
        found = self.annotations.get(CHASSIS, "")
        return found if _CHASSIS.fullmatch(found) else ""

    @property
    def options(self) -> dict[str, str]:
        """The options of its logical switch port: none."""
        return {}

    @property
    def labels(self) -> dict[str, str]:
        """Our external_ids of its logical switch port."""
        return {MARK: "node", "vendor": "kube-ovn"}


Claim = Workload | NodeClaim


@dataclass(frozen=True, slots=True)
class StatefulSet:
    """What the controller keeps of a StatefulSet. ``first`` is the ordinal of its first pod."""

    namespace: str
    name: str
    object_uid: str
    first: int
    replicas: int

    @property
    def owner(self) -> Owner:
        """Namespace and name."""
        return (self.namespace, self.name)

    def wants(self, pod: str) -> bool:
        """Return whether a pod of this name has an ordinal within the replicas."""
        number = ordinal(pod)
        return number is not None and self.first <= number < self.first + self.replicas


def ordinal(pod: str) -> int | None:
    """Return the number at the end of a pod's name, or None if it has none."""
    found = _ORDINAL.search(pod)
    return int(found[1]) if found else None


def bound(text: str) -> Binding | None:
    """Return the binding in a port's `addresses` or `dynamic_addresses`.

    Returns None if OVN has yet to choose, or if the text is not a binding.
    """
    return _bound(text) if len(text) <= _CACHED else _bound.__wrapped__(text)


# A pass and the driver's index read the same text several times.
@lru_cache(maxsize=16384)
def _bound(text: str) -> Binding | None:
    mac, *rest = text.lower().split() or [""]
    if not UNICAST_MAC.fullmatch(mac) or "dynamic" in rest:
        return None
    try:
        return Binding(
            mac,
            tuple(sorted((values.address(word) for word in rest), key=lambda each: each.version)),
        )
    except ValueError:
        return None


def annotated_words(claim: Claim) -> frozenset[str]:
    """Return the MAC and the addresses that the claim's annotations state, as text."""
    return frozenset(str(_annotated(claim) or "").split())


def _annotated(claim: Claim) -> Binding | None:
    addresses = claim.value("ip_address").replace(",", " ")
    return bound(f"{claim.value('mac_address')} {addresses}")


def annotated_binding(claim: Claim, subnet: Subnet) -> Binding | None:
    """Return the binding that the claim's annotations state.

    Returns None unless it is marked as allocated, complete for the subnet, and inside it.
    """
    binding = _annotated(claim) if claim.value("allocated") == "true" else None
    if binding is None or {address.version for address in binding.addresses} != subnet.families:
        return None
    return binding if all(map(subnet.holds, binding.addresses)) else None


def port_of(key: Owner) -> str:
    """Return the name of the logical switch port of a pod's key."""
    name, _, provider = key[1].partition("/")
    return ids.iface_id(key[0], name.removeprefix(MACHINE_KEY), provider or PROVIDER)
