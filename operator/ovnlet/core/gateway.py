"""What the node as a gateway needs to know of the cluster, parsed from the texts that are kept.

The texts are what the API server has: Subnets as JSON, lists of addresses and ports. A part that
cannot be used is left out and named; the rest of it is used.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import collapse_addresses
from typing import Any, ClassVar, TypeVar

from ovnlet.core.allocation import Address as Ip
from ovnlet.core.allocation import Destination
from ovnlet.core.identity import OfNode
from ovnlet.core.resources.nft_statements import PROTOCOLS
from ovnlet.core.resources.nftables import Port
from ovnlet.core.values import address, prefix, split

_Value = TypeVar("_Value")
# Tables that the kernel or the host uses: unspecified, default, main, local.
_TAKEN_TABLES = frozenset({0, 253, 254, 255})
_MAIN_PRIORITY, _LARGEST = 32766, (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class GatewayIdentity(OfNode):
    """The node as a gateway between the cluster's network and others."""

    name: ClassVar[str] = "gateway"


@dataclass(frozen=True, slots=True)
class NatPolicy:
    """A rule of natOutgoingPolicyRules: whether packets of these prefixes are translated.

    Without sources, or without destinations, any is meant.
    """

    sources: tuple[Destination, ...]
    destinations: tuple[Destination, ...]
    nat: bool

    def of(self, family: int) -> "NatPolicy | None":
        """Return the rule for a family; None if it says nothing of that family."""
        sources = tuple(each for each in self.sources if each.version == family)
        destinations = tuple(each for each in self.destinations if each.version == family)
        if bool(sources) != bool(self.sources) or bool(destinations) != bool(self.destinations):
            return None
        return NatPolicy(sources, destinations, self.nat)


@dataclass(frozen=True, slots=True)
class Egress:
    """externalEgressGateway: packets leave by these gateways, by a routing table of their own.

    ``whole`` is whether that holds for the whole Subnet here, because this node is one of its
    gateways. Otherwise it holds for the Subnet's pods on this node.
    """

    gateways: tuple[Ip, ...]
    table: int
    priority: int
    whole: bool


@dataclass(frozen=True, slots=True)
class GatewaySubnet:
    """A Subnet of the cluster's router.

    ``designated`` are the addresses that packets get as their source on this node, as one of the
    gateways of a centralized Subnet.
    """

    name: str
    prefixes: tuple[Destination, ...]
    outgoing: bool = False
    distributed: bool = True
    policies: tuple[NatPolicy, ...] = ()
    designated: tuple[Ip, ...] = ()
    egress: Egress | None = None

    def of(self, family: int) -> list[Destination]:
        """Return the prefixes of a family."""
        return [each for each in self.prefixes if each.version == family]


@dataclass(frozen=True, slots=True)
class Cluster:
    """The cluster as one node's gateway sees it.

    ``inside`` are prefixes that are reached without translation besides those of Subnets, ``own``
    the addresses of the node's interface, ``internal`` the Node's InternalIPs, ``peers`` those of
    the other Nodes. ``services`` are the addresses of Services, ``local_ports`` the node ports with
    externalTrafficPolicy Local.
    """

    subnets: tuple[GatewaySubnet, ...] = ()
    inside: frozenset[Destination] = frozenset()
    own: frozenset[Ip] = frozenset()
    internal: frozenset[Ip] = frozenset()
    peers: frozenset[Ip] = frozenset()
    services: frozenset[Ip] = frozenset()
    local_ports: frozenset[Port] = frozenset()
    problems: tuple[str, ...] = field(default=(), compare=False)


