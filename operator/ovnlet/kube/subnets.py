"""What a node needs to know of Kube-OVN's Subnet objects."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ovnlet.core.allocation import Destination
from ovnlet.core.annotations import SUBNET_GATEWAY, SUBNET_MTU
from ovnlet.core.ipam.subnets import SubnetObject
from ovnlet.core.node_network import Reach
from ovnlet.core.values import prefix, split

_DEFAULT_VPC = "ovn-cluster"


def facts(subnet: SubnetObject | None) -> dict[str, str] | None:
    """Return the MTU and gateway, as text, that running pods of a Subnet follow; None without one.

    With ``u2oInterconnection`` (an underlay whose pods reach those of the overlay) the pods have
    another gateway, which their annotations name; the Subnet's gateway is then left out.
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
    """Return the prefixes that the cluster's router reaches, and those of them with natOutgoing.

    Subnets of other VPCs and those on a VLAN of the underlay are not reached.
    """
    reached = [subnet for subnet in subnets if _is_reached(subnet.spec)]
    outgoing = [subnet for subnet in reached if subnet.spec.get("natOutgoing")]
    return Reach(_prefixes(reached), _prefixes(outgoing))


def _is_reached(spec: Mapping[str, Any]) -> bool:
    """Return whether the cluster's router leads to a Subnet with this spec."""
    if spec.get("vpc", _DEFAULT_VPC) not in ("", _DEFAULT_VPC):
        return False
    return not spec.get("vlan") or bool(spec.get("logicalGateway"))


def _prefixes(subnets: Iterable[SubnetObject]) -> frozenset[Destination]:
    return frozenset(found for subnet in subnets for found in _cidrs(subnet))


def _cidrs(subnet: SubnetObject) -> Iterator[Destination]:
    """Yield the valid prefixes of ``cidrBlock``, except a default route."""
    for text in split(str(subnet.spec.get("cidrBlock") or "")):
        try:
            found = prefix(text)
        except ValueError:
            continue  # the Subnet's controller reports it
        if found.prefixlen:
            yield found
