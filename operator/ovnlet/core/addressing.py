"""Addresses, prefixes and MAC of one attachment, from its annotations."""

import re
from ipaddress import ip_interface

from ovnlet.core import values
from ovnlet.core.allocation import Destination, Interface
from ovnlet.core.errors import NotReady
from ovnlet.core.reader import Reader

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


def addresses(read: Reader) -> tuple[Interface, ...]:
    """Return the addresses with the prefix of their family.

    Raises NotReady if there are none, and Invalid.
    """
    texts, prefixes = values.split(read.text("ip_address")), values.split(read.text("cidr"))
    if not texts:
        raise NotReady("no address yet: annotation ip_address is missing")
    networks = {network.version: network for network in (_network(read, text) for text in prefixes)}
    found = []
    for text in texts:
        try:
            address = values.host(text)
        except ValueError as error:
            raise read.invalid(
                "ip_address", "one IPv4 or IPv6 address, or one of each, comma separated"
            ) from error
        if address.is_multicast or address.is_unspecified or address.is_loopback:
            raise read.invalid("ip_address", "an address of a host")
        network = networks.get(address.version)
        if network is None or address not in network:
            raise read.invalid(
                "ip_address", f"an address inside {read.text('cidr') or 'cidr, which is missing'}"
            )
        found.append(ip_interface(f"{address}/{network.prefixlen}"))
    if len({address.version for address in found}) != len(found):
        raise read.invalid("ip_address", "at most one address of each family")
    return tuple(found)


def _network(read: Reader, text: str) -> Destination:
    """Return one prefix of ``cidr``. Raises Invalid."""
    try:
        network = values.prefix(text)
    except ValueError as error:
        raise read.invalid(
            "cidr", "one prefix of each family of ip_address, comma separated"
        ) from error
    if network.prefixlen == 0:
        raise read.invalid("cidr", "a prefix longer than /0")
    return network


def mac(read: Reader) -> str:
    """Return the MAC in lower case. Raises Invalid unless it is a unicast address."""
    text = read.text("mac_address").lower()
    if not _MAC.fullmatch(text) or int(text[:2], 16) & 1 or text == "00:00:00:00:00:00":
        raise read.invalid("mac_address", "a unicast MAC address such as 00:00:00:53:00:01")
    return text
