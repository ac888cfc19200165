"""Encode and decode the rtnetlink messages that a pod's network needs, with plain struct.

Functions that encode return a Request; functions named after a thing decode the body of a reply and
raise Garbled for bytes that are none. Messages of routes are in ``drivers.links.routes``.
"""

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
from ovnlet.drivers.linux.transport import (
    ACK,
    DUMP,
    Garbled,
    Request,
    attribute,
    attributes,
    u32,
)

Interface = IPv4Interface | IPv6Interface
Destination = IPv4Network | IPv6Network
Gateway = IPv4Address | IPv6Address

NEWLINK, DELLINK, GETLINK, SETLINK = 16, 17, 18, 19
NEWADDR, DELADDR, GETADDR = 20, 21, 22
NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26
GETNSID = 90
_MAKE = ACK | 0x400 | 0x200  # NLM_F_CREATE, NLM_F_EXCL
_PUT = ACK | 0x400 | 0x100  # NLM_F_CREATE, NLM_F_REPLACE

_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change mask
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix, flags, scope, index
_GROUP, _TX_QUEUES, _RX_QUEUES = 27, 31, 32
_ANY_LINK = bytes(_LINK.size)
_IFF_UP, _IFF_NOARP = 1, 0x80
_NODAD, NOPREFIXROUTE = 0x02, 0x200
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface as the kernel shows it.

    ``peer`` is IFLA_LINK: the index of a veth's other end in the namespace with the id
    ``peer_nsid``, or in the same namespace if that is None. ``qdisc`` is the kind of the root
    qdisc. ``mac`` is lower case with colons, ``mtu`` is in bytes.
    """

    index: int
    name: str
    kind: str
    mac: str
    mtu: int
    up: bool
    arp: bool
    alias: str
    peer: int
    peer_nsid: int | None
    qdisc: str = ""


class AddressEntry(NamedTuple):
    """An address as the kernel shows it.

    ``link`` is the index of its link, ``flags`` are IFA_F_* bits, ``protocol`` is IFA_PROTO.
    """

    link: int
    ip: Interface
    flags: int
    protocol: int


def make_veth(host: str, pod: str, mac: str, mtu: int, netns: int) -> Request:
    """Make a veth pair whose pod end starts in the namespace of the descriptor ``netns``.

    One message makes both ends, with ``mac`` on the pod's end and ``mtu`` (bytes) on both. The
    kernel refuses an alias or an up state of the peer in this message: set them later.

    Both ends get one queue each way. Without these numbers Linux 5.15 and later makes one for each
    processor, takes all but one away again, and waits for an RCU grace period at each end, with
    the lock that all changes of links need (veth_init_queues).
    """
    both = attribute(4, u32(mtu)) + attribute(_TX_QUEUES, u32(1)) + attribute(_RX_QUEUES, u32(1))
    peer = _ANY_LINK + _name(pod) + attribute(1, bytes.fromhex(mac.replace(":", "")))
    info = attribute(1, b"veth\0") + attribute(
        2, attribute(1, peer + both + attribute(28, u32(netns)))
    )
    body = _ANY_LINK + _name(host) + both + attribute(18, info)
    return Request(NEWLINK, _MAKE, body)


def set_link(  # noqa: PLR0913 - what can be set of a link, each by its name
    name: str,
    *,
    up: bool | None = None,
    arp: bool | None = None,
    mtu: int | None = None,
    mac: str | None = None,
    alias: str | None = None,
) -> Request:
    """Change a link by name. An argument that is None stays as it is."""
    changed = (0 if up is None else _IFF_UP) | (0 if arp is None else _IFF_NOARP)
    flags = (_IFF_UP if up else 0) | (0 if arp else _IFF_NOARP)
    body = _LINK.pack(0, 0, 0, flags & changed, changed) + _name(name)
    if mac is not None:
        body += attribute(1, bytes.fromhex(mac.replace(":", "")))
    if mtu is not None:
        body += attribute(4, u32(mtu))
    if alias is not None:
        body += attribute(20, alias.encode())
    return Request(SETLINK, ACK, body)


def no_link_local(name: str) -> Request:
    """Set IFLA_INET6_ADDR_GEN_MODE to none, so that the link gets no link-local address.

    An end that only a switch uses needs no IPv6 address, nor the traffic that one causes.
    """
    mode = attribute(26, attribute(socket.AF_INET6, attribute(8, b"\1")))
    return Request(SETLINK, ACK, _ANY_LINK + _name(name) + mode)


def delete_link(name: str) -> Request:
    """Delete a link by name. For a veth, sending this blocks for an RCU grace period (15 ms+)."""
    return Request(DELLINK, ACK, _ANY_LINK + _name(name))


def join_group(name: str, group: int) -> Request:
    """Make a link a member of a group (IFLA_GROUP), by its name."""
    return Request(SETLINK, ACK, _ANY_LINK + _name(name) + attribute(_GROUP, u32(group)))


def delete_group(group: int) -> Request:
    """Delete all links of a group at once: they share the RCU grace periods that each one needs.

    The kernel deletes none of them, and answers EOPNOTSUPP, if one cannot be deleted.
    """
    return Request(DELLINK, ACK, _ANY_LINK + attribute(_GROUP, u32(group)))


def get_link(which: str | int) -> Request:
    """Show one link by name or index, without statistics."""
    index, name = (which, b"") if isinstance(which, int) else (0, _name(which))
    return Request(GETLINK, 0, _LINK.pack(0, 0, index, 0, 0) + name + attribute(29, u32(8)))


def get_links() -> Request:
    """Show all links of the socket's namespace, without statistics."""
    return Request(GETLINK, DUMP, _ANY_LINK + attribute(29, u32(8)))


