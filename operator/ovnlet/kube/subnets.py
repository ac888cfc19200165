"""Of Kube-OVN's Subnet objects only what a node has to know."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ovnlet.core.allocation import Destination
from ovnlet.core.annotations import SUBNET_GATEWAY, SUBNET_MTU
from ovnlet.core.ipam.subnets import SubnetObject
from ovnlet.core.node_network import Reach
from ovnlet.core.values import prefix, split

_DEFAULT_VPC = "ovn-cluster"


def facts(subnet: SubnetObject | None) -> dict[str, str] | None:
    """What its running pods follow, as text; None where there is no such Subnet.

    Where an underlay's pods reach those of the overlay, their gateway is another one, which their annotations tell.
    """
    if subnet is None:
        return None
    spec, found = subnet.spec, {}
    if mtu := spec.get("mtu"):
        found[SUBNET_MTU] = str(mtu)
    if (gateway := spec.get("gateway")) and not spec.get("u2oInterconnection"):
        found[SUBNET_GATEWAY] = str(gateway)
    return found


def reach(subnets: Iterable[SubnetObject]) -> Reach:
    """Of the subnets that the cluster's router reaches: not those of other VPCs or on a VLAN of the underlay."""
    reached = [subnet for subnet in subnets if _is_reached(subnet.spec)]
    outgoing = [subnet for subnet in reached if subnet.spec.get("natOutgoing")]
    return Reach(_prefixes(reached), _prefixes(outgoing))


def _is_reached(spec: Mapping[str, Any]) -> bool:
    if spec.get("vpc", _DEFAULT_VPC) not in ("", _DEFAULT_VPC):
        return False
    return not spec.get("vlan") or bool(spec.get("logicalGateway"))


def _prefixes(subnets: Iterable[SubnetObject]) -> frozenset[Destination]:
    return frozenset(found for subnet in subnets for found in _of(subnet))


def _of(subnet: SubnetObject) -> Iterator[Destination]:
    for text in split(str(subnet.spec.get("cidrBlock") or "")):
        try:
            found = prefix(text)
        except ValueError:
            continue  # its controller tells
        if found.prefixlen:  # never a default route
            yield found
