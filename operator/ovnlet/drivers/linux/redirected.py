"""Connections that a rule of nftables has redirected: where they were going, and on to there."""

import asyncio
import socket
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

from ovnlet.drivers.linux import namespaces

_ORIGINAL = 80  # SO_ORIGINAL_DST, IP6T_SO_ORIGINAL_DST: linux/netfilter_ipv4.h, ip6_tables.h
# struct sockaddr_in, struct sockaddr_in6: family, port, and for IPv6 the flow, before the address.
_IN, _IN6 = struct.Struct("=H2s4s8x"), struct.Struct("=H2s4x16s4x")


def original(taken: socket.socket) -> tuple[IPv4Address | IPv6Address, int]:
    """Return address and port that the client wanted. Raise OSError."""
    if taken.family == socket.AF_INET6:
        _, port, packed = _IN6.unpack(taken.getsockopt(socket.IPPROTO_IPV6, _ORIGINAL, _IN6.size))
    else:
        _, port, packed = _IN.unpack(taken.getsockopt(socket.IPPROTO_IP, _ORIGINAL, _IN.size))
    return ip_address(packed), int.from_bytes(port, "big")


async def connected(netns: str, address: IPv4Address | IPv6Address, port: int) -> socket.socket:
    """Return a socket inside a namespace that is connected there. Raise OSError, OvnletError."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with namespaces.opened(netns) as fd, namespaces.entered(fd):
        made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        await asyncio.get_running_loop().sock_connect(made, (str(address), port))
    except BaseException:
        made.close()
        raise
    return made
