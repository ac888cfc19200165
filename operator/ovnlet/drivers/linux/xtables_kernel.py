"""The kernel's tables of `iptables-legacy`, which netlink does not show.

A table is read and replaced as a whole, by options of a raw socket.
"""

import asyncio
import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from ovnlet.core.errors import NodeFault
from ovnlet.drivers.linux import xtables
from ovnlet.drivers.linux.xtables import Edited, Family, Table

# Programs of iptables change tables only while they have this lock.
LOCK = Path("/run/xtables.lock")
_RETRIES, _RETRY = 100, 0.02  # the latter in seconds
_libc = ctypes.CDLL(None, use_errno=True)
_REPLACE, _ADD_COUNTERS, _INFO, _ENTRIES = 64, 65, 64, 65  # IPT_SO_SET_*, IPT_SO_GET_*
# struct ipt_getinfo: name, valid hooks, per hook its first entry, and its policy; number, size.
_GETINFO = struct.Struct("=32sI5I5III")
# struct ipt_get_entries, struct xt_counters_info: name, and a size or number.
_HEAD = struct.Struct("=32sI4x")
# struct ipt_replace, up to the pointer to the old counters.
_HEADER = struct.Struct("=32sIII5I5II")
_POINTER, _COUNTERS = struct.Struct("=Q"), struct.Struct("=QQ")


def active(family: Family) -> frozenset[str]:
    """Return the tables of this namespace. To ask in another way would make one. Raise OSError."""
    try:
        return frozenset(Path(f"/proc/thread-self/net/{family.names}").read_text().split())
    except FileNotFoundError:
        return frozenset()


@asynccontextmanager
async def locked() -> AsyncIterator[None]:
    """Keep programs of iptables from changing tables. Wait up to two seconds for one that does.

    Raise NodeFault after that, or where there can be no lock.
    """
    try:
        lock = os.open(LOCK, os.O_CREAT | os.O_RDONLY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise NodeFault(f"{LOCK}: {error.strerror}: the agent's pod needs it as a mount") from error
    try:
        for _ in range(_RETRIES):
            if _has(lock):
                break
            await asyncio.sleep(_RETRY)
        else:
            raise NodeFault(f"another program keeps {LOCK}")
        yield
    finally:
        os.close(lock)


def _has(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Kernel:
    """A table of a family in this network namespace. The socket needs NET_RAW."""

    def __init__(self, family: Family, table: str = "filter") -> None:
        self._family, self._name = family, table.encode()
        self._socket = socket.socket(family.family, socket.SOCK_RAW, socket.IPPROTO_RAW)

    def __enter__(self) -> "Kernel":
        """Return this."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the socket."""
        self._socket.close()

    def info(self) -> bytes:
        """Return hooks, number and size of the entries: what nearly each change changes."""
        return self._get(_INFO, self._name.ljust(_GETINFO.size, b"\0"))

    def read(self, only: bytes = b"") -> Table | None:
        """Return the table; None if these bytes are nowhere in it, which is found out fast.

        Raise OSError; EAGAIN if it changed meanwhile.
        """
        name, valid, *places, _, size = _GETINFO.unpack(self.info())
        body = self._get(_ENTRIES, _HEAD.pack(name, size) + bytes(size))[_HEAD.size :]
        if only not in body:
            return None
        entries = tuple(xtables.split(self._family, body))
        return Table(name, valid, tuple(places[:5]), tuple(places[5:]), entries)

    def change(self, make: Callable[[Table], Edited]) -> None:
        """Replace the table by what is made of it. Raise OSError."""
        if (table := self.read()) is not None:
            self._replace(table, make(table))

    def _replace(self, was: Table, now: Edited) -> None:
        """Replace the table, and give the rules that stay their counters again. Raise OSError."""
        table, body = now.table, b"".join(now.table.entries)
        counters = ctypes.create_string_buffer(max(1, len(was.entries) * _COUNTERS.size))
        head = _HEADER.pack(
            table.name,
            table.valid,
            len(table.entries),
            len(body),
            *table.firsts,
            *table.policies,
            len(was.entries),
        )
        pointer = _POINTER.pack(ctypes.addressof(counters))
        self._set(_REPLACE, head + pointer + body)
        raw = counters.raw
        kept = [
            bytes(_COUNTERS.size) if each is None else raw[each * 16 : each * 16 + 16]
            for each in now.origins
        ]
        self._set(_ADD_COUNTERS, _HEAD.pack(table.name, len(kept)) + b"".join(kept))

    def _get(self, option: int, given: bytes) -> bytes:
        buffer = ctypes.create_string_buffer(given, len(given))
        length = ctypes.c_uint32(len(given))
        level, number = self._family.level, self._socket.fileno()
        if _libc.getsockopt(number, level, option, buffer, ctypes.byref(length)) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return buffer.raw

    def _set(self, option: int, given: bytes) -> None:
        self._socket.setsockopt(self._family.level, option, given)