def get_nsid(netns: int) -> Request:
    """Ask for the id that the socket's namespace has for the namespace of that descriptor."""
    return Request(GETNSID, 0, bytes(4) + attribute(3, u32(netns)))


def put_address(index: int, ip: Interface, noprefixroute: bool) -> Request:
    """Add or replace an address on the link with that index.

    The address is usable at once (IFA_F_NODAD) and has ovnlet's mark (IFA_PROTO, which Linux before
    5.18 ignores).
    """
    flags = _NODAD | (NOPREFIXROUTE if noprefixroute else 0)
    marks = attribute(8, u32(flags)) + attribute(11, bytes([PROTOCOL]))
    return Request(NEWADDR, _PUT, _address(index, ip) + marks)


def delete_address(index: int, ip: Interface) -> Request:
    """Delete the address with that prefix from the link with that index."""
    return Request(DELADDR, ACK, _address(index, ip))


def get_addresses(index: int) -> Request:
    """Show the addresses of the link with that index; 0 stands for all links."""
    return Request(GETADDR, DUMP, _ADDRESS.pack(0, 0, 0, 0, index))


def checked(decode: Callable[[bytes], _Value]) -> Callable[[bytes], _Value]:
    """Wrap a decoder so that it raises nothing but Garbled, whatever the bytes are."""

    @wraps(decode)
    def decoded(body: bytes) -> _Value:
        try:
            return decode(body)
        except (struct.error, ValueError, KeyError) as error:
            raise Garbled(f"no {decode.__name__} in {len(body)} bytes: {error!r}") from error

    return decoded


@checked
def link(body: bytes) -> Link:
    """Decode a link message."""
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
        arp=not flags & _IFF_NOARP,
        alias=_text(found.get(20, b"")),
        peer=integer(found.get(5, bytes(4))),
        peer_nsid=_signed(found[37]) if 37 in found else None,
        qdisc=_text(found.get(6, b"")),
    )


@checked
def nsid(body: bytes) -> int:
    """Decode a namespace id. Return -1 if the namespace has no id here."""
    return _signed(attributes(body, 4)[1])


@checked
def address(body: bytes) -> AddressEntry:
    """Decode an address message."""
    family, length, flags, _, index = _ADDRESS.unpack_from(body)
    found = attributes(body, _ADDRESS.size)
    packed = found[2] if 2 in found else found[1]
    flags = integer(found[8]) if 8 in found else flags
    return AddressEntry(index, _interface(family, packed, length), flags, found.get(11, b"\0")[0])


# The pods of a node share most gateways and prefixes, and each observation reads them again. To
# make such an object costs more than to read its message, so they are cached.
@lru_cache(maxsize=4096)
def gateway_of(family: int, packed: bytes) -> Gateway:
    """Return the address in those 4 or 16 bytes."""
    return (IPv4Address if family == socket.AF_INET else IPv6Address)(packed)


@lru_cache(maxsize=4096)
def _interface(family: int, packed: bytes, length: int) -> Interface:
    return (IPv4Interface if family == socket.AF_INET else IPv6Interface)((packed, length))


@lru_cache(maxsize=4096)
def network_of(family: int, packed: bytes, length: int) -> Destination:
    """Return the prefix of that length. Raise ValueError if it has host bits."""
    return (IPv4Network if family == socket.AF_INET else IPv6Network)((packed, length))


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
    """Decode 32 bits without a sign, in the byte order of the machine."""
    (number,) = struct.unpack("=I", data)
    return int(number)


def _signed(data: bytes) -> int:
    (number,) = struct.unpack("=i", data)
    return int(number)
