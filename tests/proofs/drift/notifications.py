"""The kernel's notifications in every namespace that the node knows, and which process caused
each.

A notification has the port ID of the netlink socket that asked for the change, or zero where the
kernel made it by itself. Port IDs are unique within one namespace. So a socket of the node's own
namespace, and its process, is found from the kernel's own lists (/proc/net/netlink, /proc/PID/fd).
"""

from __future__ import annotations

import re
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_SOL_NETLINK, _LISTEN_ALL_NSID, _SO_RCVBUFFORCE = 270, 8, 33
# Links, traffic control, addresses and routes of IPv4 and IPv6 (RTNLGRP_*).
_GROUPS = sum(1 << (group - 1) for group in (1, 4, 5, 7, 9, 11))
_NAMES = {
    16: "link",
    17: "link gone",
    20: "address",
    21: "address gone",
    24: "route",
    25: "route gone",
}
_NAMES |= {
    36: "qdisc",
    37: "qdisc gone",
    40: "class",
    41: "class gone",
    44: "filter",
    45: "filter gone",
}
_NAMES |= {48: "action", 49: "action gone", 100: "chain", 101: "chain gone"}
_WITH_INDEX = {16, 17, 20, 21, 36, 37, 40, 41, 44, 45}
_HEAD = struct.Struct("=IHHII")
_SOCKET = re.compile(r"socket:\[(\d+)\]")
LOST = "notifications were lost"
IN_A_POD = "in a pod"


@dataclass(frozen=True, slots=True)
class Notification:
    """One change. ``moment`` is in seconds of the monotonic clock, ``index`` the link's.

    ``namespace`` is None for the node's own.
    """

    moment: float
    what: str
    namespace: int | None = None
    index: int = 0
    sender: int = 0


def listener() -> socket.socket:
    """Return a socket that receives the notifications of all namespaces."""
    sock = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
    )
    sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 8 << 20)
    sock.setsockopt(_SOL_NETLINK, _LISTEN_ALL_NSID, 1)
    sock.bind((0, _GROUPS))
    return sock


def drain(sock: socket.socket) -> list[Notification]:
    """Return all waiting notifications, with a `LOST` for each time the kernel dropped some."""
    found: list[Notification] = []
    while True:
        try:
            data, ancillary, _, _ = sock.recvmsg(1 << 17, 64)
        except BlockingIOError:
            return found
        except OSError:
            found.append(Notification(time.monotonic(), LOST))
        else:
            found += _parse(data, _namespace(ancillary))


def _parse(data: bytes, namespace: int | None) -> Iterator[Notification]:
    at, now = 0, time.monotonic()
    while at + _HEAD.size <= len(data):
        size, kind, _, _, sender = _HEAD.unpack_from(data, at)
        index = struct.unpack_from("=i", data, at + 20)[0] if kind in _WITH_INDEX else 0
        yield Notification(now, _NAMES.get(kind, f"message {kind}"), namespace, index, sender)
        at += (size + 3) & ~3


def _namespace(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    for level, kind, data in ancillary:
        if (level, kind) == (_SOL_NETLINK, _LISTEN_ALL_NSID):
            return int.from_bytes(data[:4], "little", signed=True)
    return None


def with_origin(sock: Iterable[Notification]) -> list[dict[str, Any]]:
    """Return each notification with its origin.

    That is the name of a process of the node if it still runs, or `IN_A_POD`, where it may be any
    process.
    """
    known = socket_owners()
    return [asdict(each) | {"origin": _origin(each, known)} for each in sock]


def _origin(notification: Notification, known: Mapping[int, str]) -> str:
    if notification.namespace is not None:
        return IN_A_POD
    return known.get(notification.sender, "others") if notification.sender else "the kernel"


def socket_owners() -> dict[int, str]:
    """Return the process name by port ID for each open rtnetlink socket of this namespace."""
    sockets = {}
    for line in Path("/proc/net/netlink").read_text().splitlines()[1:]:
        words = line.split()
        if words[1] == str(socket.NETLINK_ROUTE):
            sockets[words[-1]] = int(words[2])
    found: dict[int, str] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            inodes = {
                match[1]
                for each in (process / "fd").iterdir()
                if (match := _SOCKET.match(str(each.readlink())))
            }
            held = inodes & sockets.keys()
            found |= {sockets[inode]: (process / "comm").read_text().strip() for inode in held}
    return found
