"""Encode, decode and observe routes of a main table: ours, and those that compete with ours."""

import errno
import socket
import struct
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from ovnlet.core.resources import Address, CompetingRoute, Network, Nic, Route, Veth
from ovnlet.core.resources.netlink import LATER, PROTOCOL
from ovnlet.drivers.linux.rtnetlink import (
    DELROUTE,
    GETROUTE,
    NEWROUTE,
    Destination,
    Gateway,
    checked,
    gateway_of,
    integer,
    network_of,
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

BY_KERNEL, _STATIC = 2, 4  # RTPROT_KERNEL, RTPROT_STATIC
_ADD = ACK | 0x400  # NLM_F_CREATE
# struct rtmsg: family, lengths of the destination's and the source's prefix, type of service,
# table, protocol, scope, type, flags.
_ROUTE = struct.Struct("=BBBBBBBBI")
_NEXT_HOP = struct.Struct("=HBBi")  # struct rtnexthop: length, flags, hops, interface index
_MAIN, _UNICAST, _SCOPE_LINK, _SCOPE_NOWHERE = 254, 1, 253, 255
# By address family. A route with another metric was not made here. IPv6 joins routes with one
# destination and metric, even ours with foreign ones, into one route with several next hops. A
# metric of our own, lower than the kernel's default of 1024, keeps them apart.
_METRIC: dict[int, int] = {socket.AF_INET: 0, socket.AF_INET6: 512}
_ANY_METRIC = 1 << 32


class RouteEntry(NamedTuple):
    """A route of the main table as the kernel shows it.

    ``hops`` has the link's index and the gateway of each next hop. ``via`` is None if there are
    several next hops, or no gateway. ``plain`` is False if the route differs from those made here
    in more than protocol, metric and next hops: in type of service, type, a source prefix, or a
    next hop object.
    """

    destination: Destination
    via: Gateway | None
    source: Gateway | None
    protocol: int
    metric: int
    hops: tuple[tuple[int, Gateway | None], ...]
    plain: bool

    @property
    def later(self) -> int:
        """How much the metric is above the usual one of our routes."""
        return self.metric - _METRIC[_family(self.destination)]

    @property
    def ours(self) -> bool:
        """Whether ovnlet made the route."""
        return self.plain and self.protocol == PROTOCOL and (self.later == 0 or self.later in LATER)

    def competes(self, link: int, later: int = 0) -> bool:
        """Return whether the kernel may prefer it to a route of ours by the link with that index.

        True only for a plain route that is not ours, uses no other link, and has no worse metric
        than ours, whose ``Route.later`` is given. Whether there is a route of ours to the same
        destination is for the caller to check.
        """
        preferred = self.plain and not self.ours and self.later <= later
        return preferred and {index for index, _ in self.hops} == {link}


def add_route(
    index: int,
    destination: Destination,
    via: Gateway | None,
    source: Gateway | None,
    later: int = 0,
) -> Request:
    """Add a route before others to that destination.

    NLM_F_REPLACE would overwrite the first of those, even a foreign one, so it is not set.
    """
    scope = _SCOPE_LINK if via is None and destination.version == 4 else 0
    return Request(NEWROUTE, _ADD, _route(index, destination, scope, later) + _hop(via, source))


def kube_ovns_route(index: int, route: Route) -> Request:
    """Add the same route as kube-ovn-cni has it, beside ours.

    It has protocol `static` and no metric, which IPv6 stores as 1024. The connected route is as the
    kernel makes it for an address.
    """
    six = route.destination.version == 6
    if route.via is None:
        protocol, metric, scope = BY_KERNEL, 256 if six else 0, 0 if six else _SCOPE_LINK
    else:
        protocol, metric, scope = _STATIC, 1024 if six else 0, 0
    head = _head(route.destination, scope, protocol, metric) + attribute(4, u32(index))
    source = None if six and route.via is None else route.source
    return Request(NEWROUTE, _ADD, head + _hop(route.via, source))


def delete_route(
    index: int,
    destination: Destination,
    via: Gateway | None,
    source: Gateway | None,
    later: int = 0,
) -> Request:
    """Delete a route of ours.

    The kernel compares the protocol, so it does not delete a foreign route. It compares the next
    hop and the source address too if they are given.
    """
    head = _route(index, destination, _SCOPE_NOWHERE, later)
    return Request(DELROUTE, ACK, head + _hop(via, source))


def delete_competing_route(index: int, route: CompetingRoute) -> Request:
    """Delete exactly that route, by its protocol and metric.

    For a route with several next hops, give all of them: IPv4 finds such a route by its hops, and
    not by a link.
    """
    head = _head(route.destination, _SCOPE_NOWHERE, route.protocol, route.metric)
    if len(route.via) == 1:
        return Request(
            DELROUTE, ACK, head + attribute(4, u32(index)) + _hop(route.via[0], route.source)
        )
    hops = (_hop(via, None) for via in route.via)
    several = b"".join(_NEXT_HOP.pack(_NEXT_HOP.size + len(hop), 0, 0, index) + hop for hop in hops)
    return Request(DELROUTE, ACK, head + attribute(9, several) + _hop(None, route.source))


def get_routes(index: int, family: int) -> Request:
    """Show the routes of a family in the main table by that link, ours or not.

    The kernel filters by table and link.
    """
    head = _ROUTE.pack(family, 0, 0, 0, _MAIN, 0, 0, 0, 0)
    return Request(GETROUTE, DUMP, head + attribute(4, u32(index)))


@checked
def route(body: bytes) -> RouteEntry:
    """Decode a route message. Raise Garbled for bytes that are none."""
    family, length, sources, service, _, protocol, _, kind, _ = _ROUTE.unpack_from(body)
    found = attributes(body, _ROUTE.size)
    via = gateway_of(family, found[5]) if 5 in found else None
    return RouteEntry(
        destination=network_of(
            family, found.get(1, bytes(4 if family == socket.AF_INET else 16)), length
        ),
        via=via,
        source=gateway_of(family, found[7]) if 7 in found else None,
        protocol=protocol,
        metric=integer(found.get(6, bytes(4))),
        hops=tuple(_hops(family, found[9]))
        if 9 in found
        else ((integer(found.get(4, bytes(4))), via),),
        plain=(sources, service, kind) == (0, 0, _UNICAST) and 30 not in found,
    )


def _hops(family: int, data: bytes) -> Iterator[tuple[int, Gateway | None]]:
    at = 0
    while at < len(data):
        size, _, _, index = _NEXT_HOP.unpack_from(data, at)
        if not _NEXT_HOP.size <= size <= len(data) - at:
            raise ValueError(f"a next hop of {size} bytes")
        found = attributes(data[at + _NEXT_HOP.size : at + size])
        yield index, gateway_of(family, found[5]) if 5 in found else None
        at += (size + 3) & ~3


def _route(index: int, destination: Destination, scope: int, later: int) -> bytes:
    head = _head(destination, scope, PROTOCOL, _METRIC[_family(destination)] + later)
    return head + attribute(4, u32(index))


def _head(destination: Destination, scope: int, protocol: int, metric: int) -> bytes:
    head = _ROUTE.pack(
        _family(destination), destination.prefixlen, 0, 0, _MAIN, protocol, scope, _UNICAST, 0
    )
    return head + attribute(1, destination.network_address.packed) + attribute(6, u32(metric))


def _hop(via: Gateway | None, source: Gateway | None) -> bytes:
    gateway = attribute(5, via.packed) if via is not None else b""
    return gateway + (attribute(7, source.packed) if source is not None else b"")


def _family(destination: Destination) -> int:
    return socket.AF_INET if destination.version == 4 else socket.AF_INET6


def observe(
    pod: Socket, link: int, end: Veth | Nic, desired: Network, addresses: Sequence[Address]
) -> Iterator[Route | CompetingRoute]:
    """Yield our routes by the link with that index, and those that compete with a desired route.

    ``addresses`` are our addresses on the link, as observed. Raise Refused or OSError.
    """
    name = end.pod if isinstance(end, Veth) else end.name
    contested = {each.destination: each.later for each in desired if isinstance(each, Route)}
    for family in (socket.AF_INET, socket.AF_INET6):
        # ENOENT: a namespace has no main table until it has its first route.
        bodies = pod.dump(get_routes(link, family), empty=frozenset({errno.ENOENT}))
        entries = [route(body) for body in bodies]
        ours = {entry.destination for entry in entries if entry.ours}
        for entry in entries:
            if entry.ours:
                yield Route(end.key, name, entry.destination, entry.via, entry.source, entry.later)
            elif (
                entry.destination in contested
                and not _is_connected_route(entry, addresses)
                and (
                    entry.competes(link, contested[entry.destination])
                    if isinstance(end, Veth)
                    else _is_of_another_agent(entry, link, ours)
                )
            ):
                via = tuple(gateway for _, gateway in entry.hops)
                where = (end.key, name, entry.destination)
                yield CompetingRoute(*where, via, entry.source, entry.protocol, entry.metric)


def _is_of_another_agent(entry: RouteEntry, link: int, ours: Collection[Destination]) -> bool:
    """Return whether a foreign route by the node's own interface to a desired destination must go.

    Whatever its metric is, another agent made it; but it does not go before ours has come. Only in
    IPv6 a route with our metric goes first, see ``_METRIC``.
    """
    joined = entry.destination.version == 6 and entry.later == 0
    return (joined or entry.destination in ours) and entry.competes(link, _ANY_METRIC)


def _is_connected_route(entry: RouteEntry, addresses: Sequence[Address]) -> bool:
    """Return whether it is the connected route that the kernel made for one of our addresses.

    Such an address has no IFA_F_NOPREFIXROUTE, so it must be replaced in any case, and the kernel
    removes its route along with it.
    """
    return entry.protocol == BY_KERNEL and any(
        not address.noprefixroute
        and address.ip.network == entry.destination
        and entry.source in (None, address.ip.ip)
        for address in addresses
    )
