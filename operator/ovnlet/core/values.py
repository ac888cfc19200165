"""Addresses, prefixes, routes and MTUs as annotations spell them."""

from collections.abc import Mapping
from ipaddress import ip_address, ip_interface, ip_network

from ovnlet.core.allocation import Address, CustomRoute, Destination, Interface
from ovnlet.core.qos import NotAllowed

_LARGEST = 65535


def route(entry: Mapping[str, str]) -> CustomRoute:
    """Return the route of a JSON object with ``gw`` and ``dst``; without ``dst`` a default route.

    Raises KeyError if ``gw`` is missing, and ValueError for anything that is not an address or
    prefix.
    """
    via = address(str(entry["gw"]))
    text = entry.get("dst") or ("0.0.0.0/0" if via.version == 4 else "::/0")
    destination = prefix(str(text))
    if destination.version != via.version:
        raise ValueError("destination and gateway of two families")
    return CustomRoute(destination, via)


def shadowed(
    routes: list[CustomRoute], addresses: tuple[Interface, ...], gateways: tuple[Address, ...]
) -> bool:
    """Return whether a route inside the pod's own prefix covers a gateway.

    IPv6 refuses a gateway whose longest match is a route through another gateway. IPv4 looks for
    the connected route and accepts it.
    """
    own = {each.version: each.network.prefixlen for each in addresses}
    inner = [
        r.destination for r in routes if r.via.version == 6 and r.destination.prefixlen > own[6]
    ]
    return any(gateway in destination for destination in inner for gateway in gateways)


def address(text: str) -> Address:
    """Return an address. Raises ValueError."""
    return ip_address(_without_zone(text))


def host(text: str) -> Address:
    """Return the address of ``text`` without its mask, if it has one. Raises ValueError."""
    return ip_interface(_without_zone(text)).ip


def prefix(text: str) -> Destination:
    """Return a prefix; host bits are ignored. Raises ValueError."""
    return ip_network(_without_zone(text), strict=False)


def _without_zone(text: str) -> str:
    """Return ``text``, or raise ValueError if it has a zone.

    The kernel never shows a zone, so such an address would always differ.
    """
    if "%" in text:
        raise ValueError("an address with a zone")
    return text


def mtu(text: str, addresses: tuple[Interface, ...]) -> int:
    """Return an MTU in bytes; 0 means the node's MTU. Raises NotAllowed."""
    least = 1280 if any(address.version == 6 for address in addresses) else 576
    value = int(text) if text.isascii() and text.isdigit() else -1
    if value == 0 or least <= value <= _LARGEST:
        return value
    reason = "; the kernel disables IPv6 on a link with less" if least == 1280 else ""
    raise NotAllowed(f"0, or {least} to {_LARGEST} bytes{reason}")


def split(text: str) -> list[str]:
    """Return the parts of a comma-separated list, without blanks and empty parts."""
    return [part.strip() for part in text.split(",") if part.strip()]
