"""Routes of a pod's main table, ours and those that compete with ours: their messages, and a look at them."""

import errno
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ovnlet.core.resources import Address, CompetingRoute, Network, Nic, Route, Veth
from ovnlet.core.resources.netlink import PROTOCOL
from ovnlet.drivers.linux.rtnetlink import (
    DELROUTE,
    GETROUTE,
    NEWROUTE,
    Destination,
    Gateway,
    attribute,
    checked,
    gateway_of,
    integer,
    network_of,
    u32,
)
from ovnlet.drivers.linux.transport import ACK, DUMP, Request, Socket, attributes

BY_KERNEL = 2  # RTPROT_KERNEL
_ADD = ACK | 0x400  # NLM_F_CREATE
_ROUTE = struct.Struct("=BBBBBBBBI")
_NEXT_HOP = struct.Struct("=HBBi")
_MAIN, _UNICAST, _SCOPE_LINK, _SCOPE_NOWHERE = 254, 1, 253, 255
# A route with another metric was not made here. IPv6 joins routes of one destination and metric into one of several
# next hops, foreign ones with ours: a metric of our own, before the kernel's usual 1024, keeps them apart.
_METRIC: dict[int, int] = {socket.AF_INET: 0, socket.AF_INET6: 512}


class RouteEntry(NamedTuple):
    """``hops`` are links and gateways; ``via`` is None where there are several.

    ``plain`` is False where more than protocol, metric and next hops set it apart from what is made here: type of
    service, kind, a prefix of sources, a next hop object.
    """

    destination: Destination
    via: Gateway | None
    source: Gateway | None
    protocol: int
    metric: int
    hops: tuple[tuple[int, Gateway | None], ...]
    plain: bool

    @property
    def ours(self) -> bool:
        return (
            self.plain
            and self.protocol == PROTOCOL
            and self.metric == _METRIC[_family(self.destination)]
        )

    def competes(self, link: int) -> bool:
        """With a route of ours to the same destination by that link, if there is one."""
        better = self.plain and not self.ours and self.metric <= _METRIC[_family(self.destination)]
        return better and {index for index, _ in self.hops} == {link}


def add_route(
    index: int, destination: Destination, via: Gateway | None, source: Gateway | None
) -> Request:
    """In front of others to that destination. NLM_F_REPLACE would overwrite whichever comes first, whose ever it is."""
    scope = _SCOPE_LINK if via is None and destination.version == 4 else 0
    return Request(NEWROUTE, _ADD, _route(index, destination, scope) + _hop(via, source))


def delete_route(
    index: int, destination: Destination, via: Gateway | None, source: Gateway | None
) -> Request:
    """Ours only: the kernel compares the protocol, and the next hop and the source where they are given."""
    return Request(DELROUTE, ACK, _route(index, destination, _SCOPE_NOWHERE) + _hop(via, source))


def delete_rival(index: int, rival: CompetingRoute) -> Request:
    """Just that one, by its protocol and metric. IPv4 knows one of several next hops by them, and not by a link."""
    head = _head(rival.destination, _SCOPE_NOWHERE, rival.protocol, rival.metric)
    if len(rival.via) == 1:
        return Request(
            DELROUTE, ACK, head + attribute(4, u32(index)) + _hop(rival.via[0], rival.source)
        )
    hops = (_hop(via, None) for via in rival.via)
    several = b"".join(_NEXT_HOP.pack(_NEXT_HOP.size + len(hop), 0, 0, index) + hop for hop in hops)
    return Request(DELROUTE, ACK, head + attribute(9, several) + _hop(None, rival.source))


def get_routes(index: int, family: int) -> Request:
    """Those in the main table by that link, whose ever they are; the kernel filters."""
    head = _ROUTE.pack(family, 0, 0, 0, _MAIN, 0, 0, 0, 0)
    return Request(GETROUTE, DUMP, head + attribute(4, u32(index)))


@checked
def route(body: bytes) -> RouteEntry:
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


def _route(index: int, destination: Destination, scope: int) -> bytes:
    head = _head(destination, scope, PROTOCOL, _METRIC[_family(destination)])
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


def look(
    pod: Socket, link: int, end: Veth | Nic, desired: Network, addresses: Sequence[Address]
) -> Iterator[Route | CompetingRoute]:
    """Ours by that link, and who competes with what is desired; ``addresses`` are those of ours that are there."""
    name = end.pod if isinstance(end, Veth) else end.name
    contested = {resource.destination for resource in desired if isinstance(resource, Route)}
    for family in (socket.AF_INET, socket.AF_INET6):
        # ENOENT: a namespace has no main table before its first route.
        for body in pod.dump(get_routes(link, family), empty=frozenset({errno.ENOENT})):
            entry = route(body)
            if entry.ours:
                yield Route(end.key, name, entry.destination, entry.via, entry.source)
            elif (
                entry.destination in contested
                and entry.competes(link)
                and not _is_of_one(entry, addresses)
            ):
                via, where = (
                    tuple(gateway for _, gateway in entry.hops),
                    (end.key, name, entry.destination),
                )
                yield CompetingRoute(*where, via, entry.source, entry.protocol, entry.metric)


def _is_of_one(entry: RouteEntry, addresses: Sequence[Address]) -> bool:
    """The kernel's own connected route of an address of ours goes with it: such an address cannot stay as it is."""
    return entry.protocol == BY_KERNEL and any(
        not address.noprefixroute
        and address.ip.network == entry.destination
        and entry.source in (None, address.ip.ip)
        for address in addresses
    )
