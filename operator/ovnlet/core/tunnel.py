"""What the tunnels between nodes take from the MTU of pods, and what IPv6 needs of it."""

from dataclasses import replace

from ovnlet.core.allocation import Allocation
from ovnlet.core.errors import NotReady
from ovnlet.core.identity import Node

# Bytes by `ovn-encap-type`, over IPv4. Kube-OVN's figures, so that both agents give pods one MTU.
_OVERHEAD = {"geneve": 100, "vxlan": 50, "stt": 72}
_IPV6_HEADER = 20  # bytes more than IPv4's
# The least MTU of a link with IPv6 (RFC 8200, section 5). Below it Linux has no IPv6 on the link.
IPV6_LEAST = 1280


def overhead(types: str, version: int) -> int:
    """Return the bytes that a tunnel takes, for the IP version of its address.

    ``types`` is `ovn-encap-type`: one or several, comma separated. The largest counts, and one that
    is not known counts as Geneve.
    """
    found = (_OVERHEAD.get(each.strip(), _OVERHEAD["geneve"]) for each in types.split(","))
    return max(found) + (_IPV6_HEADER if version == 6 else 0)


def carried(allocation: Allocation, node: Node) -> Allocation:
    """Return what a link of the allocation's MTU can carry: below 1280 bytes all but IPv6.

    Raise NotReady if nothing is left.
    """
    if not (problem := without_ipv6(allocation, node)):
        return allocation
    addresses = tuple(each for each in allocation.addresses if each.version == 4)
    if not addresses:
        raise NotReady(problem)
    return replace(
        allocation,
        addresses=addresses,
        gateways=tuple(each for each in allocation.gateways if each.version == 4),
        routes=tuple(each for each in allocation.routes if each.via.version == 4),
    )


def without_ipv6(allocation: Allocation, node: Node) -> str:
    """Say why an allocation with IPv6 gets none; empty if it does, or has none."""
    mtu = allocation.mtu or node.mtu
    if mtu >= IPV6_LEAST or all(each.version == 4 for each in allocation.addresses):
        return ""
    return (
        f"no IPv6: the tunnel leaves an MTU of {mtu} bytes and IPv6 needs {IPV6_LEAST}; "
        "raise the MTU of the tunnel's link"
    )
