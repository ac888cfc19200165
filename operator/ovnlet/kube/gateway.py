"""The texts from which the node as a gateway follows: see ``core.gateway``."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ovnlet.core.ipam.subnets import SubnetObject
from ovnlet.core.labels import selects
from ovnlet.core.values import split
from ovnlet.kube import subnets as of_subnets
from ovnlet.kube.objects import OwnNode
from ovnlet.kube.service_addresses import ServiceAddresses

# What the agent keeps of a Subnet's spec.
_SPEC = (
    "cidrBlock",
    "natOutgoing",
    "natOutgoingPolicyRules",
    "gatewayType",
    "externalEgressGateway",
    "policyRoutingTableID",
    "policyRoutingPriority",
)


def text(
    own: OwnNode,
    nodes: Iterable[OwnNode],
    subnets: Iterable[SubnetObject],
    services: Iterable[ServiceAddresses],
) -> dict[str, str]:
    """Return the texts, in a fixed order, for the Subnets of the cluster's router."""
    every = list(services)
    listed = {
        "inside": split(own.annotations.get("ovn.kubernetes.io/cidr", "")),
        "own": split(own.annotations.get("ovn.kubernetes.io/ip_address", "")),
        "internal": own.internal,
        "peers": [ip for node in nodes if node.name != own.name for ip in node.internal],
        "services": [ip for each in every for ip in each.addresses],
        "local_ports": [port for each in every for port in each.local_ports],
    }
    found = {name: ",".join(sorted(set(parts))) for name, parts in listed.items()}
    bodies = [_subnet(own, each) for each in sorted(subnets, key=lambda each: each.name)]
    return found | {"subnets": json.dumps(bodies, sort_keys=True)}


def of_router(subnets: Iterable[SubnetObject], router: str) -> list[SubnetObject]:
    """Return the Subnets of the overlay that the router of that name reaches."""
    return [
        each
        for each in subnets
        if of_subnets.is_of(router, each.spec) and not of_subnets.is_underlay(each.spec)
    ]


def _subnet(own: OwnNode, subnet: SubnetObject) -> dict[str, Any]:
    spec = {name: subnet.spec[name] for name in _SPEC if subnet.spec.get(name)}
    if subnet.deleting:
        spec.pop("natOutgoing", None)
    found: dict[str, Any] = {"name": subnet.name, "spec": spec}
    listed = list(_gateway_nodes(subnet.spec))
    if _is_active(own, subnet):
        found["designated"] = [ip for name, ip in listed if name == own.name and ip]
    selectors = subnet.spec.get("gatewayNodeSelectors") or ()
    names = {name for name, _ in listed}
    if own.name in names or (not names and any(selects(each, own.labels) for each in selectors)):
        found["gateway_here"] = True
    return found


def _gateway_nodes(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the names in `gatewayNode`, each with the address that is given, if one is.

    A name has no colon, and an address of IPv6 has several.
    """
    for part in split(str(spec.get("gatewayNode") or "")):
        name, _, address = part.partition(":")
        yield name.strip(), address.strip()


def _is_active(own: OwnNode, subnet: SubnetObject) -> bool:
    """Return whether packets of a centralized Subnet leave by this node, as far as it is listed."""
    if subnet.spec.get("gatewayType") != "centralized":
        return False
    return bool(subnet.spec.get("enableEcmp")) or subnet.status.get("activateGateway") == own.name
