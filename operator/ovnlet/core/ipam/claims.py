"""The pods and nodes that need a logical switch port, and the addresses they ask for."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar

from ovnlet.core import ids, values
from ovnlet.core.allocation import Address
from ovnlet.core.annotations import CHASSIS, key, node_port
from ovnlet.core.errors import Invalid
from ovnlet.core.ipam.subnets import Subnet
from ovnlet.core.resources.northbound import MARK

PROVIDER = "ovn"
IP, MAC, POOL, SWITCH, ALLOCATED = (
    key(PROVIDER, name)
    for name in ("ip_address", "mac_address", "ip_pool", "logical_switch", "allocated")
)
_MAC = re.compile(r"[0-9a-f][02468ace](:[0-9a-f]{2}){5}")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_ORDINAL = re.compile(r"-(\d+)$")
# OVN reads a comma in `requested-chassis` as a list.
_CHASSIS = re.compile(r"[^\s,]{1,255}")

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
class AddressRequest:
    """The addresses and the MAC that a claim asks for. OVN chooses what is not asked for."""

    addresses: tuple[Address, ...] = ()
    mac: str = ""

    @property
    def words(self) -> frozenset[str]:
        """All of it as text."""
        return frozenset((*map(str, self.addresses), *([self.mac] if self.mac else [])))

    def met_by(self, binding: Binding) -> bool:
        """Return whether the binding has every requested address and the MAC."""
        return set(self.addresses) <= set(binding.addresses) and self.mac in ("", binding.mac)


@dataclass(frozen=True, slots=True)
class Workload:
    """What the controller keeps of a pod.

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

    @property
    def owner(self) -> Owner:
        """Namespace and name."""
        return (self.namespace, self.name)

    @property
    def port(self) -> str:
        """The name of its logical switch port."""
        return ids.iface_id(self.namespace, self.name, PROVIDER)

    @property
    def options(self) -> dict[str, str]:
        """The options of its logical switch port."""
        return {
            "iface-id-ver": self.runtime_uid or self.object_uid,
            "requested-chassis": self.chassis or self.node,
        }

    @property
    def labels(self) -> dict[str, str]:
        """Our external_ids of its logical switch port."""
        found = {MARK: "pod", "vendor": "kube-ovn", "pod": f"{self.namespace}/{self.name}"}
        return {**found, **({"ovnlet-workload": self.workload} if self.workload else {})}


@dataclass(frozen=True, slots=True)
class NodeClaim:
    """What the controller keeps of a Node. ``internal`` holds the node's own addresses."""

    kind: ClassVar[str] = "Node"
    api_version: ClassVar[str] = "v1"
    namespace: ClassVar[str] = ""

    name: str
    object_uid: str
    internal: tuple[str, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def owner(self) -> Owner:
        """An empty namespace, and the name."""
        return ("", self.name)

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


# A pass and the driver's index read the same text several times.
@lru_cache(maxsize=16384)
def bound(text: str) -> Binding | None:
    """Return the binding in a port's `addresses` or `dynamic_addresses`.

    Returns None if OVN has yet to choose, or if the text is not a binding.
    """
    mac, *rest = text.lower().split() or [""]
    if not _MAC.fullmatch(mac) or "dynamic" in rest:
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
    addresses = claim.annotations.get(IP, "").replace(",", " ")
    return bound(f"{claim.annotations.get(MAC, '')} {addresses}")


def annotated_binding(claim: Claim, subnet: Subnet) -> Binding | None:
    """Return the binding that the claim's annotations state.

    Returns None unless it is marked as allocated, complete for the subnet, and inside it.
    """
    binding = _annotated(claim) if claim.annotations.get(ALLOCATED) == "true" else None
    if binding is None or {address.version for address in binding.addresses} != subnet.families:
        return None
    return binding if all(map(subnet.holds, binding.addresses)) else None


def named_pool(claim: Claim) -> str:
    """Return the name of the IPPool that the claim asks for, or an empty string.

    It is empty if the claim asks for addresses, or for nothing in particular.
    """
    text = claim.annotations.get(POOL, "").strip()
    other = claim.annotations.get(IP, "").strip() or _is_address(text)
    return text if _NAME.fullmatch(text) and not other else ""


def asked_mac(claim: Claim) -> str:
    """Return the MAC that the claim asks for, or an empty string. Raises Invalid."""
    mac = claim.annotations.get(MAC, "").strip().lower()
    if mac and not _MAC.fullmatch(mac):
        raise Invalid(MAC, mac, "a unicast MAC address such as 00:00:00:53:00:01")
    return mac


def address_requests(claim: Claim, subnet: Subnet) -> tuple[AddressRequest, ...]:
    """Return what the claim asks for, in the order in which it is tried. Raises Invalid."""
    mac = asked_mac(claim)
    if text := claim.annotations.get(IP, "").strip():
        return (AddressRequest(_asked(IP, text, subnet), mac),)
    if text := claim.annotations.get(POOL, "").strip():
        return tuple(AddressRequest(addresses, mac) for addresses in _pool(claim, text, subnet))
    return (AddressRequest(mac=mac),)


def _pool(claim: Claim, text: str, subnet: Subnet) -> tuple[tuple[Address, ...], ...]:
    """Return the sets of addresses in the annotation `ip_pool`.

    Semicolons separate sets, commas single addresses. A pod of a StatefulSet gets only the entry of
    its ordinal.
    """
    parts = text.split(";") if ";" in text or _is_pair(text) else text.split(",")
    pool = tuple(_asked(POOL, part, subnet) for part in parts if part.strip())
    number = ordinal(claim.name) if isinstance(claim, Workload) and claim.workload else None
    if number is None:
        return pool
    if number >= len(pool):
        raise Invalid(
            POOL, text, f"at least {number + 1} entries, one for each pod of the StatefulSet"
        )
    return (pool[number],)


def _is_address(text: str) -> bool:
    try:
        values.address(text)
    except ValueError:
        return False
    return True


def _is_pair(text: str) -> bool:
    """Return whether the text is one address of each family, which is a single entry of a pool."""
    parts = values.split(text)
    return len(parts) == 2 and (":" in parts[0]) != (":" in parts[1])


def _asked(name: str, text: str, subnet: Subnet) -> tuple[Address, ...]:
    """Return the addresses in ``text``, IPv4 first. Raises Invalid if a pod may not have them."""
    allowed = (
        f"at most one address of each family inside {subnet.cidr} "
        "that is neither the gateway's nor in excludeIps"
    )
    try:
        found = [values.address(part.partition("/")[0]) for part in values.split(text)]
    except ValueError as error:
        raise Invalid(name, text, allowed) from error
    if len({address.version for address in found}) != len(found) or not all(
        map(subnet.grants, found)
    ):
        raise Invalid(name, text, allowed)
    return tuple(sorted(found, key=lambda address: address.version))
