"""Addresses, routes, neighbours and rules of one link, as messages without the link.

A message is what the kernel showed, so that all attributes of it come along: metrics, preferred
sources, encapsulations, broadcast addresses. Only what names the link or is state of the kernel is
left out.
"""

import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address

from ovnlet.core.resources import LinkEntry
from ovnlet.core.resources.lifetimes import Lifetime
from ovnlet.core.resources.underlay import EntryKind
from ovnlet.drivers.links import lifetimes
from ovnlet.drivers.linux.rtnetlink import (
    DELADDR,
    DELROUTE,
    GETROUTE,
    NEWADDR,
    NEWROUTE,
    Link,
    checked,
    get_addresses,
    integer,
)
from ovnlet.drivers.linux.transport import (
    ACK,
    DUMP,
    Request,
    Socket,
    attribute,
    attributes,
    u32,
)

NEWNEIGH, DELNEIGH, GETNEIGH = 28, 29, 30
_NEWRULE, _DELRULE, GETRULE = 32, 33, 34
_CREATE, _EXCLUSIVE, _APPEND, _REPLACE = 0x400, 0x200, 0x800, 0x100
# struct ifaddrmsg, rtmsg, rtnexthop, fib_rule_hdr, ndmsg.
_ADDRESS = struct.Struct("=BBBBI")
ROUTE = struct.Struct("=BBBBBBBBI")
HOP = struct.Struct("=HBBi")
_RULE = struct.Struct("=BBBBBxxBI")
NEIGHBOUR = struct.Struct("=BxxxiHBB")
FAMILIES = (socket.AF_INET, socket.AF_INET6)
_NODAD, _KEPT_FLAGS = 0x02, 0x200 | 0x10 | 0x400 | lifetimes.ADVERTISED
_LINK_SCOPE = 253
_ONLINK, _LOCAL_TABLE = 4, 255
# Types of routes that the kernel makes for an address: local, broadcast, anycast, multicast.
_OF_ADDRESSES = frozenset({2, 3, 4, 5})
# What the kernel shows of a route that is state, or names its link.
_OIF, _HOPS, _TABLE = 4, 9, 15
_DROPPED_OF_ROUTES = frozenset({3, _OIF, 12, 16, 23})
# Local and peer address, broadcast, anycast, metric; a neighbour's address and its MAC.
_KEPT_OF_ADDRESSES, _KEPT_OF_NEIGHBOURS = frozenset({1, 2, 4, 5, 9}), frozenset({1, 2})
NEXT_HOP_OBJECT = 30
# rtm_protocol of daemons that would set their routes by the NIC again: zebra, bird, babel, openr,
# bgp, isis, ospf, rip, eigrp (linux/rtnetlink.h). Those of DHCP (16) move, and those of router
# advertisements (9) the kernel makes again.
ADVERTISED = 9
DAEMONS: Mapping[int, str] = {
    11: "zebra",
    12: "bird",
    42: "babel",
    99: "openr",
    186: "bgp",
    187: "isis",
    188: "ospf",
    189: "rip",
    192: "eigrp",
}
_INVERTED = 2
_IIF, _OUT = 3, 17
_NUD_PERMANENT, _PROXY = 0x80, 8
_PLACES: Mapping[EntryKind, int] = {"address": 0, "route": 1000, "neighbour": 3000, "rule": 4000}


def observe(kernel: Socket, link: Link) -> Iterator[LinkEntry]:
    """Yield what belongs to the link and can be moved. Raise Refused, NodeFault or OSError.

    Link-local addresses of IPv6 and what follows from them stay with their link: each link has its
    own. Of neighbours only static ones count.
    """
    for number, body in enumerate(addresses(kernel, link.index)):
        if (message := _address(body)) is not None:
            yield _entry(link, "address", message, number, lifetimes.of_address(body))
    for number, body in enumerate(routes(kernel, link.index)):
        if (message := _route(body)) is not None:
            indirect = 5 in attributes(message, ROUTE.size) or _HOPS in attributes(message, 12)
            lifetime = lifetimes.of_route(attributes(body, ROUTE.size))
            yield _entry(link, "route", message, number + 500 * indirect, lifetime)
    for number, body in enumerate(_neighbours(kernel, link.index)):
        yield _entry(link, "neighbour", body, number)
    for number, body in enumerate(_rules(kernel, link.name)):
        yield _entry(link, "rule", body, number)


