"""Tables of `iptables-legacy`, which netlink does not show.

A table is read and replaced as a whole, by options of a raw socket. Layouts are those of
linux/netfilter/x_tables.h, netfilter_ipv4/ip_tables.h and netfilter_ipv6/ip6_tables.h on machines
of 64 bits. An offset is counted in bytes from the first entry.
"""

import asyncio
import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from ovnlet.core.errors import NodeFault

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
_SIZES, _VERDICT = struct.Struct("=HH"), struct.Struct("=i")
# struct xt_entry_match and xt_entry_target: size, name, revision. Then the data.
_PART = struct.Struct("=H29sB")
_STANDARD, _COMMENT_SIZE, _ACCEPT = b"", 256, -2


@dataclass(frozen=True, slots=True)
class Family:
    """What differs between IPv4 and IPv6. ``sizes`` and ``entry`` are of struct ipt_entry."""

    word: str
    family: int
    level: int
    names: str
    sizes: int
    entry: int
    address: int

    @property
    def is_active(self) -> bool:
        """Whether this namespace has a table `filter`. To ask in another way would make one."""
        try:
            return "filter" in Path(f"/proc/thread-self/net/{self.names}").read_text().split()
        except FileNotFoundError:
            return False


IPV4 = Family("ip", socket.AF_INET, socket.IPPROTO_IP, "ip_tables_names", 88, 112, 4)
IPV6 = Family("ip6", socket.AF_INET6, socket.IPPROTO_IPV6, "ip6_tables_names", 140, 168, 16)
# NF_INET_LOCAL_IN, NF_INET_FORWARD.
HOOKS: Mapping[str, int] = {"INPUT": 1, "FORWARD": 2}


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its hooks, the entry of each hook's first rule and of its policy, all entries."""

    name: bytes
    valid: int
    firsts: tuple[int, ...]
    policies: tuple[int, ...]
    entries: tuple[bytes, ...]

    def chain(self, hook: int) -> Iterator[bytes]:
        """Yield the rules of a hook's chain, without its policy."""
        for offset, entry in self.by_offset():
            if self.firsts[hook] <= offset < self.policies[hook]:
                yield entry

    def by_offset(self) -> Iterator[tuple[int, bytes]]:
        """Yield each entry with its offset."""
        offset = 0
        for entry in self.entries:
            yield offset, entry
            offset += len(entry)


@dataclass(frozen=True, slots=True)
class Edited:
    """A table with rules in front of a chain; ``origins`` has the old index of each entry."""

    table: Table
    origins: tuple[int | None, ...]


def edited(
    family: Family, table: Table, hook: int, goes: Callable[[bytes], bool], new: Sequence[bytes]
) -> Edited:
    """Return the table without the rules of the hook's chain that go, and with new ones in front.

    Jumps follow the chains that move.
    """
    first, policy = table.firsts[hook], table.policies[hook]
    places: dict[int, int] = {}
    entries: list[bytes] = []
    origins: list[int | None] = []
    size, front = 0, 0
    for index, (offset, entry) in enumerate(table.by_offset()):
        if offset == first:
            front = size
            entries += new
            origins += [None] * len(new)
            size += sum(map(len, new))
        if first <= offset < policy and goes(entry):
            continue
        places[offset] = size
        entries.append(entry)
        origins.append(index)
        size += len(entry)
    firsts = [places.get(each, each) for each in table.firsts]
    firsts[hook] = front
    moved = tuple(_moved(family, entry, places) for entry in entries)
    policies = tuple(places.get(each, each) for each in table.policies)
    made = Table(table.name, table.valid, tuple(firsts), policies, moved)
    return Edited(made, tuple(origins))


def _moved(family: Family, entry: bytes, places: Mapping[int, int]) -> bytes:
    """Return the entry; one that jumps leads to where its chain is now."""
    at, _ = _SIZES.unpack_from(entry, family.sizes)
    _, name, _ = _PART.unpack_from(entry, at)
    if name.rstrip(b"\0") != _STANDARD:
        return entry
    end = at + _PART.size
    (verdict,) = _VERDICT.unpack_from(entry, end)
    if verdict < 0:
        return entry
    return entry[:end] + _VERDICT.pack(places[verdict]) + entry[end + _VERDICT.size :]


def accepting(family: Family, source: bytes, to: bytes, comment: bytes) -> bytes:
    """Return a rule that accepts. ``source`` and ``to`` are address and mask, or as many zeros."""
    n = family.address
    addresses = source[:n] + to[:n] + source[n:] + to[n:]
    data = comment.ljust(_COMMENT_SIZE, b"\0")
    match = _PART.pack(_PART.size + len(data), b"comment", 0) + data
    target = _PART.pack(40, _STANDARD, 0) + _VERDICT.pack(_ACCEPT) + bytes(4)
    at = family.entry + len(match)
    head = bytearray(addresses.ljust(family.entry, b"\0"))
    _SIZES.pack_into(head, family.sizes, at, at + len(target))
    return bytes(head) + match + target


def comment_of(family: Family, entry: bytes) -> bytes:
    """Return the text of the rule's first comment, empty without one."""
    at = family.entry
    end, _ = _SIZES.unpack_from(entry, family.sizes)
    while at < end:
        size, name, _ = _PART.unpack_from(entry, at)
        if name.rstrip(b"\0") == b"comment":
            return entry[at + _PART.size : at + size].rstrip(b"\0")
        at += size
    return b""


def comparable(family: Family, entry: bytes) -> bytes:
    """Return the entry without its counters, and without what the kernel notes in it."""
    # nfcache is before the two sizes, comefrom behind them, and the counters end the head.
    at = family.sizes
    noted = bytes(4) + entry[at : at + 4] + bytes(family.entry - at - 4)
    return entry[: at - 4] + noted + entry[family.entry :]


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
    """The tables `filter` of a family in this network namespace. The socket needs NET_RAW."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._socket = socket.socket(family.family, socket.SOCK_RAW, socket.IPPROTO_RAW)

    def __enter__(self) -> "Kernel":
        """Return this."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the socket."""
        self._socket.close()

    def info(self) -> bytes:
        """Return hooks, number and size of the entries: what nearly each change changes."""
        return self._get(_INFO, b"filter".ljust(_GETINFO.size, b"\0"))

    def read(self) -> Table:
        """Return the table. Raise OSError; EAGAIN if it changed meanwhile."""
        name, valid, *places, _, size = _GETINFO.unpack(self.info())
        body = self._get(_ENTRIES, _HEAD.pack(name, size) + bytes(size))[_HEAD.size :]
        entries, at = [], 0
        while at < size:
            _, length = _SIZES.unpack_from(body, at + self._family.sizes)
            entries.append(body[at : at + length])
            at += length
        return Table(name, valid, tuple(places[:5]), tuple(places[5:]), tuple(entries))

    def replace(self, was: Table, now: Edited) -> None:
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
