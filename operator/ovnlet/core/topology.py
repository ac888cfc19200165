"""The rows that subnets and nodes need in the northbound database: one pure function for each.

The layout is Kube-OVN's: one cluster router, one switch per subnet, and a switch `join` for the
nodes' own `ovn0`.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv4Network, ip_address

from ovnlet.core.ipam.subnets import Localnet, Subnet, prefix6
from ovnlet.core.resources.northbound import (
    GROUP,
    MARK,
    LoadBalancerGroup,
    Policy,
    Router,
    RouterPort,
    Row,
    Rows,
    StaticRoute,
    Switch,
    SwitchPort,
)

# Priorities of the router's policies; the numbers are Kube-OVN's.
_TO_SUBNETS, _TO_NODE, _EGRESS = 31000, 30000, 29000


@dataclass(frozen=True, slots=True)
class Member:
    """A node with a port on the join network.

    It holds the port, its addresses there, and the node's own addresses.
    """

    port: str
    addresses: tuple[str, ...]
    internal: tuple[str, ...]


def internal_addresses(
    stated: Mapping[str, Iterable[str]],
) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """Return the own addresses of each Node, and why others of them are ignored.

    Every agent may write the status of every Node, so an address that several Nodes state could be
    a claim to another node's traffic. No node has it then. Packets to it leave by the node of their
    pod, as to any host outside.
    """
    holders: dict[str, set[str]] = defaultdict(set)
    ignored: dict[str, list[str]] = defaultdict(list)
    for name, addresses in stated.items():
        for text in addresses:
            try:
                holders[str(ip_address(text))].add(name)
            except ValueError:
                ignored[name].append(f"{text!r} is no IP address")
    for address, names in sorted(holders.items()):
        for name in names if len(names) > 1 else ():
            ignored[name].append(f"{address} is claimed by the Nodes {', '.join(sorted(names))}")
    own = {
        name: tuple(each for each, names in holders.items() if names == {name}) for name in stated
    }
    return own, {name: "; ".join(reasons) for name, reasons in ignored.items()}


def mac(name: str) -> str:
    """Return a MAC address derived from the name.

    It must never change: neighbours would lose a router port with a new MAC until they resolve it
    again.
    """
    digest = sha256(name.encode()).hexdigest()
    return ":".join(("0a", *(digest[at : at + 2] for at in range(0, 10, 2))))


def localnet_port(switch: str) -> str:
    """Return the name, which is Kube-OVN's, of a switch's port to the physical network."""
    return f"localnet.{switch}"


def subnet(subnet: Subnet, router: str) -> Rows:
    """Return the switch of a subnet, and its link to the router or to the physical network.

    That of a network whose interfaces other plugins make has none: OVN chooses addresses there.
    """
    switch = Switch(subnet.name, frozenset(_config(subnet).items()), subnet.balanced)
    if subnet.localnet is not None:
        return frozenset({switch, _to_uplink(subnet.name, subnet.localnet)})
    if not subnet.routed:
        return frozenset({switch})
    return frozenset({switch, *_to_router(subnet, router)})


def _config(subnet: Subnet) -> dict[str, str]:
    """Return what OVN's address management uses."""
    config = {}
    v4 = next((network for network in subnet.networks if isinstance(network, IPv4Network)), None)
    if v4 is not None:
        config["subnet"] = str(v4)
        own = [str(gateway) for gateway in subnet.gateways if gateway.version == 4]
        # OVN takes IPv4 addresses only. It derives IPv6 addresses from MACs, never in turn.
        ranges = [r for r in (*subnet.excluded, *subnet.reserved) if r.first.version == 4]
        kept = dict.fromkeys(map(str, ranges))
        config["exclude_ips"] = " ".join([*own, *(each for each in kept if each not in own)])
    if (v6 := prefix6(subnet)) is not None:
        config["ipv6_prefix"] = str(v6.network_address)
    return config


def _to_uplink(switch: str, localnet: Localnet) -> SwitchPort:
    """Return the port that ovn-controller joins to the bridge of the provider network."""
    return SwitchPort(
        switch,
        localnet_port(switch),
        addresses="unknown",
        type="localnet",
        tag=localnet.tag,
        options=frozenset({("network_name", localnet.network)}),
        labels=frozenset({(MARK, "localnet")}),
    )


def _to_router(subnet: Subnet, router: str) -> tuple[RouterPort, SwitchPort]:
    """Return both ports of the link to the router."""
    lengths = {network.version: network.prefixlen for network in subnet.networks}
    port = f"{router}-{subnet.name}"
    gateways = frozenset(f"{each}/{lengths[each.version]}" for each in subnet.gateways)
    return (
        RouterPort(router, port, mac(port), gateways),
        SwitchPort(
            subnet.name,
            f"{subnet.name}-{router}",
            addresses="router",
            type="router",
            options=frozenset({("router-port", port)}),
            labels=frozenset({(MARK, "router")}),
        ),
    )


def network(
    router: str, subnets: Iterable[Subnet], join: Subnet, members: Iterable[Member]
) -> Rows:
    """Return the router and its policies for packets that leave the subnets.

    Such a packet leaves through the node that its pod runs on. OVN routes a packet before it
    applies policies, so there is a default route, which leads nowhere by itself. A subnet of a
    physical network has no port at the router: packets to it leave like those to any host outside.
    """
    rows: set[Row] = {Router(router), LoadBalancerGroup(GROUP)}
    every = [join, *(each for each in subnets if each.routed)]
    for gateway in join.gateways:
        rows.add(StaticRoute(router, "0.0.0.0/0" if gateway.version == 4 else "::/0", str(gateway)))
    for family in sorted(join.families):
        inside = sorted(str(n) for s in every for n in s.networks if n.version == family)
        rows.add(Policy(router, _TO_SUBNETS, f"ip{family}.dst == {{{', '.join(inside)}}}", "allow"))
    for member in members:
        vias = {ip_address(address).version: address for address in member.addresses}
        for own in member.internal:
            family = ip_address(own).version
            if family in vias:
                match = f"ip{family}.dst == {own}"
                rows.add(Policy(router, _TO_NODE, match, "reroute", frozenset({vias[family]})))
        for family, via in vias.items():
            match = f'ip{family} && is_chassis_resident("{member.port}")'
            rows.add(Policy(router, _EGRESS, match, "reroute", frozenset({via})))
    return frozenset(rows)
