"""What may keep traffic from our network and is not ours: rules, routes and neighbours of others.

Its owner may want it, so it is named and never changed. Rules before that of the main table can
send packets past our routes; more specific routes come before them; a permanent neighbour is never
resolved.
"""

import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_address

from ovnlet.core.resources.netlink import PROTOCOL
from ovnlet.drivers.links import veths
from ovnlet.drivers.linux.namespaces import entered, opened
from ovnlet.drivers.linux.rtnetlink import GETROUTE, Destination, checked, integer, network_of
from ovnlet.drivers.linux.transport import DUMP, Request, Socket, attributes

_GETNEIGH, _GETRULE = 30, 34
# struct fib_rule_hdr: family, lengths of destination and source, type of service, table, two
# reserved bytes, action, flags. struct ndmsg: family, index, state, flags, type. struct rtmsg.
_RULE = struct.Struct("=BBBBBxxBI")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")
_ROUTE = struct.Struct("=BBBBBBBBI")
_LOCAL, _MAIN, _MAIN_PRIORITY = 255, 254, 32766
_PERMANENT = 0x80
_BY_KERNEL = 2
# RTN_* of routes; FR_ACT_* of rules has the same numbers for these.
_STOPS = {6: "blackhole", 7: "unreachable", 8: "prohibit", 9: "throw"}
_NO_RULES = frozenset({errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.ENOENT})
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


@dataclass(frozen=True, slots=True)
class Interference:
    """Something foreign, and how to remove it. ``stops`` is whether it surely stops traffic."""

    what: str
    remove: str
    stops: bool = False


@dataclass(frozen=True, slots=True)
class _Route:
    destination: Destination
    index: int
    kind: int
    protocol: int

    @property
    def words(self) -> str:
        kind = f"{_STOPS[self.kind]} " if self.kind in _STOPS else ""
        return f"{kind}{self.destination}"


def observe(netns: str, ifname: str) -> list[Interference]:
    """Return what interferes with our interface. ``netns`` is a path, empty for the node's own.

    Nothing interferes with an interface that is not there. Raise UnknownSandbox, NodeFault or
    OSError.
    """
    with ExitStack() as stack:
        if netns:
            stack.enter_context(entered(stack.enter_context(opened(netns))))
        kernel = stack.enter_context(Socket())
        link = veths.named(kernel, ifname)
        if link is None:
            return []
        rules = [rule for family in _FAMILIES for rule in _rules(kernel, family)]
        return [*rules, *_routes(kernel, link.index), *_neighbours(kernel, link.index, ifname)]


def _rules(kernel: Socket, family: int) -> Iterator[Interference]:
    """Yield the rules before that of the main table, or that there is none."""
    flag = "" if family == socket.AF_INET else "-6 "
    request = Request(_GETRULE, DUMP, _RULE.pack(family, 0, 0, 0, 0, 0, 0))
    bodies = kernel.dump(request, empty=_NO_RULES)
    rules = sorted(map(_rule, bodies), key=lambda rule: rule[0])
    main = [priority for priority, words, table, _ in rules if (words, table) == ("", _MAIN)]
    if bodies and not main:
        what = f"ip {flag}rule: there is no rule `from all lookup main`: our routes are not used"
        add = f"ip {flag}rule add from all lookup main pref {_MAIN_PRIORITY}"
        yield Interference(what, add, stops=True)
    for priority, words, table, action in rules:
        if priority < max(main, default=_MAIN_PRIORITY) and (words, table) != ("", _LOCAL):
            does = _STOPS.get(action, f"lookup {table}")
            what = f"ip {flag}rule {priority}: {words or 'from all'} {does}, before the main table"
            remove = f"ip {flag}rule del pref {priority}, if nobody needs it"
            yield Interference(what, remove, action in _STOPS)


@checked
def _rule(body: bytes) -> tuple[int, str, int, int]:
    """Return priority, selector, table and action of a rule."""
    _, to_length, from_length, _, table, action, _ = _RULE.unpack_from(body)
    found = attributes(body, _RULE.size)
    words = [f"from {ip_address(found[2])}/{from_length}"] if 2 in found else []
    words += [f"to {ip_address(found[1])}/{to_length}"] if 1 in found else []
    words += [f"fwmark {integer(found[10]):#x}"] if 10 in found else []
    named = ((3, "iif"), (17, "oif"))
    for key, word in named:
        words += [f"{word} {found[key].rstrip(bytes(1)).decode()}"] if key in found else []
    priority = integer(found[6]) if 6 in found else 0
    return priority, " ".join(words), integer(found[15]) if 15 in found else table, action


def _routes(kernel: Socket, index: int) -> Iterator[Interference]:
    """Yield foreign routes of the main table that come before ours."""
    for family in _FAMILIES:
        body = _ROUTE.pack(family, 0, 0, 0, _MAIN, 0, 0, 0, 0)
        replies = kernel.dump(Request(GETROUTE, DUMP, body), empty=_NO_RULES)
        routes = [_route(reply) for reply in replies]
        ours = [r.destination for r in routes if r.protocol == PROTOCOL and r.index == index]
        for each in routes:
            if each.protocol == PROTOCOL or each.destination.prefixlen == 0:
                continue
            if _precedes(each, ours):
                what = f"route {each.words} is more specific than ours"
                remove = f"ip route del {each.words}, if nobody needs it"
                yield Interference(what, remove, each.kind in _STOPS)


def _precedes(route: _Route, ours: list[Destination]) -> bool:
    """Return whether a foreign route takes packets from a route of ours.

    Beside our default route there is room for other networks, but not for a route that only stops
    packets.
    """
    inside = [
        wide
        for wide in ours
        if wide.version == route.destination.version
        and route.destination != wide
        and route.destination.subnet_of(wide)  # type: ignore[arg-type]  # of one version
    ]
    if route.kind in _STOPS:
        return bool(inside)
    return route.protocol != _BY_KERNEL and any(wide.prefixlen for wide in inside)


@checked
def _route(body: bytes) -> _Route:
    family, length, _, _, _, protocol, _, kind, _ = _ROUTE.unpack_from(body)
    found = attributes(body, _ROUTE.size)
    packed = found.get(1, bytes(4 if family == socket.AF_INET else 16))
    index = integer(found[4]) if 4 in found else 0
    return _Route(network_of(family, packed, length), index, kind, protocol)


def _neighbours(kernel: Socket, index: int, ifname: str) -> Iterator[Interference]:
    """Yield permanent neighbours by the link. We make none, and OVN answers for every address."""
    request = Request(_GETNEIGH, DUMP, _NEIGHBOUR.pack(0, 0, 0, 0, 0))
    for body in kernel.dump(request, empty=_NO_RULES):
        _, link, state, _, _ = _NEIGHBOUR.unpack_from(body)
        found = attributes(body, _NEIGHBOUR.size)
        if link == index and state & _PERMANENT and 1 in found:
            address, mac = ip_address(found[1]), found.get(2, b"").hex(":")
            what = f"neighbour {address} is permanent with MAC {mac}, and never resolved"
            yield Interference(what, f"ip neigh del {address} dev {ifname}, if nobody needs it")
