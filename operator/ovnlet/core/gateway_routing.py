"""From the cluster to what the gateway needs outside of its own table: routing, and accepts."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ovnlet.core.allocation import Address as Ip
from ovnlet.core.allocation import Destination
from ovnlet.core.gateway import Cluster, GatewaySubnet
from ovnlet.core.gateway_network import inside
from ovnlet.core.node_network import HostPrefix
from ovnlet.core.resources.gateway import Accepted, Accepts, PolicyRoute, PolicyRule
from ovnlet.core.values import prefix

FORWARD = "FORWARD"
_DEFAULT = {4: prefix("0.0.0.0/0"), 6: prefix("::/0")}


class Routing(NamedTuple):
    """Rules and routes of egress gateways, and in words what cannot be done."""

    resources: frozenset[PolicyRoute | PolicyRule]
    problems: tuple[str, ...]


@dataclass(slots=True)
class _Tables:
    """The default routes by table and family, and the Subnet that asked for each first."""

    routes: dict[tuple[int, int], tuple[PolicyRoute, str]]

    def take(self, route: PolicyRoute, subnet: str) -> str:
        """Take a route; return the Subnet that has another one there, empty if none has."""
        known, owner = self.routes.setdefault(
            (route.table, route.destination.version), (route, subnet)
        )
        return "" if known == route else owner


def routing(
    cluster: Cluster, pods: Mapping[str, Collection[Ip]], host: Collection[HostPrefix]
) -> Routing:
    """Return the rules and routes by which packets leave by an egress gateway.

    ``pods`` are the addresses of this node's pods by Subnet. A family whose gateway cannot be used
    has neither: packets that leave without translation by the host's default route get no reply.
    """
    tables, problems = _Tables({}), list(_designated_elsewhere(cluster, host))
    rules: set[PolicyRule] = set()
    for subnet in cluster.subnets:
        if subnet.egress is None:
            continue
        for via in subnet.egress.gateways:
            route = _route(subnet.egress.table, via, host)
            if route is None:
                problems.append(
                    f"Subnet {subnet.name}: externalEgressGateway {via} is on no network of the "
                    "node's links"
                )
            elif owner := tables.take(route, subnet.name):
                problems.append(
                    f"Subnet {subnet.name}: policyRoutingTableID {subnet.egress.table} has "
                    f"another gateway already, that of Subnet {owner}"
                )
            else:
                rules |= set(_rules(subnet, via.version, pods.get(subnet.name, ())))
    return Routing(
        frozenset({*(route for route, _ in tables.routes.values()), *rules}), tuple(problems)
    )


def _designated_elsewhere(cluster: Cluster, host: Iterable[HostPrefix]) -> Iterator[str]:
    """Yield in words the addresses in `gatewayNode` that no link of this node has."""
    own = {each.address for each in host}
    for subnet in cluster.subnets:
        for each in subnet.designated:
            if each not in own:
                yield (
                    f"Subnet {subnet.name}: gatewayNode gives this node the address {each}, which "
                    "none of its links has: answers to its packets may not arrive"
                )


def _route(table: int, via: Ip, host: Iterable[HostPrefix]) -> PolicyRoute | None:
    """Return the default route by that gateway, by the link whose network has it."""
    found = [each for each in host if via in each.prefix]
    if not found:
        return None
    nearest = max(found, key=lambda each: (each.prefix.prefixlen, each.link))
    return PolicyRoute(table, _DEFAULT[via.version], via, nearest.link)


def _rules(subnet: GatewaySubnet, family: int, pods: Collection[Ip]) -> Iterator[PolicyRule]:
    egress = subnet.egress
    if egress is None:
        return
    sources: Iterable[Destination] = subnet.of(family)
    if not egress.whole:
        sources = [prefix(str(each)) for each in pods if each.version == family]
    for source in sources:
        yield PolicyRule(source, egress.table, egress.priority)


def accepts(cluster: Cluster, chains: Iterable[tuple[str, str]]) -> frozenset[Accepts]:
    """Return what chains of the host's firewall must let pass: packets of the cluster's prefixes.

    A chain FORWARD sees packets from pods and to pods, a chain INPUT those from pods to the node.
    """
    found = set()
    for family, chain in chains:
        version = 6 if family.endswith("ip6") else 4
        own = sorted(
            (each for each in inside(cluster) if each.version == version),
            key=lambda each: (int(each.network_address), each.prefixlen),
        )
        sides = (False, True) if chain == FORWARD else (False,)
        accepted = tuple(Accepted(to, each) for each in own for to in sides)
        if accepted:
            found.add(Accepts(family, chain, accepted))
    return frozenset(found)
