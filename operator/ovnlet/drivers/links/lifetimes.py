"""Lifetimes of addresses and routes, as the kernel shows and takes them."""

import socket
import struct
import time

from ovnlet.core.resources.lifetimes import FOREVER, Lifetime
from ovnlet.drivers.linux.transport import attribute, attributes, u32

# IFA_CACHEINFO with struct ifa_cacheinfo; RTA_CACHEINFO with the head of struct rta_cacheinfo,
# whose third number is in ticks of USER_HZ; RTA_EXPIRES in seconds.
_OF_ADDRESS, _OF_ROUTE, _EXPIRES = 6, 12, 23
_ADDRESS, _ROUTE = struct.Struct("=IIII"), struct.Struct("=IIi")
_TICKS = 100
# struct ifaddrmsg; IFA_FLAGS; IFA_F_TEMPORARY of IPv6, IFA_F_PERMANENT, and IFA_F_MANAGETEMPADDR,
# which the kernel sets on each address that it makes for a router advertisement.
_HEADER, _FLAGS = 8, 8
_TEMPORARY, PERMANENT, ADVERTISED = 0x01, 0x80, 0x100
# Of an address that is valid forever and not preferred: it is no source of new connections.
_DEPRECATED = _ADDRESS.pack(0, FOREVER, 0, 0)


def of_address(body: bytes) -> Lifetime | None:
    """Return the lifetime of an address, None where it is valid forever."""
    info = attributes(body, _HEADER).get(_OF_ADDRESS)
    if info is None or flags_of(body) & PERMANENT:
        return None
    preferred, valid, _, _ = _ADDRESS.unpack_from(info)
    now = time.time()
    return Lifetime(now + min(preferred, valid), now + valid, now)


def of_route(found: dict[int, bytes]) -> Lifetime | None:
    """Return the lifetime of a route by its attributes, None where it has none."""
    info = found.get(_OF_ROUTE, b"")
    ticks = _ROUTE.unpack_from(info)[2] if len(info) >= _ROUTE.size else 0
    if not ticks:
        return None
    now = time.time()
    return Lifetime(now + ticks / _TICKS, now + ticks / _TICKS, now)


def address_attribute(lifetime: Lifetime) -> bytes:
    """Return the attribute that gives an address what is left of its lifetime."""
    return attribute(_OF_ADDRESS, _ADDRESS.pack(*lifetime.left(time.time()), 0, 0))


def route_attribute(lifetime: Lifetime) -> bytes:
    """Return the attribute that gives a route of IPv6 what is left of its lifetime."""
    return attribute(_EXPIRES, u32(lifetime.left(time.time())[1]))


def deprecated(body: bytes) -> dict[int, bytes]:
    """Return that of a permanent address that is not preferred; of another one nothing."""
    info = attributes(body, _HEADER).get(_OF_ADDRESS, b"")
    is_so = bool(flags_of(body) & PERMANENT) and info[:4] == bytes(4)
    return {_OF_ADDRESS: _DEPRECATED} if is_so else {}


def flags_of(body: bytes) -> int:
    """Return the flags of an address (IFA_F_*): 32 bits where the kernel shows them, else eight."""
    wide = attributes(body, _HEADER).get(_FLAGS)
    return int.from_bytes(wide, "little") if wide else body[2]


def client_of(body: bytes) -> str:
    """Return in words who gave an address of IPv6 that cannot follow it to a bridge; else empty.

    The answers of DHCPv6 go to a link-local address, which each link has of its own. A temporary
    address (RFC 8981) is made by the kernel for one link.
    """
    flags = flags_of(body)
    if body[0] != socket.AF_INET6 or flags & PERMANENT:
        return ""
    if flags & _TEMPORARY:
        return "made by use_tempaddr, for this interface alone"
    return "" if flags & ADVERTISED else "of DHCPv6, whose answers come to the interface alone"
