"""From a Node's annotations to the node's own interface in the cluster network.

Through this interface the node and its pods reach each other.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from ovnlet.core import annotations, ids
from ovnlet.core.allocation import Allocation, Destination, Interface
from ovnlet.core.errors import NotReady
from ovnlet.core.identity import Node, NodeInterface
from ovnlet.core.resources import (
    Address,
    Network,
    Nic,
    Offload,
    Port,
    Resource,
    Route,
    Sysctl,
)
from ovnlet.core.resources.ovs import MARK
from ovnlet.core.tunnel import carried

IP = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Reach:
    """Prefixes of the cluster's subnets.

    ``clusters`` are the prefixes of the overlay that the cluster router reaches, ``underlays``
    those of physical networks that it reaches.
    """

    clusters: frozenset[Destination] = frozenset()
    underlays: frozenset[Destination] = frozenset()


class HostPrefix(NamedTuple):
    """The prefix of an address on a link of the node, the link's name, and the address itself."""

    prefix: Destination
    link: str
    address: IP | None = None


def parse(text: Mapping[str, str]) -> Allocation:
    """Parse the Node's annotations.

    Raises NotReady if an address is missing, and Invalid if any value cannot be used: a partly
    configured interface would not work.
    """
    for name in ("ip_address", "cidr", "mac_address"):
        if not text.get(annotations.key("ovn", name)):
            raise NotReady(f"the Node has no annotation {annotations.key('ovn', name)} yet")
    allocation = annotations.parse(text, "ovn", "ovn0")
    for problem in allocation.problems:
        raise problem
    return allocation


def conflicts(
    allocation: Allocation, reach: Reach, host: Iterable[HostPrefix]
) -> dict[Destination, HostPrefix]:
    """Return the destinations that get no route, each with the host's prefix that forbids it.

    A route by the node's interface would cut the node off from hosts of its own network. So a
    cluster prefix must not overlap any prefix of the host, and the interface's own must not lie
    within one: a longer prefix of the host takes precedence by itself.
    """
    found: dict[Destination, HostPrefix] = {}
    own = {address.network for address in allocation.addresses}
    known = [(each.prefix.version, *_bounds(each.prefix), each) for each in host]
    for prefix in own | reach.clusters | reach.underlays:
        first, last = _bounds(prefix)
        for version, start, end, other in known:
            overlap = version == prefix.version and start <= last and first <= end
            if overlap and (prefix not in own or other.prefix.prefixlen <= prefix.prefixlen):
                found[prefix] = min(other, found.get(prefix, other), key=str)
    return found


def local(internal: Iterable[IP], host: Iterable[HostPrefix]) -> frozenset[IP]:
    """Return those of the Node's InternalIPs that a link of the node has.

    The kernel refuses any other as the source of a route.
    """
    return frozenset(internal) & {each.address for each in host if each.address is not None}


def _bounds(prefix: Destination) -> tuple[int, int]:
    """Return the first and the last address as numbers: these compare ten times as fast."""
    return int(prefix.network_address), int(prefix.broadcast_address)


def network(  # noqa: PLR0913 - each input by its name
    identity: NodeInterface,
    text: Mapping[str, str],
    reach: Reach,
    node: Node,
    host: Collection[HostPrefix] = (),
    *,
    internal: Iterable[IP] = (),
) -> Network:
    """Return everything that connects the node to its pods.

    ``host`` are the prefixes of the node's other links: none of them is routed to the pods.
    ``internal`` are the Node's InternalIPs, if pods are to see these as the node's address.
    """
    whole = parse(text)
    allocation = carried(whole, node)
    port = Port(
        node.bridge,
        identity.host_link,
        frozenset(_labels(identity, text, whole).items()),
        internal=True,
        mac=allocation.mac,
        mtu=node.mtu,
    )
    nic = Nic(port.key, port.name, allocation.mac, node.mtu)
    resources: set[Resource] = {
        port,
        nic,
        *(Address(nic.key, nic.name, address) for address in allocation.addresses),
        *_routes(
            nic,
            allocation,
            reach.clusters | reach.underlays,
            conflicts(allocation, reach, host),
            {each.version: each for each in local(internal, host)},
        ),
        *_settings(nic, allocation.addresses),
    }
    if node.userspace:
        resources.add(Offload(nic.key, nic.name, tx_checksum=False))
    return frozenset(resources)


def _labels(
    identity: NodeInterface, text: Mapping[str, str], allocation: Allocation
) -> dict[str, str]:
    """Return our external_ids of the node's port."""
    return {
        MARK: identity.mark,
        "iface-id": annotations.node_port(text) or ids.node_iface_id(identity.node),
        "ip": ",".join(str(address.ip) for address in allocation.addresses),
    }


def _routes(
    nic: Nic,
    allocation: Allocation,
    reached: Collection[Destination],
    refused: Collection[Destination],
    sources: Mapping[int, IP],
) -> Iterator[Route]:
    """Yield the connected routes, and a route to each reached prefix through its family's gateway.

    A prefix that overlaps the interface's own is skipped: the gateway does not lead there.
    ``refused`` are skipped too, and all of a family whose own prefix is among them. ``sources`` are
    the addresses, by IP version, from which the node speaks to pods; without one it is the
    interface's own. The connected route always has the interface's own: it leads to the router.
    """
    own = {
        address.version: address
        for address in allocation.addresses
        if address.network not in refused
    }
    gateways = {gateway.version: gateway for gateway in allocation.gateways}
    for address in own.values():
        yield Route(nic.key, nic.name, address.network, None, address.ip)
    for prefix in set(reached) - set(refused):
        near, gateway = own.get(prefix.version), gateways.get(prefix.version)
        if near and gateway and not near.network.overlaps(prefix):
            source = sources.get(prefix.version, near.ip)
            yield Route(nic.key, nic.name, prefix, gateway, source)


def _settings(nic: Nic, addresses: tuple[Interface, ...]) -> Iterator[Sysctl]:
    """Yield the settings that let the node forward.

    It forwards traffic from outside to a pod's hostPort, and from pods to the outside.
    """
    families = {address.version for address in addresses}
    if 4 in families:
        yield Sysctl(nic.key, "ipv4/ip_forward", "1")
    if 6 in families:
        yield Sysctl(nic.key, "ipv6/conf/all/forwarding", "1")
        yield Sysctl(nic.key, f"ipv6/conf/{nic.name}/disable_ipv6", "0")
        yield Sysctl(nic.key, f"ipv6/conf/{nic.name}/accept_ra", "0")
