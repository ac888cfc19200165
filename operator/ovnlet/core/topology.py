"""What subnets and nodes look like in the northbound database: one pure function for each.

As Kube-OVN lays it out: one cluster router, a switch per subnet, and a switch `join` for the nodes' own `ovn0`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv4Network, ip_address

from ovnlet.core.ipam.subnets import Subnet, prefix6
from ovnlet.core.resources.northbound import (
    MARK,
    Policy,
    Router,
    RouterPort,
    Row,
    Rows,
    StaticRoute,
    Switch,
    SwitchPort,
)

INSIDE, TO_NODE, OUT = 31000, 30000, 29000


@dataclass(frozen=True, slots=True)
class Member:
    """A node that has its port on the join network: that port, its addresses there, and the node's own ones."""

    port: str
    addresses: tuple[str, ...]
    internal: tuple[str, ...]


def mac(name: str) -> str:
    """One's own, the same for ever: a router port's MAC that changed would be cut off until neighbours ask anew."""
    digest = sha256(name.encode()).hexdigest()
    return ":".join(("0a", *(digest[at : at + 2] for at in range(0, 10, 2))))


def subnet(subnet: Subnet, router: str) -> Rows:
    """The switch and both ends of its wire to the router."""
    config = {}
    v4 = next((network for network in subnet.networks if isinstance(network, IPv4Network)), None)
    if v4 is not None:
        config["subnet"] = str(v4)
        own = [str(gateway) for gateway in subnet.gateways if gateway.version == 4]
        kept = dict.fromkeys(map(str, (*subnet.excluded, *subnet.reserved)))
        config["exclude_ips"] = " ".join([*own, *(each for each in kept if each not in own)])
    if (v6 := prefix6(subnet)) is not None:
        config["ipv6_prefix"] = str(v6.network_address)
    lengths = {network.version: network.prefixlen for network in subnet.networks}
    port = f"{router}-{subnet.name}"
    return frozenset(
        {
            Switch(subnet.name, frozenset(config.items())),
            RouterPort(
                router,
                port,
                mac(port),
                frozenset(f"{gw}/{lengths[gw.version]}" for gw in subnet.gateways),
            ),
            SwitchPort(
                subnet.name,
                f"{subnet.name}-{router}",
                addresses="router",
                type="router",
                options=frozenset({("router-port", port)}),
                labels=frozenset({(MARK, "router")}),
            ),
        }
    )


def network(
    router: str, subnets: Iterable[Subnet], join: Subnet, members: Iterable[Member]
) -> Rows:
    """The router, and which way packets take that leave the subnets: by the node on which their pod runs.

    A packet needs a route before a policy is asked: the default one is that, and leads nowhere by itself.
    """
    rows: set[Row] = {Router(router)}
    every = [join, *subnets]
    for gateway in join.gateways:
        rows.add(StaticRoute(router, "0.0.0.0/0" if gateway.version == 4 else "::/0", str(gateway)))
    for family in sorted(join.families):
        inside = sorted(str(n) for s in every for n in s.networks if n.version == family)
        rows.add(Policy(router, INSIDE, f"ip{family}.dst == {{{', '.join(inside)}}}", "allow"))
    for member in members:
        vias = {ip_address(address).version: address for address in member.addresses}
        for own in member.internal:
            family = ip_address(own).version
            if family in vias:
                match = f"ip{family}.dst == {own}"
                rows.add(Policy(router, TO_NODE, match, "reroute", frozenset({vias[family]})))
        for family, via in vias.items():
            match = f'ip{family} && is_chassis_resident("{member.port}")'
            rows.add(Policy(router, OUT, match, "reroute", frozenset({via})))
    return frozenset(rows)
