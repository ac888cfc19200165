"""The least that a repair can cost on a node: one rtnetlink batch and one OVSDB transaction.

Times on a slow or emulated processor only mean something as a ratio to it. The batch makes a veth
pair and sets it up; the transaction changes a key of a bridge that no agent follows.
"""

from __future__ import annotations

import json
import socket
import statistics
import struct
import time
from collections.abc import Callable
from functools import partial

from proofs.drift.rows import SOCKET
from proofs.drift.rtnl import messages

LINKS = ("floor0", "floor1")
_NEWLINK, _DELLINK, _ERROR = 16, 17, 2
_REQUEST, _CREATE = 0x005, 0x605  # with an acknowledgement; the second creates, and only that
_IFNAME, _LINKINFO, _KIND, _DATA, _PEER = 3, 18, 1, 2, 1
_UP = 1


def measure(bridge: str, rounds: int) -> dict[str, float]:
    """Return the medians in ms of both, and their sum as `floor`."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.settimeout(10)
        netlink = [_link_round(kernel) for _ in range(rounds)]
    with socket.socket(socket.AF_UNIX) as database:
        database.settimeout(10)
        database.connect(SOCKET)
        ovsdb = [_timed(partial(_transact, database, bridge, n)) for n in range(rounds)]
    batch, transaction = statistics.median(netlink), statistics.median(ovsdb)
    times = {"netlink": batch, "ovsdb": transaction, "floor": batch + transaction}
    return {name: round(ms, 3) for name, ms in times.items()}


def _timed(work: Callable[[], None]) -> float:
    began = time.monotonic()
    work()
    return (time.monotonic() - began) * 1000


def _link_round(kernel: socket.socket) -> float:
    """Return the ms that a batch takes; the removal of what it made is not counted."""
    peer = _attribute(_PEER, bytes(16) + _name(LINKS[1]))
    info = _attribute(_KIND, b"veth\0") + _attribute(_DATA, peer)
    made = _message(_NEWLINK, _CREATE, bytes(16) + _name(LINKS[0]) + _attribute(_LINKINFO, info))
    header = struct.pack("=B3xiII", 0, 0, _UP, _UP)
    batch = [made, *(_message(_NEWLINK, _REQUEST, header + _name(link)) for link in LINKS)]
    took = _timed(lambda: _send(kernel, batch))
    _send(kernel, [_message(_DELLINK, _REQUEST, bytes(16) + _name(LINKS[0]))])
    return took


def _send(kernel: socket.socket, batch: list[bytes]) -> None:
    """Send the messages at once and read their acknowledgements; raise OSError on a refusal."""
    kernel.send(b"".join(batch))
    left = len(batch)
    while left:
        for kind, body in messages(kernel.recv(1 << 16)):
            (code,) = struct.unpack_from("=i", body)
            if kind == _ERROR and code:
                raise OSError(-code, "rtnetlink refused the floor's batch")
            left -= kind == _ERROR


def _message(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _name(link: str) -> bytes:
    return _attribute(_IFNAME, link.encode() + b"\0")


def _transact(database: socket.socket, bridge: str, number: int) -> None:
    """Commit a change of the bridge's external_ids and read the reply; OSError on an error."""
    where = [["name", "==", bridge]]
    mutations = [
        ["external_ids", "delete", ["set", ["floor"]]],
        ["external_ids", "insert", ["map", [["floor", str(number)]]]],
    ]
    operation = {"op": "mutate", "table": "Bridge", "where": where, "mutations": mutations}
    request = {"method": "transact", "params": ["Open_vSwitch", operation], "id": number}
    database.sendall(json.dumps(request).encode())
    text = ""
    while True:
        text += database.recv(1 << 16).decode()
        try:
            reply = json.loads(text)
        except ValueError:
            continue
        if reply["error"] or reply["result"][0].get("count") != 1:
            raise OSError(f"ovsdb-server refused the floor's transaction: {reply}")
        return
