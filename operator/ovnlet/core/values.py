"""Addresses, prefixes and routes as annotations spell them."""

from collections.abc import Mapping
from ipaddress import ip_address, ip_interface, ip_network

from ovnlet.core.allocation import Address, CustomRoute, Destination, Interface
from ovnlet.core.qos import Wrong

_LARGEST = 65535


def route(entry: Mapping[str, str]) -> CustomRoute:
    via = address(str(entry["gw"]))
    text = entry.get("dst") or ("0.0.0.0/0" if via.version == 4 else "::/0")
    destination = prefix(str(text))
    if destination.version != via.version:
        raise ValueError("destination and gateway of two families")
    return CustomRoute(destination, via)


def shadowed(
    routes: list[CustomRoute], addresses: tuple[Interface, ...], gateways: tuple[Address, ...]
) -> bool:
    """IPv6 refuses a gateway whose longest match is a route through another one; IPv4 finds the connected one."""
    own = {each.version: each.network.prefixlen for each in addresses}
    inner = [
        r.destination for r in routes if r.via.version == 6 and r.destination.prefixlen > own[6]
    ]
    return any(gateway in destination for destination in inner for gateway in gateways)


def address(text: str) -> Address:
    return ip_address(_without_zone(text))


def host(text: str) -> Address:
    """An address, whatever mask is spelled with it."""
    return ip_interface(_without_zone(text)).ip


def prefix(text: str) -> Destination:
    return ip_network(_without_zone(text), strict=False)


def _without_zone(text: str) -> str:
    """What the kernel shows never bears one, so that it would differ for ever."""
    if "%" in text:
        raise ValueError("an address with a zone")
    return text


def mtu(text: str, addresses: tuple[Interface, ...]) -> int:
    """In bytes; 0 leaves it to the node. Raises Wrong."""
    least = 1280 if any(address.version == 6 for address in addresses) else 576
    value = int(text) if text.isascii() and text.isdigit() else -1
    if value == 0 or least <= value <= _LARGEST:
        return value
    raise Wrong(
        f"0, or {least} to {_LARGEST} bytes{'; the kernel takes IPv6 off a link with less' * (least == 1280)}"
    )


def split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
