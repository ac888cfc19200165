"""An independent OpenFlow 1.3 client: flows of a table, and the flags of ports.

ovs-ofctl shows the same, but takes longer than a repair.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator, Mapping

SOCKET = "/run/openvswitch/br-int.mgmt"
_VERSION = 4
_HELLO, _REQUEST, _REPLY = 0, 18, 19
_TABLE, _PORTS = 3, 13
_MORE = 1
_FLAGS = {1 << 2: "no-receive", 1 << 5: "no-forward", 1 << 6: "no-packet-in"}
_TIMEOUT = 0.2
_FRESH = 0.02  # seconds that an answer serves: one for all pods of an observation
_AWAY = 1.0  # seconds until ovs-vswitchd is asked again after it did not answer

_seen: tuple[float, dict[int, int], dict[str, str]] = (0.0, {}, {})


def port_flags(name: str) -> str:
    """Return the flags of a port that stop traffic; empty too while ovs-vswitchd is away."""
    return _look()[2].get(name, "")


def has_flows(table: int) -> bool:
    """Return whether a table has flows; False while ovs-vswitchd is away."""
    return _look()[1].get(table, 0) > 0


def _look() -> tuple[float, dict[int, int], dict[str, str]]:
    global _seen  # noqa: PLW0603 - one cache for the process
    if time.monotonic() >= _seen[0]:
        try:
            flows, ports = _ask()
            _seen = time.monotonic() + _FRESH, flows, ports
        except (OSError, struct.error):
            _seen = time.monotonic() + _AWAY, {}, {}
    return _seen


def _ask() -> tuple[dict[int, int], dict[str, str]]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(_TIMEOUT)
        sock.connect(SOCKET)
        sock.sendall(struct.pack("!BBHI", _VERSION, _HELLO, 8, 1))
        for kind in (_TABLE, _PORTS):
            sock.sendall(struct.pack("!BBHIHH4x", _VERSION, _REQUEST, 16, 1, kind, 0))
        bodies = _bodies(sock)
    tables = struct.iter_unpack("!B3xIQQ", bodies[_TABLE])
    ports = struct.iter_unpack("!I4x6s2x16sI28x", bodies[_PORTS])
    return (
        {table: count for table, count, _, _ in tables},
        {name.rstrip(b"\0").decode(): _words(config) for _, _, name, config in ports},
    )


def _bodies(sock: socket.socket) -> Mapping[int, bytes]:
    """Return the answers by kind. OpenFlow sends a long one in parts."""
    bodies = {_TABLE: b"", _PORTS: b""}
    left = set(bodies)
    for kind, body in _messages(sock):
        if kind == _REPLY:
            which, flags = struct.unpack_from("!HH", body)
            bodies[which] += body[8:]
            if not flags & _MORE:
                left.discard(which)
        if not left:
            break
    return bodies


def _messages(sock: socket.socket) -> Iterator[tuple[int, bytes]]:
    stream = sock.makefile("rb")
    while True:
        _, kind, size, _ = struct.unpack("!BBHI", stream.read(8))
        yield kind, stream.read(size - 8)


def _words(config: int) -> str:
    return " ".join(word for bit, word in _FLAGS.items() if config & bit)
