"""`Subnet` objects as values: the usable part of a spec, or why it cannot be used.

The CRD's schema refuses what a pattern can catch. All other errors are reported here, in words for
the author of the Subnet.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, ClassVar

from ovnlet.core import ids
from ovnlet.core.allocation import Address, Destination
from ovnlet.core.errors import OvnletError

# OVN derives the lower half of an IPv6 address from the MAC, so no other length is possible.
_V6_LENGTH = 64
_V4_LENGTHS = range(8, 31)
# Fields of Kube-OVN that join a VLAN and the overlay by OVN's router.
_NOT_WITH_VLAN = ("logicalGateway", "u2oInterconnection", "enableExternalLBAddress")


class Unusable(OvnletError):
    """The administrator must act: a Subnet cannot be used as it is written."""


@dataclass(frozen=True, slots=True)
class Range:
    """A range of addresses of one family, both ends included."""

    first: Address
    last: Address

    def __str__(self) -> str:
        """Return the range as OVN's `exclude_ips` spells it."""
        return str(self.first) if self.first == self.last else f"{self.first}..{self.last}"

    def holds(self, address: Address) -> bool:
        """Return whether the address is in the range."""
        same = address.version == self.first.version
        return same and int(self.first) <= int(address) <= int(self.last)


@dataclass(frozen=True, slots=True)
class Localnet:
    """The physical network of a Subnet: a ProviderNetwork and a VLAN ID in it, 0 for no tag."""

    network: str
    tag: int = 0


@dataclass(frozen=True, slots=True)
class Subnet:
    """A usable Subnet.

    ``networks`` has at most one prefix of each family, IPv4 first; ``gateways`` has the same order.
    ``excluded`` are addresses that no new pod gets. ``reserved`` are addresses of pools, which OVN
    must not choose. ``balanced`` is whether its pods reach Services by OVN's load balancers.
    ``provider`` is that of the networks that it is for. ``vlan`` is the Vlan that it names, and
    ``localnet`` what that stands for: its gateway is then a router of the physical network.
    """

    name: str
    networks: tuple[Destination, ...]
    gateways: tuple[Address, ...]
    excluded: tuple[Range, ...] = ()
    namespaces: frozenset[str] = frozenset()
    default: bool = False
    mtu: int = 0
    nat_outgoing: bool = False
    reserved: tuple[Range, ...] = ()
    balanced: bool = True
    provider: str = "ovn"
    vlan: str = ""
    localnet: Localnet | None = None

    @property
    def families(self) -> frozenset[int]:
        """The address families (4, 6) of the networks."""
        return frozenset(network.version for network in self.networks)

    @property
    def routed(self) -> bool:
        """Whether it is at the cluster's router: no physical network is."""
        return self.localnet is None and ids.is_ovns(self.provider)

    @property
    def cidr(self) -> str:
        """The networks, comma separated."""
        return ",".join(map(str, self.networks))

    @property
    def gateway(self) -> str:
        """The gateways, comma separated."""
        return ",".join(map(str, self.gateways))

    def holds(self, address: Address) -> bool:
        """Return whether a running pod may have the address.

        It must be inside, and be neither the network's, the broadcast's nor the gateway's address.
        It may be excluded: that concerns new pods only.
        """
        return any(
            address in network
            and address not in (network.network_address, network.broadcast_address)
            for network in self.networks
            if network.version == address.version
        ) and (address not in self.gateways)

    def grants(self, address: Address) -> bool:
        """Return whether a new pod may get the address: one that a pod may have, not excluded."""
        return self.holds(address) and not any(each.holds(address) for each in self.excluded)

    @property
    def capacity(self) -> int:
        """The number of IPv4 addresses that OVN can assign.

        It does not count excluded addresses and the first one, which OVN keeps for a router.
        """
        v4 = next((network for network in self.networks if isinstance(network, IPv4Network)), None)
        if v4 is None:
            return 0
        taken = {(int(v4.network_address) + 1, int(v4.network_address) + 1)}
        taken |= {
            (int(each.first), int(each.last)) for each in self.excluded if each.first.version == 4
        }
        taken |= {(int(g), int(g)) for g in self.gateways if g.version == 4}
        return max(
            v4.num_addresses
            - 2
            - covered(taken, int(v4.network_address) + 1, int(v4.broadcast_address) - 1),
            0,
        )


@dataclass(frozen=True, slots=True)
class SubnetObject:
    """A Subnet as the API server returns it.

    ``created`` is its creation time: the older of two Subnets with the same addresses wins.
    ``version`` is the resource version of what was read.
    """

    kind: ClassVar[str] = "Subnet"
    api_version: ClassVar[str] = "kubeovn.io/v1"
    namespace: ClassVar[str] = ""

    name: str
    object_uid: str
    version: str
    created: str
    generation: int
    deleting: bool
    finalizers: tuple[str, ...]
    spec: Mapping[str, Any]
    status: Mapping[str, Any]

    @property
    def owner(self) -> tuple[str, str]:
        """An empty namespace, and the name."""
        return ("", self.name)


