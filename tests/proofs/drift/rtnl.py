"""An independent rtnetlink client.

Its messages are its own, so that it shares no error with the agent's decoder.
"""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

GETLINK, GETADDR, GETROUTE = 18, 22, 26
_REQUEST, _DUMP = 0x001, 0x300
_ERROR, _DONE = 2, 3
IFF_UP, IFF_RUNNING, IFF_NOARP = 0x1, 0x40, 0x80
_IFNAME, _MTU, _ADDRESS, _QDISC, _ALIAS, _NETNSID = 3, 4, 1, 6, 20, 37
_NAMED = (("qdisc", _QDISC), ("alias", _ALIAS))
_IFA_FLAGS = 8
_DST, _OIF, _GATEWAY, _PREFSRC, _TABLE = 1, 4, 5, 7, 15
_KERNEL, _MAIN = 2, 254
_TENTATIVE, _NOPREFIXROUTE = 0x40, 0x200
_SIOCETHTOOL, _GTXCSUM = 0x8946, 0x16

Attributes = dict[int, bytes]


def attributes(body: bytes, at: int) -> Attributes:
    """Return the netlink attributes from this offset on, by type."""
    found: Attributes = {}
    while at + 4 <= len(body):
        size, kind = struct.unpack_from("=HH", body, at)
        if size < 4:
            break
        found[kind & 0x3FFF] = body[at + 4 : at + size]
        at += (size + 3) & ~3
    return found


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and body of each netlink message."""
    at = 0
    while at + 16 <= len(data):
        size, kind = struct.unpack_from("=IH", data, at)
        yield kind, data[at + 16 : at + size]
        at += (size + 3) & ~3


class Kernel:
    """An rtnetlink socket of the namespace in which it was made."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.settimeout(2)

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, kind: int, body: bytes, *, dump: bool = False) -> list[bytes]:
        """Return the bodies of the replies; none if the kernel refuses.

        Raise TimeoutError after 2 s.
        """
        flags = _REQUEST | (_DUMP if dump else 0)
        self._socket.send(struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body)
        found: list[bytes] = []
        while True:
            for answer, reply in messages(self._socket.recv(1 << 17)):
                if answer in (_ERROR, _DONE):
                    return found
                found.append(reply)
            if not dump:
                return found

    def link(self, name: str) -> bytes | None:
        """Return the link's RTM_NEWLINK body, or None if there is no such link."""
        text = name.encode() + b"\0"
        attribute = struct.pack("=HH", 4 + len(text), _IFNAME) + text + bytes(-len(text) % 4)
        return next(iter(self.ask(GETLINK, bytes(16) + attribute)), None)


def link_facts(body: bytes) -> tuple[str, str]:
    """Return the link's name, and what is compared of it as text."""
    (flags,) = struct.unpack_from("=I", body, 8)
    found = attributes(body, 16)
    name = found[_IFNAME].rstrip(b"\0").decode()
    words = [f"mtu {struct.unpack('=I', found[_MTU])[0]}", "up" if flags & IFF_UP else "down"]
    words += ["running"] * bool(flags & IFF_RUNNING) + ["noarp"] * bool(flags & IFF_NOARP)
    words += [f"mac {found.get(_ADDRESS, b'').hex(':')}"]
    words += [f"{key} {found.get(number, b'').rstrip(bytes(1)).decode()}" for key, number in _NAMED]
    return name, " ".join(words)


def index(body: bytes) -> int:
    """Return the link's index."""
    return int(struct.unpack_from("=i", body, 4)[0])


def has_peer_elsewhere(body: bytes) -> bool:
    """Return whether the link's peer is in another namespace."""
    return _NETNSID in attributes(body, 16)


def pod_facts(kernel: Kernel) -> Iterator[tuple[str, str]]:
    """Yield the links, global addresses and main table's routes of the present namespace."""
    for body in kernel.ask(GETLINK, bytes(16), dump=True):
        name, facts = link_facts(body)
        yield f"pod link {name}", facts
    for body in kernel.ask(GETADDR, bytes(8), dump=True):
        yield from _address(body)
    for family in (socket.AF_INET, socket.AF_INET6):
        for body in kernel.ask(GETROUTE, struct.pack("=B11x", family), dump=True):
            yield from _route(body)


def _address(body: bytes) -> Iterator[tuple[str, str]]:
    """Yield the address unless it is link-local, which the kernel makes."""
    family, prefix, flags, scope = struct.unpack_from("=BBBB", body)
    found = attributes(body, 8)
    if scope == 0:
        if _IFA_FLAGS in found:
            (flags,) = struct.unpack("=I", found[_IFA_FLAGS])
        words = ["noprefixroute"] * bool(flags & _NOPREFIXROUTE) + ["tentative"] * bool(
            flags & _TENTATIVE
        )
        yield f"address {socket.inet_ntop(family, found[1])}/{prefix}", " ".join(words)


def _route(body: bytes) -> Iterator[tuple[str, str]]:
    family, prefix, _, _, table, protocol, _, kind = struct.unpack_from("=BBBBBBBB", body)
    found = attributes(body, 12)
    if _TABLE in found:
        (table,) = struct.unpack("=I", found[_TABLE])
    if table == _MAIN and kind == 1 and not (family == socket.AF_INET6 and protocol == _KERNEL):
        zero = "0.0.0.0" if family == socket.AF_INET else "::"
        target = socket.inet_ntop(family, found[_DST]) if _DST in found else zero
        yield f"route {target}/{prefix} {_hop(family, found)} proto {protocol}", ""


def _hop(family: int, found: Attributes) -> str:
    words = [("via", _GATEWAY), ("src", _PREFSRC)]
    return " ".join(
        f"{word} {socket.inet_ntop(family, found[key])}" for word, key in words if key in found
    )


def resolve_route(kernel: Kernel, target: str) -> str:
    """Return the gateway and source that the kernel would use for this address now."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    packed = socket.inet_pton(family, target)
    body = (
        struct.pack("=BB10x", family, len(packed) * 8)
        + struct.pack("=HH", 4 + len(packed), _DST)
        + packed
    )
    reply = next(iter(kernel.ask(GETROUTE, body)), None)
    return "none" if reply is None else _hop(family, attributes(reply, 12))


def tx_checksum(name: str) -> str:
    """Return what ethtool shows of transmit checksums in the present namespace."""
    value = array.array("B", struct.pack("=II", _GTXCSUM, 0))
    request = struct.pack("16sP16x", name.encode(), value.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, suppress(OSError):
        fcntl.ioctl(sock, _SIOCETHTOOL, request)
        return "on" if struct.unpack("=II", value.tobytes())[1] else "off"
    return "no link"
