"""rtnetlink in plain struct: the few messages a pod's network is made of, to bytes and back."""

import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, wraps
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import NamedTuple, TypeVar

from ovnlet.core.resources.netlink import PROTOCOL
from ovnlet.drivers.linux.transport import ACK, DUMP, Garbled, Request, attributes

Interface = IPv4Interface | IPv6Interface
Destination = IPv4Network | IPv6Network
Gateway = IPv4Address | IPv6Address

NEWLINK, DELLINK, GETLINK, SETLINK = 16, 17, 18, 19
NEWADDR, DELADDR, GETADDR = 20, 21, 22
NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26
GETNSID = 90
_MAKE = ACK | 0x400 | 0x200  # NLM_F_CREATE, NLM_F_EXCL
_PUT = ACK | 0x400 | 0x100  # NLM_F_CREATE, NLM_F_REPLACE

_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_BLANK = bytes(_LINK.size)
_IFF_UP = 1
_NODAD, NOPREFIXROUTE = 0x02, 0x200
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


def make_veth(host: str, pod: str, mac: str, mtu: int, netns: int) -> Request:
    """Both ends in one message, the pod's born in its namespace. An alias or a state of the peer's it cannot bear."""
    peer = _BLANK + _name(pod) + attribute(1, bytes.fromhex(mac.replace(":", "")))
    peer += attribute(4, u32(mtu)) + attribute(28, u32(netns))
    info = attribute(1, b"veth\0") + attribute(2, attribute(1, peer))
    body = _BLANK + _name(host) + attribute(4, u32(mtu)) + attribute(18, info)
    return Request(NEWLINK, _MAKE, body)


def set_link(
    name: str,
    *,
    up: bool | None = None,
    mtu: int | None = None,
    mac: str | None = None,
    alias: str | None = None,
) -> Request:
    body = _LINK.pack(0, 0, 0, _IFF_UP if up else 0, 0 if up is None else _IFF_UP) + _name(name)
    if mac is not None:
        body += attribute(1, bytes.fromhex(mac.replace(":", "")))
    if mtu is not None:
        body += attribute(4, u32(mtu))
    if alias is not None:
        body += attribute(20, alias.encode())
    return Request(SETLINK, ACK, body)


def no_link_local(name: str) -> Request:
    """IFLA_INET6_ADDR_GEN_MODE none: an end that only a switch uses needs no IPv6 address, nor the traffic it makes."""
    mode = attribute(26, attribute(socket.AF_INET6, attribute(8, b"\1")))
    return Request(SETLINK, ACK, _BLANK + _name(name) + mode)


def delete_link(name: str) -> Request:
    return Request(DELLINK, ACK, _BLANK + _name(name))


def get_link(which: str | int) -> Request:
    """By name or index, without statistics."""
    index, name = (which, b"") if isinstance(which, int) else (0, _name(which))
    return Request(GETLINK, 0, _LINK.pack(0, 0, index, 0, 0) + name + attribute(29, u32(8)))


def get_links() -> Request:
    return Request(GETLINK, DUMP, _BLANK + attribute(29, u32(8)))


def get_nsid(netns: int) -> Request:
    """The id by which the socket's namespace knows that one."""
    return Request(GETNSID, 0, bytes(4) + attribute(3, u32(netns)))


def put_address(index: int, ip: Interface, noprefixroute: bool) -> Request:
    """Usable at once (IFA_F_NODAD) and marked as ours (IFA_PROTO, which Linux before 5.18 ignores)."""
    flags = _NODAD | (NOPREFIXROUTE if noprefixroute else 0)
    marks = attribute(8, u32(flags)) + attribute(11, bytes([PROTOCOL]))
    return Request(NEWADDR, _PUT, _address(index, ip) + marks)


def delete_address(index: int, ip: Interface) -> Request:
    return Request(DELADDR, ACK, _address(index, ip))


def get_addresses(index: int) -> Request:
    return Request(GETADDR, DUMP, _ADDRESS.pack(0, 0, 0, 0, index))


def checked(decode: Callable[[bytes], _Body]) -> Callable[[bytes], _Body]:
    """Whatever the bytes: a value or Garbled."""

    @wraps(decode)
    def decoded(body: bytes) -> _Body:
        try:
            return decode(body)
        except (struct.error, ValueError, KeyError) as error:
            raise Garbled(f"no {decode.__name__} in {len(body)} bytes: {error!r}") from error

    return decoded


@checked
def link(body: bytes) -> Link:
    _, _, index, flags, _ = _LINK.unpack_from(body)
    found = attributes(body, _LINK.size)
    info = attributes(found.get(18, b""))
    return Link(
        index=index,
        name=_text(found[3]),
        kind=_text(info.get(1, b"")),
        mac=found.get(1, b"").hex(":"),
        mtu=integer(found[4]),
        up=bool(flags & _IFF_UP),
        alias=_text(found.get(20, b"")),
        peer=integer(found.get(5, bytes(4))),
        peer_nsid=_signed(found[37]) if 37 in found else None,
        qdisc=_text(found.get(6, b"")),
    )


@checked
def nsid(body: bytes) -> int:
    """-1 where that namespace has no id here."""
    return _signed(attributes(body, 4)[1])


@checked
def address(body: bytes) -> AddressEntry:
    family, length, flags, _, index = _ADDRESS.unpack_from(body)
    found = attributes(body, _ADDRESS.size)
    packed = found[2] if 2 in found else found[1]
    flags = integer(found[8]) if 8 in found else flags
    return AddressEntry(index, _interface(family, packed, length), flags, found.get(11, b"\0")[0])


# The pods of a node share most of these, and each look reads them again: making one costs more than its message.
@lru_cache(maxsize=4096)
def gateway_of(family: int, packed: bytes) -> Gateway:
    return (IPv4Address if family == socket.AF_INET else IPv6Address)(packed)


@lru_cache(maxsize=4096)
def _interface(family: int, packed: bytes, length: int) -> Interface:
    return (IPv4Interface if family == socket.AF_INET else IPv6Interface)((packed, length))


@lru_cache(maxsize=4096)
def network_of(family: int, packed: bytes, length: int) -> Destination:
    return (IPv4Network if family == socket.AF_INET else IPv6Network)((packed, length))


def attribute(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def u32(number: int) -> bytes:
    return struct.pack("=I", number)


def _name(name: str) -> bytes:
    return attribute(3, name.encode(errors="surrogateescape") + b"\0")


def _address(index: int, ip: Interface) -> bytes:
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    local = attribute(2, ip.packed) if ip.version == 4 else b""
    return (
        _ADDRESS.pack(family, ip.network.prefixlen, 0, 0, index) + local + attribute(1, ip.packed)
    )


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="surrogateescape")


def integer(data: bytes) -> int:
    (number,) = struct.unpack("=I", data)
    return int(number)


def _signed(data: bytes) -> int:
    (number,) = struct.unpack("=i", data)
    return int(number)
