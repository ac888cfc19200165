"""Gateways and routes of one attachment, from its annotations and its Subnet."""

import json

from ovnlet.core import values
from ovnlet.core.allocation import Address, CustomRoute, Interface
from ovnlet.core.reader import Reader

_MAX_ROUTES = 256


def gateways(read: Reader, name: str, addresses: tuple[Interface, ...]) -> tuple[Address, ...]:
    """Return the gateways of the families that the attachment has addresses of. Raises Invalid."""
    try:
        found = [values.address(text) for text in values.split(read.text(name))]
    except ValueError as error:
        raise read.invalid(
            name, "one address of each family of ip_address, comma separated"
        ) from error
    return tuple(_reachable(read, name, g, addresses) for g in found if _family(g, addresses))


def first_of_family(first: tuple[Address, ...], then: tuple[Address, ...]) -> tuple[Address, ...]:
    """Return ``first``, then those of ``then`` whose family ``first`` does not have."""
    families = {gateway.version for gateway in first}
    return (*first, *(gateway for gateway in then if gateway.version not in families))


def routes(
    read: Reader, addresses: tuple[Interface, ...], gateways: tuple[Address, ...]
) -> tuple[CustomRoute, ...]:
    """Return the routes of the annotation ``routes``, with default routes. Raises Invalid."""
    shape = (
        'a JSON list such as [{"dst":"192.0.2.0/24","gw":"10.16.0.1"}], '
        "without dst for a default route"
    )
    try:
        entries = json.loads(read.text("routes") or "[]")
        if not isinstance(entries, list) or len(entries) > _MAX_ROUTES:
            raise read.invalid("routes", f"{shape}, at most {_MAX_ROUTES}")
        found = [values.route(entry) for entry in entries]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise read.invalid("routes", shape) from error
    if len({route.destination for route in found}) != len(found):
        raise read.invalid("routes", f"{shape}, each destination once")
    for route in found:
        _reachable(read, "routes", route.via, addresses)
    if values.shadowed(found, addresses, (*gateways, *(route.via for route in found))):
        raise read.invalid(
            "routes", f"{shape}, no destination inside the pod's own prefix that holds a gateway"
        )
    return tuple(found)


def _reachable(
    read: Reader, name: str, gateway: Address, addresses: tuple[Interface, ...]
) -> Address:
    """Return the gateway if the kernel accepts it, or else raise Invalid.

    The kernel refuses a gateway that no connected route covers, the pod's own address and the
    broadcast address.
    """
    if any(gateway in a.network and gateway not in (a.ip, _broadcast(a)) for a in addresses):
        return gateway
    networks = ", ".join(str(a.network) for a in addresses)
    raise read.invalid(
        name,
        f"a gateway inside {networks} that is neither the pod's own address nor the broadcast's",
    )


def _broadcast(address: Interface) -> Address | None:
    """Return the broadcast address of an IPv4 prefix that is large enough to have one."""
    return (
        address.network.broadcast_address
        if address.version == 4 and address.network.prefixlen < 31
        else None
    )


def _family(gateway: Address, addresses: tuple[Interface, ...]) -> bool:
    """Return whether the attachment has an address of the gateway's family."""
    return any(address.version == gateway.version for address in addresses)
