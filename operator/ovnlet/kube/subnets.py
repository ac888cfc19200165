"""What a node needs to know of Kube-OVN's Subnet objects."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ovnlet.core import ids
from ovnlet.core.allocation import Destination
from ovnlet.core.annotations import SUBNET_GATEWAY, SUBNET_MTU
from ovnlet.core.ipam.subnets import SubnetObject
from ovnlet.core.node_network import Reach
from ovnlet.core.values import prefix, split


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


def reach(subnets: Iterable[SubnetObject], router: str) -> Reach:
    """Return the prefixes that the logical router of that name reaches.

    A Subnet on a VLAN of the underlay is reached with ``logicalGateway``, as one of the overlay, or
    with ``u2oInterconnection``, unless ``enableLb`` replaces that. These are Kube-OVN's rules.
    """
    reached = [subnet for subnet in subnets if is_of(router, subnet.spec)]
    overlay = [subnet for subnet in reached if not is_underlay(subnet.spec)]
    underlays = [
        subnet
        for subnet in reached
        if is_underlay(subnet.spec)
        and subnet.spec.get("u2oInterconnection")
        and not subnet.spec.get("enableLb")
    ]
    return Reach(_prefixes(overlay), _prefixes(underlays))


def is_of(router: str, spec: Mapping[str, Any]) -> bool:
    """Return whether a Subnet with this spec is a subnet of that router.

    Kube-OVN's controller fills in ``vpc`` of every Subnet that OVN serves, so only the router's
    own name counts. ovnlet's controller leaves it empty: then the Subnet counts if its ``provider``
    is OVN's. Any other may be an address pool for a physical network.
    """
    vpc = spec.get("vpc") or ""
    return vpc == router if vpc else ids.is_ovns(str(spec.get("provider") or "ovn"))


def is_underlay(spec: Mapping[str, Any]) -> bool:
    """Return whether a Subnet with this spec has its gateway on a physical network."""
    return bool(spec.get("vlan")) and not spec.get("logicalGateway")


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
