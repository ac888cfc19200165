"""Where a pod's own kernel sends a packet: its route, next hop and neighbour; and who listens."""

import errno
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from ovnlet.core.errors import NodeFault
from ovnlet.drivers.links import veths
from ovnlet.drivers.linux.namespaces import entered, opened
from ovnlet.drivers.linux.rtnetlink import GETROUTE, Gateway, gateway_of, integer
from ovnlet.drivers.linux.transport import DUMP, Request, Socket, attribute, attributes

_GETNEIGH = 30
# struct rtmsg and struct ndmsg, see drivers.links.interference.
_ROUTE = struct.Struct("=BBBBBBBBI")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")
_DST, _OIF, _GATEWAY, _SOURCE, _VIA = 1, 4, 5, 7, 18
_LLADDR = 2
# NUD_INCOMPLETE and NUD_FAILED: asked for, and not known.
_UNKNOWN = 0x01 | 0x20
_DISCARD = 9
# Seconds for which an answer to ARP or neighbour discovery is waited for.
_RESOLVED, _LOOK = 2.0, 0.05
# In /proc/net/tcp; an unconnected UDP socket is shown as closed.
_LISTEN = {"tcp": "0A", "udp": "07"}
_STOPPED = {
    errno.ENETUNREACH: "no route",
    errno.EHOSTUNREACH: "an unreachable route",
    errno.EINVAL: "a blackhole route",
    errno.EACCES: "a prohibit route",
}


@dataclass(frozen=True, slots=True)
class Hop:
    """The first hop of a packet. ``mac`` is empty if nobody answers for ``next``."""

    link: int
    source: str
    next: str
    mac: str


def first_hop(netns: str, ifname: str, destination: Gateway) -> Hop:
    """Return the first hop by the routes of a namespace; resolve its neighbour if it is not known.

    For that one datagram is sent to the discard port of the next hop. Raise NodeFault if there is
    no route, or one that stops packets or leads out of another interface; or as ``opened`` does.
    """
    with _inside(netns) as kernel:
        link = veths.named(kernel, ifname)
        index, source, gateway = _route(kernel, destination)
        if link is None or index != link.index:
            raise NodeFault(f"the route to {destination} does not lead out of {ifname}")
        hop = gateway or destination
        mac = _neighbour(kernel, index, hop)
        return Hop(index, str(source), str(hop), mac or _resolved(kernel, index, hop))


def listens(netns: str, protocol: str, port: int) -> bool:
    """Return whether a socket of a namespace takes packets for a port, of any address."""
    with _inside(netns):
        return any(
            int(local.rpartition(":")[2], 16) == port and state == _LISTEN[protocol]
            for local, state in _sockets(protocol)
        )


@contextmanager
def _inside(netns: str) -> Iterator[Socket]:
    with opened(netns) as fd, entered(fd), Socket() as kernel:
        yield kernel


def _route(kernel: Socket, to: Gateway) -> tuple[int, Gateway, Gateway | None]:
    """Return the index of the link, our address and the gateway if there is one."""
    family = socket.AF_INET if to.version == 4 else socket.AF_INET6
    body = _ROUTE.pack(family, to.max_prefixlen, 0, 0, 0, 0, 0, 0, 0) + attribute(_DST, to.packed)
    (answer,) = kernel.ask(Request(GETROUTE, 0, body))
    if answer.error:
        why = _STOPPED.get(answer.error.errno, str(answer.error))
        raise NodeFault(f"to {to} there is {why}")
    found = attributes(answer.replies[0], _ROUTE.size)
    packed = found.get(_GATEWAY) or found.get(_VIA, b"")[2:]
    gateway = gateway_of(_family(packed), packed) if packed else None
    return integer(found[_OIF]), gateway_of(family, found[_SOURCE]), gateway


def _family(packed: bytes) -> int:
    return socket.AF_INET if len(packed) == 4 else socket.AF_INET6


def _neighbour(kernel: Socket, index: int, hop: Gateway) -> str:
    """Return the MAC of a neighbour, empty if it is not known."""
    for body in kernel.dump(Request(_GETNEIGH, DUMP, _NEIGHBOUR.pack(0, 0, 0, 0, 0))):
        _, link, state, _, _ = _NEIGHBOUR.unpack_from(body)
        found = attributes(body, _NEIGHBOUR.size)
        if link == index and _DST in found and ip_address(found[_DST]) == hop:
            return "" if state & _UNKNOWN else found.get(_LLADDR, b"").hex(":")
    return ""


def _resolved(kernel: Socket, index: int, hop: Gateway) -> str:
    """Have the kernel ask for a neighbour; return its MAC, empty if nobody answers."""
    with socket.socket(_family(hop.packed), socket.SOCK_DGRAM) as probe:
        probe.sendto(b"", (str(hop), _DISCARD))
    until = time.monotonic() + _RESOLVED
    while not (mac := _neighbour(kernel, index, hop)) and time.monotonic() < until:
        time.sleep(_LOOK)
    return mac


def _sockets(protocol: str) -> Iterator[tuple[str, str]]:
    """Yield local address and state of the sockets of the namespace that the thread is in."""
    for suffix in ("", "6"):
        try:
            lines = Path(f"/proc/thread-self/net/{protocol}{suffix}").read_text().splitlines()
        except FileNotFoundError:  # a kernel without IPv6
            continue
        for line in lines[1:]:
            words = line.split()
            yield words[1], words[3]
