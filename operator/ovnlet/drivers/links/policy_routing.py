"""Observe and change the rules of our protocol, and the routes of theirs.

Ours are rules of protocol 157, and routes of protocol 157 in any table but the host's own. Nothing
else is looked at.
"""

import errno
import socket
import struct
from collections.abc import Iterator

from ovnlet.core.errors import NodeFault
from ovnlet.core.plan import Step, Verb
from ovnlet.core.resources import Network, PolicyRoute, PolicyRule
from ovnlet.core.resources.netlink import PROTOCOL
from ovnlet.drivers.links import veths
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

_NEWRULE, _DELRULE, _GETRULE = 32, 33, 34
# struct fib_rule_hdr: family, lengths of destination and source, type of service, table, two
# reserved bytes, action, flags. struct rtmsg.
_RULE = struct.Struct("=BBBBBxxBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_TO_TABLE, _UNICAST, _NOWHERE = 1, 1, 255
_HOST_TABLES = frozenset({253, 254, 255})
_METRIC: dict[int, int] = {socket.AF_INET: 0, socket.AF_INET6: 512}
_CREATE, _EXCLUSIVE = 0x400, 0x200
_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_NONE = frozenset({errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.ENOENT})
_GONE = frozenset({errno.ENOENT, errno.ESRCH, errno.ENODEV})


def observe() -> Network:
    """Return our rules, and our routes in tables other than the host's. Raise Refused, OSError."""
    with Socket() as kernel:
        return frozenset({*_rules(kernel), *_routes(kernel)})


def carry_out(step: Step) -> None:
    """Carry out a step. Raise NodeFault if the kernel refuses it, OSError if the socket fails."""
    ensures = step.verb is Verb.ENSURE
    with Socket() as kernel:
        match step.resource:
            case PolicyRule() as rule:
                request = _rule_request(rule, ensures)
            case PolicyRoute() as route:
                request = _route_request(kernel, step, route)
            case _:
                raise NodeFault(f"{step}: not for policy routing")
        (answer,) = kernel.ask(request)
    harmless = {errno.EEXIST} if ensures else _GONE
    if answer.error and answer.error.errno not in harmless:
        raise NodeFault(f"{step}: {answer.error}") from answer.error


def _rules(kernel: Socket) -> Iterator[PolicyRule]:
    for family in _FAMILIES:
        request = Request(_GETRULE, DUMP, _RULE.pack(family, 0, 0, 0, 0, 0, 0))
        for body in kernel.dump(request, empty=_NONE):
            if (found := _rule(body)) is not None:
                yield found


@checked
def _rule(body: bytes) -> PolicyRule | None:
    """Decode a rule; None for one that is not ours."""
    family, _, length, _, table, _, _ = _RULE.unpack_from(body)
    found = attributes(body, _RULE.size)
    if found.get(21, b"\0")[0] != PROTOCOL:
        return None
    packed = found.get(2, bytes(4 if family == socket.AF_INET else 16))
    priority = integer(found[6]) if 6 in found else 0
    number = integer(found[15]) if 15 in found else table
    return PolicyRule(network_of(family, packed, length), number, priority)


def _routes(kernel: Socket) -> Iterator[PolicyRoute]:
    names: dict[int, str] = {}
    for family in _FAMILIES:
        head = _ROUTE.pack(family, 0, 0, 0, 0, PROTOCOL, 0, 0, 0)
        for body in kernel.dump(Request(GETROUTE, DUMP, head), empty=_NONE):
            table, destination, via, index = _route(body)
            if table in _HOST_TABLES:
                continue
            if index not in names:
                # 0: it has several next hops, or none. The kernel refuses to be asked for that.
                link = veths.named(kernel, index) if index else None
                names[index] = link.name if link else str(index)
            yield PolicyRoute(table, destination, via, names[index])


@checked
def _route(
    body: bytes,
) -> tuple[int, Destination, Gateway | None, int]:
    family, length, _, _, table, _, _, _, _ = _ROUTE.unpack_from(body)
    found = attributes(body, _ROUTE.size)
    packed = found.get(1, bytes(4 if family == socket.AF_INET else 16))
    via = gateway_of(family, found[5]) if 5 in found else None
    number = integer(found[15]) if 15 in found else table
    index = integer(found[4]) if 4 in found else 0
    return number, network_of(family, packed, length), via, index


def _rule_request(rule: PolicyRule, ensures: bool) -> Request:
    source, family = rule.source, _family(rule.source)
    # Tables above 255 do not fit into the header: the attribute has the number.
    head = _RULE.pack(family, 0, source.prefixlen, 0, 0, _TO_TABLE, 0)
    body = head + attribute(2, source.network_address.packed) + attribute(15, u32(rule.table))
    body += attribute(6, u32(rule.priority)) + attribute(21, bytes([PROTOCOL]))
    if ensures:
        return Request(_NEWRULE, ACK | _CREATE | _EXCLUSIVE, body)
    return Request(_DELRULE, ACK, body)


def _route_request(kernel: Socket, step: Step, route: PolicyRoute) -> Request:
    ensures, destination = step.verb is Verb.ENSURE, route.destination
    family = _family(destination)
    scope = 0 if ensures else _NOWHERE
    head = _ROUTE.pack(family, destination.prefixlen, 0, 0, 0, PROTOCOL, scope, _UNICAST, 0)
    link = veths.named(kernel, route.link)
    if link is None and ensures:
        raise NodeFault(f"{step}: ENODEV: there is no link {route.link}")
    body = head + attribute(1, destination.network_address.packed)
    body += attribute(15, u32(route.table)) + attribute(6, u32(_METRIC[family]))
    body += attribute(4, u32(link.index)) if link else b""
    body += attribute(5, route.via.packed) if route.via else b""
    return Request(NEWROUTE if ensures else DELROUTE, ACK | (_CREATE if ensures else 0), body)


def _family(destination: Destination) -> int:
    return socket.AF_INET if destination.version == 4 else socket.AF_INET6
