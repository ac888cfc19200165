"""The kernel's side of an uplink: what a NIC has, what must not be moved, and who answers on it."""

import asyncio
import errno
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from ipaddress import ip_address
from typing import TypeVar

from ovnlet.core.errors import NodeFault, Unsafe
from ovnlet.core.plan import Step, Verb
from ovnlet.core.resources import LinkEntry, LinkUp
from ovnlet.drivers.links import lifetimes, link_entries, stacked, veths
from ovnlet.drivers.linux import sysctl
from ovnlet.drivers.linux.rtnetlink import Link, get_link, integer, set_link
from ovnlet.drivers.linux.solicitation import solicit
from ovnlet.drivers.linux.transport import (
    ACK,
    Refused,
    Request,
    Socket,
    attribute,
    attributes,
)

T = TypeVar("T")
_MASTER, _LINK_INFO = 10, 18
_KIND, _INFO_DATA, _MODE, _BALANCE_ALB = 1, 2, 1, 6
_HEADER = 16
_SWITCHED = "openvswitch"
_LOOPBACK = "lo"
_USE, _REACHABLE, _STATIC = 1, 0x02, 0xC0
_CREATE = 0x400
# Settings of the NIC that decide what the node accepts, answers and forwards.
_SHARED = (
    *(f"ipv4/{each}" for each in ("rp_filter", "forwarding", "arp_ignore", "arp_announce")),
    *(f"ipv4/{each}" for each in ("accept_local", "src_valid_mark", "send_redirects")),
    *(f"ipv6/{each}" for each in ("disable_ipv6", "forwarding", "accept_ra", "autoconf")),
)
_GONE = frozenset(
    {errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
)


def link(name: str) -> Link | None:
    """Return the link of that name; None if there is none. Raise Refused or OSError."""
    with Socket() as kernel:
        return veths.named(kernel, name)


def entries(name: str) -> tuple[LinkEntry, ...]:
    """Return all that can be moved from the link; nothing where there is no such link."""
    return _read(name, link_entries.observe)


def require_movable(name: str, vlans: Collection[int] = ()) -> Link:
    """Return the link. Raise Unsafe, in words, if it is none or what it has cannot be moved.

    ``vlans`` are the IDs of the VLANs that its bridge is to carry.
    """
    with Socket() as kernel:
        found = veths.named(kernel, name)
        if found is None:
            raise Unsafe(f"there is no interface {name} on this node")
        if name == _LOOPBACK or found.kind == _SWITCHED:
            raise Unsafe(f"{name} is not an interface to a network outside of this node")
        if (master := _master(kernel, name)) is not None and master.kind != _SWITCHED:
            raise Unsafe(f"{name} belongs to {master.name} ({master.kind or 'a device'})")
        if _bond_mode(kernel, name) == _BALANCE_ALB:
            raise Unsafe(f"{name} is a bond of mode balance-alb, whose MACs no bridge can learn")
        for reason in _unmovable(kernel, found, vlans):
            raise Unsafe(f"{name} {reason}")
    return found


def settings(
    directory: str, name: str, names: Iterable[str] = _SHARED
) -> tuple[tuple[str, str], ...]:
    """Return settings of a link by name; by default all that a bridge should have as its NIC."""
    found = ((each, sysctl.read(directory, _path(each, name))) for each in names)
    return tuple((each, value) for each, value in found if value is not None)


def follows_routers(directory: str, name: str) -> bool:
    """Return whether the kernel keeps what router advertisements gave the link (ip-sysctl).

    With accept_ra it takes them, unless it forwards; with 2 then too. Addresses must be made of the
    MAC (addr_gen_mode 0), which the bridge has as well, or be none of its making (1).
    """
    names = ("accept_ra", "forwarding", "addr_gen_mode")
    found = dict(settings(directory, name, (f"ipv6/{each}" for each in names)))
    accepts, forwards, mode = (found.get(f"ipv6/{each}", "0") for each in names)
    return (accepts == "2" or (accepts == "1" and forwards == "0")) and mode in ("0", "1")


def unmovable(name: str, vlans: Collection[int] = ()) -> tuple[str, ...]:
    """Return in words what the link has that cannot be moved. Raise Refused or OSError."""
    return _read(name, partial(_unmovable, vlans=vlans))


def gateways(name: str) -> tuple[str, ...]:
    """Return the next hops of the default routes by this link."""
    return tuple(dict.fromkeys(_read(name, _next_hops)))


def routers(name: str) -> tuple[str, ...]:
    """Return the next hops of default routes that router advertisements gave the link."""
    return tuple(dict.fromkeys(_read(name, partial(_next_hops, protocol=link_entries.ADVERTISED))))


async def has_router(name: str, address: str, within: float) -> bool:
    """Ask for advertisements, and return whether the link gets a router's default route in time."""
    end = asyncio.get_running_loop().time() + within
    solicit(name)
    while asyncio.get_running_loop().time() < end:
        if address in routers(name):
            return True
        await asyncio.sleep(0.05)
    return False


async def answers(name: str, address: str, within: float) -> bool:
    """Return whether a neighbour on the link answers ARP or neighbour solicitation in time.

    What the kernel believes of it is dropped before: it must answer now. A static entry cannot be
    asked, and counts as an answer.
    """
    end = asyncio.get_running_loop().time() + within
    with Socket() as kernel:
        if (found := veths.named(kernel, name)) is None:
            return False
        if _state(kernel, found, address) & _STATIC:
            return True
        kernel.ask(_neighbour(link_entries.DELNEIGH, found, address))
        kernel.ask(_neighbour(link_entries.NEWNEIGH, found, address, uses=True))
        while asyncio.get_running_loop().time() < end:
            if _state(kernel, found, address) & _REACHABLE:
                return True
            await asyncio.sleep(0.02)
    return False


def carry_out(step: Step, sysctls: str) -> None:
    """Carry out a step on a link or one of its entries. Raise NodeFault if the kernel refuses.

    ``sysctls`` is the path of the node's /proc/sys/net.
    """
    ensures = step.verb is Verb.ENSURE
    if ensures and isinstance(step.resource, LinkUp):
        for each, value in step.resource.settings:
            sysctl.write(sysctls, _path(each, step.resource.link), value)
    with Socket() as kernel:
        match step.resource:
            case LinkUp(name):
                requests = [set_link(name, up=True)] if ensures else []
            case LinkEntry(name) as entry:
                if (found := veths.named(kernel, name)) is None and ensures:
                    raise NodeFault(f"{step}: ENODEV: there is no link {name}")
                index = found.index if found else 0
                requests = [link_entries.change(entry, index, adds=ensures)] if index else []
            case _:
                raise NodeFault(f"{step}: not for a link")
        (answer,) = kernel.ask(*requests) if requests else (None,)
    harmless = {errno.EEXIST} if ensures else _GONE
    if answer and answer.error and answer.error.errno not in harmless:
        raise NodeFault(f"{step}: {answer.error}") from answer.error


def _read(name: str, what: Callable[[Socket, Link], Iterable[T]]) -> tuple[T, ...]:
    """Return what there is of a link; nothing without it. Raise Refused, NodeFault or OSError.

    A bridge's link goes some time after its row, which may be while this reads it: the kernel then
    refuses to dump what it had.
    """
    with Socket() as kernel:
        if (found := veths.named(kernel, name)) is None:
            return ()
        try:
            return tuple(what(kernel, found))
        except Refused as error:
            if error.errno != errno.ENODEV:
                raise
            return ()


def _path(setting: str, link: str) -> str:
    family, _, name = setting.partition("/")
    return f"{family}/conf/{link}/{name}"


def _master(kernel: Socket, name: str) -> Link | None:
    """Return the link that this one is enslaved to, None if it is free."""
    (answer,) = kernel.ask(get_link(name))
    found = attributes(answer.replies[0], _HEADER) if answer.replies else {}
    index = integer(found[_MASTER]) if _MASTER in found else 0
    return veths.named(kernel, index) if index else None


def _bond_mode(kernel: Socket, name: str) -> int | None:
    """Return the mode of a bond (IFLA_BOND_MODE), None for a link that is none."""
    (answer,) = kernel.ask(get_link(name))
    found = attributes(answer.replies[0], _HEADER) if answer.replies else {}
    info = attributes(found.get(_LINK_INFO, b""))
    if info.get(_KIND, b"").rstrip(b"\0") != b"bond":
        return None
    return attributes(info.get(_INFO_DATA, b"")).get(_MODE, b"\xff")[0]


def _unmovable(kernel: Socket, found: Link, vlans: Collection[int]) -> Iterator[str]:
    """Yield what a move would break, in words."""
    yield from stacked.takers(kernel, found.index, vlans)
    for body in link_entries.addresses(kernel, found.index):
        if body[3] == 0 and (client := lifetimes.client_of(body)):  # scope global
            yield f"has {link_entries.address_text(body)} {client}. Configure it statically"
    for body in link_entries.routes(kernel, found.index):
        text, every = link_entries.route_text(body), attributes(body, link_entries.ROUTE.size)
        if (daemon := link_entries.DAEMONS.get(body[5])) is not None:
            yield f"has a route {text} of {daemon}, which would set it again on the interface"
        if link_entries.NEXT_HOP_OBJECT in every:
            yield f"has a route {text} by a next hop object, which belongs to its interface"
        links = {index for _, index, _ in link_entries.hops(every.get(9, b""))}
        if links - {found.index}:
            yield f"has a route {text} whose next hops are on several interfaces"


def _next_hops(kernel: Socket, found: Link, protocol: int | None = None) -> Iterator[str]:
    """Yield the next hops of default routes, of one protocol or of all."""
    for body in link_entries.routes(kernel, found.index):
        every = attributes(body, link_entries.ROUTE.size)
        nested = (attributes(hop, 8) for _, _, hop in link_entries.hops(every.get(9, b"")))
        vias: Iterable[bytes | None] = (each.get(5) for each in (every, *nested))
        if body[1] == 0 and protocol in (None, body[5]):
            yield from (str(ip_address(via)) for via in vias if via is not None)


def _neighbour(kind: int, found: Link, address: str, *, uses: bool = False) -> Request:
    """Return a request on a neighbour; ``uses`` makes the kernel resolve it now (NTF_USE)."""
    ip = ip_address(address)
    family = link_entries.FAMILIES[ip.version == 6]
    head = link_entries.NEIGHBOUR.pack(family, found.index, 0, _USE if uses else 0, 0)
    flags = ACK | (_CREATE if uses else 0)
    return Request(kind, flags, head + attribute(1, ip.packed))


def _state(kernel: Socket, found: Link, address: str) -> int:
    """Return the kernel's state of a neighbour (NUD_*); 0 where it knows none."""
    asked = _neighbour(link_entries.GETNEIGH, found, address)
    (answer,) = kernel.ask(asked._replace(flags=0))
    if not answer.replies:
        return 0
    _, _, state, _, _ = link_entries.NEIGHBOUR.unpack_from(answer.replies[0])
    return int(state)
