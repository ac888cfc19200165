"""rtnetlink in plain struct: the few messages a pod's network is made of, to bytes and back."""

import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, wraps
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import NamedTuple, TypeVar

from ovnlet.core.resources.netlink import PROTOCOL
from ovnlet.drivers.netlink_socket import ACK, DUMP, Garbled, Request, attributes

Interface = IPv4Interface | IPv6Interface
Destination = IPv4Network | IPv6Network
Gateway = IPv4Address | IPv6Address

NEWLINK, DELLINK, GETLINK, SETLINK = 16, 17, 18, 19
NEWADDR, DELADDR, GETADDR = 20, 21, 22
NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26
GETNSID = 90
_MAKE = ACK | 0x400 | 0x200  # NLM_F_CREATE, NLM_F_EXCL
_PUT = ACK | 0x400 | 0x100  # NLM_F_CREATE, NLM_F_REPLACE
_ADD = ACK | 0x400  # NLM_F_CREATE

_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_BLANK = bytes(_LINK.size)
_IFF_UP = 1
_NODAD, NOPREFIXROUTE = 0x02, 0x200
_MAIN, _UNICAST, _SCOPE_LINK, _SCOPE_NOWHERE = 254, 1, 253, 255
# A route with another metric was not made here. IPv6 joins routes of one destination and metric into one of several
# next hops, foreign ones with ours: a metric of our own, before the kernel's usual 1024, keeps them apart.
_METRIC = {socket.AF_INET: 0, socket.AF_INET6: 512}
_Body = TypeVar("_Body")


@dataclass(frozen=True, slots=True)
class Link:
    """``peer`` is IFLA_LINK: the index of a veth's other end, in the namespace of that id (None: the same one).

    ``qdisc`` is the kind at its root.
    """

    index: int
    name: str
    kind: str
    mac: str
    mtu: int
    up: bool
    alias: str
    peer: int
    peer_nsid: int | None
    qdisc: str = ""


class AddressEntry(NamedTuple):
    link: int
    ip: Interface
    flags: int
    protocol: int


class RouteEntry(NamedTuple):
    """``plain`` is False where metric or type of service set it apart from what is made here."""

    destination: Destination
    via: Gateway | None
    source: Gateway | None
    plain: bool


def make_veth(host: str, pod: str, mac: str, mtu: int, netns: int) -> Request:
    """Both ends in one message, the pod's born in its namespace. An alias or a state of the peer's it cannot bear."""
    peer = _BLANK + _name(pod) + _attribute(1, bytes.fromhex(mac.replace(":", "")))
    peer += _attribute(4, _u32(mtu)) + _attribute(28, _u32(netns))
    info = _attribute(1, b"veth\0") + _attribute(2, _attribute(1, peer))
    body = _BLANK + _name(host) + _attribute(4, _u32(mtu)) + _attribute(18, info)
    return Request(NEWLINK, _MAKE, body)


def set_link(
    name: str, *, up: bool | None = None, mtu: int | None = None, mac: str | None = None, alias: str | None = None
) -> Request:
    body = _LINK.pack(0, 0, 0, _IFF_UP if up else 0, 0 if up is None else _IFF_UP) + _name(name)
    if mac is not None:
        body += _attribute(1, bytes.fromhex(mac.replace(":", "")))
    if mtu is not None:
        body += _attribute(4, _u32(mtu))
    if alias is not None:
        body += _attribute(20, alias.encode())
    return Request(SETLINK, ACK, body)


def no_link_local(name: str) -> Request:
    """IFLA_INET6_ADDR_GEN_MODE none: an end that only a switch uses needs no IPv6 address, nor the traffic it makes."""
    mode = _attribute(26, _attribute(socket.AF_INET6, _attribute(8, b"\1")))
    return Request(SETLINK, ACK, _BLANK + _name(name) + mode)


def delete_link(name: str) -> Request:
    return Request(DELLINK, ACK, _BLANK + _name(name))


def get_link(which: str | int) -> Request:
    """By name or index, without statistics."""
    index, name = (which, b"") if isinstance(which, int) else (0, _name(which))
    return Request(GETLINK, 0, _LINK.pack(0, 0, index, 0, 0) + name + _attribute(29, _u32(8)))


def get_links() -> Request:
    return Request(GETLINK, DUMP, _BLANK + _attribute(29, _u32(8)))


def get_nsid(netns: int) -> Request:
    """The id by which the socket's namespace knows that one."""
    return Request(GETNSID, 0, bytes(4) + _attribute(3, _u32(netns)))


def put_address(index: int, ip: Interface, noprefixroute: bool) -> Request:
    """Usable at once (IFA_F_NODAD) and marked as ours (IFA_PROTO, which Linux before 5.18 ignores)."""
    flags = _NODAD | (NOPREFIXROUTE if noprefixroute else 0)
    marks = _attribute(8, _u32(flags)) + _attribute(11, bytes([PROTOCOL]))
    return Request(NEWADDR, _PUT, _address(index, ip) + marks)


def delete_address(index: int, ip: Interface) -> Request:
    return Request(DELADDR, ACK, _address(index, ip))


def get_addresses(index: int) -> Request:
    return Request(GETADDR, DUMP, _ADDRESS.pack(0, 0, 0, 0, index))