def addresses(kernel: Socket, index: int) -> list[bytes]:
    """Return the messages of a link's addresses, in the kernel's order."""
    return kernel.dump(get_addresses(index))


def routes(kernel: Socket, index: int) -> Iterator[bytes]:
    """Yield the messages of the routes by a link in all tables, those of several hops too."""
    for family in FAMILIES:
        for body in kernel.dump(Request(GETROUTE, DUMP, ROUTE.pack(family, *[0] * 8))):
            found = attributes(body, ROUTE.size)
            by = integer(found[_OIF]) if _OIF in found else 0
            if index in (by, *(each for _, each, _ in hops(found.get(_HOPS, b"")))):
                yield body


def hops(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield flags, link and the message of each next hop of a route."""
    at = 0
    while at < len(data):
        size, flags, _, index = HOP.unpack_from(data, at)
        if not HOP.size <= size <= len(data) - at:
            raise ValueError(f"a next hop of {size} bytes")
        yield flags, index, data[at : at + size]
        at += (size + 3) & ~3


def change(entry: LinkEntry, index: int, *, adds: bool) -> Request:
    """Return the request that adds the entry to the link of that index, or removes it there.

    A route is appended: another one to the same destination stays in force until it goes. What is
    there with another lifetime gets this one; a route of IPv6 by an addition that the kernel
    refuses with EEXIST (fib6_add_rt2node).
    """
    message, kind = entry.message, entry.kind
    if kind == "address":
        family, length, flags, scope, _ = _ADDRESS.unpack_from(message)
        found = attributes(message, _ADDRESS.size)
        flags = integer(found.pop(8, bytes(4))) | _NODAD
        body = _ADDRESS.pack(family, length, 0, scope, index) + _joined(found)
        if not adds:
            return Request(DELADDR, ACK, body)
        body += attribute(8, u32(flags))
        body += lifetimes.address_attribute(entry.lifetime) if entry.lifetime else b""
        return Request(NEWADDR, ACK | _CREATE | _REPLACE, body)
    if kind == "route":
        found = attributes(message, ROUTE.size)
        if _HOPS in found:
            found[_HOPS] = _with_hops(found[_HOPS], index)
        else:
            found[_OIF] = u32(index)
        kind_of_request = NEWROUTE if adds else DELROUTE
        flags = ACK | (_CREATE | _APPEND if adds else 0)
        ends = lifetimes.route_attribute(entry.lifetime) if adds and entry.lifetime else b""
        return Request(kind_of_request, flags, message[: ROUTE.size] + _joined(found) + ends)
    if kind == "neighbour":
        family, _, state, flags, type_ = NEIGHBOUR.unpack_from(message)
        body = NEIGHBOUR.pack(family, index, state, flags, type_) + message[NEIGHBOUR.size :]
        return Request(NEWNEIGH if adds else DELNEIGH, ACK | (_CREATE if adds else 0), body)
    names = {
        number: entry.link.encode() + b"\0"
        for number, text in attributes(message, _RULE.size).items()
        if number in (_IIF, _OUT) and not text.rstrip(b"\0")
    }
    body = message[: _RULE.size] + _joined(attributes(message, _RULE.size) | names)
    flags = ACK | (_CREATE | _EXCLUSIVE if adds else 0)
    return Request(_NEWRULE if adds else _DELRULE, flags, body)


@checked
def _address(body: bytes) -> bytes | None:
    """Return the message of an address that can be moved; None for one that stays."""
    family, length, _, scope, _ = _ADDRESS.unpack_from(body)
    found = attributes(body, _ADDRESS.size)
    if lifetimes.client_of(body) or (family == socket.AF_INET6 and scope == _LINK_SCOPE):
        return None
    kept = {number: found[number] for number in _KEPT_OF_ADDRESSES if number in found}
    kept |= lifetimes.deprecated(body)
    kept[8] = u32(lifetimes.flags_of(body) & _KEPT_FLAGS)
    return _ADDRESS.pack(family, length, 0, scope, 0) + _joined(kept)


@checked
def _route(body: bytes) -> bytes | None:
    """Return the message of a route that can be moved; None for one that stays with its link."""
    *head, kind, flags = ROUTE.unpack_from(body)
    family, length, _, _, table, _, _ = head
    found = attributes(body, ROUTE.size)
    link_local = family == socket.AF_INET6 and found.get(1, b"").startswith((b"\xfe\x80", b"\xff"))
    if kind in _OF_ADDRESSES or table == _LOCAL_TABLE or (link_local and length <= 64):
        return None
    links = {index for _, index, _ in hops(found.get(_HOPS, b""))}
    if head[5] in DAEMONS or NEXT_HOP_OBJECT in found or len(links) > 1:
        return None
    kept = {number: each for number, each in found.items() if number not in _DROPPED_OF_ROUTES}
    if _HOPS in kept:
        kept[_HOPS] = _with_hops(kept[_HOPS], 0)
    return ROUTE.pack(*head, kind, flags & _ONLINK) + _joined(kept)


def _neighbours(kernel: Socket, index: int) -> Iterator[bytes]:
    for family in FAMILIES:
        head = NEIGHBOUR.pack(family, 0, 0, 0, 0) + attribute(8, u32(index))
        for body in kernel.dump(Request(GETNEIGH, DUMP, head)):
            _, _, state, flags, kind = NEIGHBOUR.unpack_from(body)
            if state & _NUD_PERMANENT and not flags & _PROXY:
                found = attributes(body, NEIGHBOUR.size)
                kept = {number: found[number] for number in _KEPT_OF_NEIGHBOURS if number in found}
                yield NEIGHBOUR.pack(family, 0, _NUD_PERMANENT, flags, kind) + _joined(kept)


def _rules(kernel: Socket, name: str) -> Iterator[bytes]:
    """Yield the rules that name the link, with an empty name in its place."""
    for family in FAMILIES:
        for body in kernel.dump(Request(GETRULE, DUMP, _RULE.pack(family, 0, 0, 0, 0, 0, 0))):
            *head, flags = _RULE.unpack_from(body)
            found = attributes(body, _RULE.size)
            named = [
                number
                for number in (_IIF, _OUT)
                if found.get(number, b"").rstrip(b"\0") == name.encode()
            ]
            if named:
                kept = found | dict.fromkeys(named, b"\0")
                yield _RULE.pack(*head, flags & _INVERTED) + _joined(kept)


def _with_hops(data: bytes, index: int) -> bytes:
    """Return the next hops, all of one link, with another link in its place."""
    found = b""
    for flags, _, body in hops(data):
        size, _, weight, _ = HOP.unpack_from(body)
        padded = body[HOP.size :] + bytes(-size % 4)
        found += HOP.pack(size, flags & _ONLINK, weight, index) + padded
    return found


def _joined(found: Mapping[int, bytes]) -> bytes:
    return b"".join(attribute(number, found[number]) for number in sorted(found))


def _entry(
    link: Link, kind: EntryKind, message: bytes, number: int, lifetime: Lifetime | None = None
) -> LinkEntry:
    text = _TEXTS[kind](message)
    return LinkEntry(link.name, kind, text, message, _PLACES[kind] + number, lifetime)


def address_text(body: bytes) -> str:
    """Return an address as `ip` shows it."""
    found = attributes(body, _ADDRESS.size)
    return f"{ip_address(found[2] if 2 in found else found[1])}/{body[1]}"


def route_text(body: bytes) -> str:
    """Return a route as `ip route` shows it, without its link."""
    family, length, *_ = ROUTE.unpack_from(body)
    found = attributes(body, ROUTE.size)
    words = [f"{ip_address(found[1])}/{length}" if 1 in found else f"default{'6' * (family != 2)}"]
    if 5 in found:
        words += ["via", str(ip_address(found[5]))]
    for _, _, hop in hops(found.get(_HOPS, b"")):
        if (via := attributes(hop, HOP.size).get(5)) is not None:
            words += ["via", str(ip_address(via))]
    if (table := integer(found[_TABLE]) if _TABLE in found else 254) != 254:
        words += ["table", str(table)]
    if 6 in found and integer(found[6]):
        words += ["metric", str(integer(found[6]))]
    return " ".join(words)


def _neighbour_text(body: bytes) -> str:
    found = attributes(body, NEIGHBOUR.size)
    return f"{ip_address(found[1])} {found.get(2, b'').hex(':')}"


def _rule_text(body: bytes) -> str:
    found = attributes(body, _RULE.size)
    priority = integer(found[6]) if 6 in found else 0
    where = "iif" if found.get(_IIF) == b"\0" else "oif"
    return f"{priority} {where} lookup {integer(found[_TABLE]) if _TABLE in found else body[4]}"


_TEXTS: Mapping[EntryKind, Callable[[bytes], str]] = {
    "address": address_text,
    "route": route_text,
    "neighbour": _neighbour_text,
    "rule": _rule_text,
}