def read(name: str, spec: Mapping[str, Any]) -> Subnet:
    """Return the Subnet of a spec.

    Raises Unusable, which names the field and what is allowed.
    """
    networks = _networks(str(spec.get("cidrBlock", "")))
    vlan = str(spec.get("vlan") or "")
    for field in _NOT_WITH_VLAN if vlan else ():
        if spec.get(field):
            raise Unusable(f"{field} is not supported for a Subnet with a vlan")
    protocol = {4: "IPv4", 6: "IPv6"}[networks[0].version] if len(networks) == 1 else "Dual"
    if spec.get("protocol") not in (None, "", protocol):
        raise Unusable(f"protocol is {spec['protocol']!r}, but cidrBlock is {protocol}")
    return Subnet(
        name=name,
        networks=networks,
        gateways=_gateways(str(spec.get("gateway") or ""), networks),
        excluded=_excluded(spec.get("excludeIps") or (), networks),
        namespaces=frozenset(spec.get("namespaces") or ()),
        default=bool(spec.get("default")),
        mtu=int(spec.get("mtu") or 0),
        nat_outgoing=bool(spec.get("natOutgoing")),
        balanced=spec.get("enableLb") is not False,
        provider=str(spec.get("provider") or "ovn"),
        vlan=vlan,
    )


def join(name: str, cidr: str) -> Subnet:
    """Return the subnet of the nodes' own interfaces. Raises Unusable.

    A node's own requests to Services are kube-proxy's, so the switch has no load balancers.
    """
    return read(name, {"cidrBlock": cidr, "enableLb": False})


def clash(subnet: Subnet, others: Iterable[Subnet]) -> str | None:
    """Return why the Subnet conflicts with an older one, or None if it does not."""
    for other in others:
        for network in subnet.networks:
            for theirs in other.networks:
                if network.version == theirs.version and network.overlaps(theirs):
                    return f"cidrBlock {network} overlaps {theirs} of subnet {other.name}"
        if subnet.provider != other.provider:
            continue
        if both := subnet.namespaces & other.namespaces:
            return f"namespace {min(both)} already belongs to subnet {other.name}"
        if subnet.default and other.default:
            return f"subnet {other.name} is already the default"
    return None


def _networks(text: str) -> tuple[Destination, ...]:
    """Return the prefixes of ``cidrBlock``, IPv4 first. Raises Unusable."""
    try:
        networks = [ip_network(part.strip()) for part in text.split(",")]
    except ValueError as error:
        raise Unusable(f"cidrBlock is {text!r}: {error}") from error
    if len({network.version for network in networks}) != len(networks):
        raise Unusable(f"cidrBlock is {text!r}: at most one prefix of each family")
    for network in networks:
        if network.version == 6 and network.prefixlen != _V6_LENGTH:
            raise Unusable(
                f"cidrBlock has {network}: OVN gives addresses from an IPv6 /{_V6_LENGTH} only"
            )
        if network.version == 4 and network.prefixlen not in _V4_LENGTHS:
            raise Unusable(f"cidrBlock has {network}: an IPv4 prefix must be from /8 to /30")
        if network.is_multicast or network.is_loopback or network.is_link_local:
            raise Unusable(f"cidrBlock has {network}: not host addresses")
    return tuple(sorted(networks, key=lambda network: network.version))


def _gateways(text: str, networks: tuple[Destination, ...]) -> tuple[Address, ...]:
    """Return the gateway of each network; the default is its first host address."""
    try:
        given = {
            address.version: address
            for address in (ip_address(p.strip()) for p in text.split(",") if p.strip())
        }
    except ValueError as error:
        raise Unusable(f"gateway is {text!r}: {error}") from error
    if extra := given.keys() - {network.version for network in networks}:
        raise Unusable(f"gateway is {text!r}: cidrBlock has no IPv{min(extra)}")
    found: list[Address] = []
    for network in networks:
        gateway = given.get(network.version, network.network_address + 1)
        inside = gateway in network and gateway != network.network_address
        if not inside or (network.version == 4 and gateway == network.broadcast_address):
            raise Unusable(f"gateway {gateway} is not a host address in {network}")
        found.append(gateway)
    return tuple(found)


def _excluded(entries: Iterable[Any], networks: tuple[Destination, ...]) -> tuple[Range, ...]:
    """Return the excluded ranges, IPv4 first. Raises Unusable."""
    found = []
    for entry in map(str, entries):
        first, dots, last = entry.partition("..")
        try:
            ends = ip_address(first.strip()), ip_address((last if dots else first).strip())
        except ValueError as error:
            raise Unusable(f"excludeIps has {entry!r}: {error}") from error
        if not any(all(end in network for end in ends) for network in networks):
            raise Unusable(f"excludeIps has {entry!r}: not inside {', '.join(map(str, networks))}")
        if int(ends[0]) > int(ends[1]):
            raise Unusable(f"excludeIps has {entry!r}: it ends before it begins")
        found.append(Range(*ends))
    return tuple(sorted(set(found), key=_position))


def _position(each: Range) -> tuple[int, int, int]:
    return each.first.version, int(each.first), int(each.last)


def covered(ranges: Iterable[tuple[int, int]], low: int, high: int) -> int:
    """Return how many numbers from ``low`` to ``high`` lie in any of the ranges."""
    count, reached = 0, low - 1
    for first, last in sorted(ranges):
        begin, end = max(first, reached + 1, low), min(last, high)
        if end >= begin:
            count += end - begin + 1
            reached = end
    return count


def prefix6(subnet: Subnet) -> IPv6Network | None:
    """Return the Subnet's IPv6 prefix, or None."""
    return next((network for network in subnet.networks if isinstance(network, IPv6Network)), None)