def add_route(index: int, destination: Destination, via: Gateway | None, source: Gateway | None) -> Request:
    """In front of others to that destination. NLM_F_REPLACE would overwrite whichever comes first, whose ever it is."""
    scope = _SCOPE_LINK if via is None and destination.version == 4 else 0
    return Request(NEWROUTE, _ADD, _route(index, destination, scope) + _hop(via, source))


def delete_route(index: int, destination: Destination, via: Gateway | None, source: Gateway | None) -> Request:
    """Ours only: the kernel compares the protocol, and the next hop and the source where they are given."""
    return Request(DELROUTE, ACK, _route(index, destination, _SCOPE_NOWHERE) + _hop(via, source))


def get_routes(index: int, family: int) -> Request:
    """Those of our protocol in the main table by that link; the kernel filters."""
    head = _ROUTE.pack(family, 0, 0, 0, _MAIN, PROTOCOL, 0, 0, 0)
    return Request(GETROUTE, DUMP, head + _attribute(4, _u32(index)))


def _checked(decode: Callable[[bytes], _Body]) -> Callable[[bytes], _Body]:
    """Whatever the bytes: a value or Garbled."""

    @wraps(decode)
    def checked(body: bytes) -> _Body:
        try:
            return decode(body)
        except (struct.error, ValueError, KeyError) as error:
            raise Garbled(f"no {decode.__name__} in {len(body)} bytes: {error!r}") from error

    return checked


@_checked
def link(body: bytes) -> Link:
    _, _, index, flags, _ = _LINK.unpack_from(body)
    found = attributes(body, _LINK.size)
    info = attributes(found.get(18, b""))
    return Link(
        index=index,
        name=_text(found[3]),
        kind=_text(info.get(1, b"")),
        mac=found.get(1, b"").hex(":"),
        mtu=_number(found[4]),
        up=bool(flags & _IFF_UP),
        alias=_text(found.get(20, b"")),
        peer=_number(found.get(5, bytes(4))),
        peer_nsid=_signed(found[37]) if 37 in found else None,
        qdisc=_text(found.get(6, b"")),
    )


@_checked
def nsid(body: bytes) -> int:
    """-1 where that namespace has no id here."""
    return _signed(attributes(body, 4)[1])


@_checked
def address(body: bytes) -> AddressEntry:
    family, length, flags, _, index = _ADDRESS.unpack_from(body)
    found = attributes(body, _ADDRESS.size)
    packed = found[2] if 2 in found else found[1]
    flags = _number(found[8]) if 8 in found else flags
    return AddressEntry(index, _interface(family, packed, length), flags, found.get(11, b"\0")[0])


@_checked
def route(body: bytes) -> RouteEntry:
    family, length, _, service, *_ = _ROUTE.unpack_from(body)
    found = attributes(body, _ROUTE.size)
    return RouteEntry(
        destination=_network(family, found.get(1, bytes(4 if family == socket.AF_INET else 16)), length),
        via=_ip(family, found[5]) if 5 in found else None,
        source=_ip(family, found[7]) if 7 in found else None,
        plain=service == 0 and _number(found.get(6, bytes(4))) == _METRIC[family],
    )


# The pods of a node share most of these, and each look reads them again: making one costs more than its message.
@lru_cache(maxsize=4096)
def _ip(family: int, packed: bytes) -> Gateway:
    return (IPv4Address if family == socket.AF_INET else IPv6Address)(packed)


@lru_cache(maxsize=4096)
def _interface(family: int, packed: bytes, length: int) -> Interface:
    return (IPv4Interface if family == socket.AF_INET else IPv6Interface)((packed, length))


@lru_cache(maxsize=4096)
def _network(family: int, packed: bytes, length: int) -> Destination:
    return (IPv4Network if family == socket.AF_INET else IPv6Network)((packed, length))


def _attribute(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def _u32(number: int) -> bytes:
    return struct.pack("=I", number)


def _name(name: str) -> bytes:
    return _attribute(3, name.encode(errors="surrogateescape") + b"\0")


def _address(index: int, ip: Interface) -> bytes:
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    local = _attribute(2, ip.packed) if ip.version == 4 else b""
    return _ADDRESS.pack(family, ip.network.prefixlen, 0, 0, index) + local + _attribute(1, ip.packed)


def _route(index: int, destination: Destination, scope: int) -> bytes:
    family = socket.AF_INET if destination.version == 4 else socket.AF_INET6
    head = _ROUTE.pack(family, destination.prefixlen, 0, 0, _MAIN, PROTOCOL, scope, _UNICAST, 0)
    where = _attribute(1, destination.network_address.packed) + _attribute(4, _u32(index))
    return head + where + _attribute(6, _u32(_METRIC[family]))


def _hop(via: Gateway | None, source: Gateway | None) -> bytes:
    gateway = _attribute(5, via.packed) if via is not None else b""
    return gateway + (_attribute(7, source.packed) if source is not None else b"")


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="surrogateescape")


def _number(data: bytes) -> int:
    (number,) = struct.unpack("=I", data)
    return int(number)


def _signed(data: bytes) -> int:
    (number,) = struct.unpack("=i", data)
    return int(number)