def parse(text: Mapping[str, str]) -> Cluster:
    """Return the cluster that the texts describe."""
    problems: list[str] = []
    subnets = tuple(_subnet(each, problems) for each in json.loads(text.get("subnets") or "[]"))
    hosts = ("own", "internal", "peers", "services")
    found = {name: frozenset(_valid(address, text.get(name, ""))) for name in hosts}
    return Cluster(
        subnets,
        inside=frozenset(_valid(prefix, text.get("inside", ""))),
        local_ports=frozenset(_valid(port, text.get("local_ports", ""))),
        problems=tuple(problems),
        **found,
    )


def port(text: str) -> Port:
    """Return the protocol and the port of a text such as `TCP/30080`. Raise ValueError."""
    protocol, _, number = text.partition("/")
    if protocol not in PROTOCOLS:
        raise ValueError(f"no protocol {protocol}")
    return PROTOCOLS[protocol], int(number)


def collapsed(prefixes: Iterable[Destination]) -> frozenset[Destination]:
    """Return prefixes that do not overlap and cover the same addresses."""
    every = list(prefixes)
    found: set[Destination] = set()
    for family in (4, 6):
        found |= set(collapse_addresses(each for each in every if each.version == family))  # type: ignore[type-var]  # of one version
    return frozenset(found)


def _subnet(body: Mapping[str, Any], problems: list[str]) -> GatewaySubnet:
    """Read what the agent keeps of a Subnet: name, spec, and what holds for this node."""
    spec, name = body["spec"], str(body["name"])
    outgoing = bool(spec.get("natOutgoing"))
    return GatewaySubnet(
        name,
        tuple(each for each in _valid(prefix, str(spec.get("cidrBlock") or "")) if each.prefixlen),
        outgoing,
        spec.get("gatewayType") != "centralized",
        tuple(_policies(name, spec, problems)) if outgoing else (),
        tuple(_valid(address, ",".join(body.get("designated", ())))) if outgoing else (),
        None if outgoing else _egress(name, body, problems),
    )


def _policies(name: str, spec: Mapping[str, Any], problems: list[str]) -> Iterator[NatPolicy]:
    for number, each in enumerate(spec.get("natOutgoingPolicyRules") or (), 1):
        match, action = each.get("match") or {}, each.get("action")
        sides = [split(str(match.get(side) or "")) for side in ("srcIPs", "dstIPs")]
        try:
            sources, destinations = (tuple(map(prefix, side)) for side in sides)
        except ValueError as error:
            problems.append(f"Subnet {name}: natOutgoingPolicyRules {number}: {error}")
            continue
        if action in ("nat", "forward") and (sources or destinations):
            yield NatPolicy(sources, destinations, action == "nat")
        else:
            problems.append(f"Subnet {name}: natOutgoingPolicyRules {number} says nothing")


def _egress(name: str, body: Mapping[str, Any], problems: list[str]) -> Egress | None:
    """Return the egress gateway of a Subnet, None if it has none here or one that is dangerous."""
    spec = body["spec"]
    if not (texts := split(str(spec.get("externalEgressGateway") or ""))):
        return None
    table, priority = (
        int(spec.get(key) or 0) for key in ("policyRoutingTableID", "policyRoutingPriority")
    )
    if table in _TAKEN_TABLES or not 0 < table <= _LARGEST:
        problems.append(
            f"Subnet {name}: externalEgressGateway is not used: policyRoutingTableID {table} would "
            "change a table of the host's own"
        )
        return None
    if not 0 < priority < _MAIN_PRIORITY:
        problems.append(
            f"Subnet {name}: externalEgressGateway is not used: policyRoutingPriority {priority} "
            f"is not between 1 and {_MAIN_PRIORITY - 1}"
        )
        return None
    central = spec.get("gatewayType") == "centralized"
    if central and not body.get("gateway_here"):
        return None
    return Egress(tuple(_valid(address, ",".join(texts))), table, priority, central)


def _valid(read: Callable[[str], _Value], text: str) -> Iterator[_Value]:
    """Yield the parts of a list that can be read; the API server lets anything pass there."""
    for part in split(text):
        try:
            yield read(part)
        except ValueError:
            continue
