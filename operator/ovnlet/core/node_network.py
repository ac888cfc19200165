"""From the Node's annotations to the node's own interface in the cluster's network: what host and pods meet by."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from ovnlet.core import annotations, ids
from ovnlet.core.allocation import Allocation, Destination, Interface
from ovnlet.core.errors import NotReady
from ovnlet.core.identity import Node, NodeInterface
from ovnlet.core.resources import (
    Address,
    Masquerade,
    Network,
    Nic,
    Offload,
    Port,
    Resource,
    Route,
    Sysctl,
)
from ovnlet.core.resources.ovs import MARK

NF_TABLES = "nf_tables"


@dataclass(frozen=True, slots=True)
class Reach:
    """Prefixes of the cluster's subnets: all that its router reaches, and those whose pods' address stays inside."""

    clusters: frozenset[Destination] = frozenset()
    outgoing: frozenset[Destination] = frozenset()


def parse(text: Mapping[str, str]) -> Allocation:
    """Raises NotReady where there is no address yet, Invalid where any value cannot be used: half a way is none."""
    for name in ("ip_address", "cidr", "mac_address"):
        if not text.get(annotations.key("ovn", name)):
            raise NotReady(f"the Node has no annotation {annotations.key('ovn', name)} yet")
    allocation = annotations.parse(text, "ovn", "ovn0")
    for problem in allocation.problems:
        raise problem
    return allocation


def network(identity: NodeInterface, text: Mapping[str, str], reach: Reach, node: Node) -> Network:
    """Everything that makes the node a neighbour of its pods, and their way out."""
    allocation = parse(text)
    port = Port(
        node.bridge,
        identity.host_link,
        frozenset(_labels(identity, text, allocation).items()),
        internal=True,
        mac=allocation.mac,
        mtu=node.mtu,
    )
    nic = Nic(port.key, port.name, allocation.mac, node.mtu)
    things: set[Resource] = {
        port,
        nic,
        *(Address(nic.key, nic.name, address) for address in allocation.addresses),
        *_routes(nic, allocation, reach.clusters),
        *_settings(nic, allocation.addresses),
    }
    if node.userspace:
        things.add(Offload(nic.key, nic.name, tx_checksum=False))
    if reach.outgoing and NF_TABLES not in node.lacks:
        inside = (
            reach.clusters | reach.outgoing | {address.network for address in allocation.addresses}
        )
        things.add(Masquerade(nic.name, _sorted(reach.outgoing), _sorted(inside)))
    return frozenset(things)


def _sorted(prefixes: Iterable[Destination]) -> tuple[Destination, ...]:
    return tuple(
        sorted(
            prefixes, key=lambda prefix: (prefix.version, prefix.network_address, prefix.prefixlen)
        )
    )


def _labels(
    identity: NodeInterface, text: Mapping[str, str], allocation: Allocation
) -> dict[str, str]:
    return {
        MARK: identity.mark,
        "iface-id": annotations.node_port(text) or ids.node_iface_id(identity.node),
        "ip": ",".join(str(address.ip) for address in allocation.addresses),
    }


def _routes(nic: Nic, allocation: Allocation, clusters: Collection[Destination]) -> Iterator[Route]:
    """The connected ones, and one to each of the cluster's prefixes by the gateway of its family.

    A prefix that lies within the interface's own, or holds it, is not the gateway's to reach.
    """
    own = {address.version: address for address in allocation.addresses}
    gateways = {gateway.version: gateway for gateway in allocation.gateways}
    for address in allocation.addresses:
        yield Route(nic.key, nic.name, address.network, None, address.ip)
    for prefix in set(clusters):
        near, gateway = own.get(prefix.version), gateways.get(prefix.version)
        if near and gateway and not near.network.overlaps(prefix):
            yield Route(nic.key, nic.name, prefix, gateway, near.ip)


def _settings(nic: Nic, addresses: tuple[Interface, ...]) -> Iterator[Sysctl]:
    """What comes from outside to a pod's hostPort, or goes from pods to the outside, the node has to forward."""
    families = {address.version for address in addresses}
    if 4 in families:
        yield Sysctl(nic.key, "ipv4/ip_forward", "1")
    if 6 in families:
        yield Sysctl(nic.key, "ipv6/conf/all/forwarding", "1")
        yield Sysctl(nic.key, f"ipv6/conf/{nic.name}/disable_ipv6", "0")
        yield Sysctl(nic.key, f"ipv6/conf/{nic.name}/accept_ra", "0")
