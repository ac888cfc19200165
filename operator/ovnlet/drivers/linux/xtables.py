"""Tables of `iptables-legacy`: rules in front of a chain, and rules that go.

Layouts are those of linux/netfilter/x_tables.h, netfilter_ipv4/ip_tables.h and
netfilter_ipv6/ip6_tables.h on machines of 64 bits. An offset is counted in bytes from the first
entry. Behind the chains of the hooks come those of users, each with an entry that has its name.
"""

import socket
import struct
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

_SIZES, _VERDICT, _SET = struct.Struct("=HH"), struct.Struct("=i"), struct.Struct("=H")
# struct xt_entry_match and xt_entry_target: size, name, revision. Then the data.
_PART = struct.Struct("=H29sB")
_STANDARD, _HEADER, _COMMENT_SIZE, _ACCEPT = b"", b"ERROR", 256, -2


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


def split(family: Family, body: bytes) -> Iterator[bytes]:
    """Yield the entries of a table."""
    at = 0
    while at < len(body):
        _, length = _SIZES.unpack_from(body, at + family.sizes)
        yield body[at : at + length]
        at += length


def edited(
    family: Family, table: Table, hook: int, goes: Callable[[bytes], bool], new: Sequence[bytes]
) -> Edited:
    """Return the table with new rules in front of the hook's chain, without those that go."""
    first, policy = table.firsts[hook], table.policies[hook]
    gone = {
        offset for offset, entry in table.by_offset() if first <= offset < policy and goes(entry)
    }
    return rebuilt(family, table, gone, hook, new)


def rebuilt(
    family: Family,
    table: Table,
    gone: Collection[int],
    hook: int | None = None,
    new: Sequence[bytes] = (),
) -> Edited:
    """Return the table without the entries at some offsets, and with new ones in front of a hook's.

    Jumps follow the chains that move.
    """
    first = None if hook is None else table.firsts[hook]
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
        places[offset] = size
        if offset not in gone:
            entries.append(entry)
            origins.append(index)
            size += len(entry)
    firsts = [places.get(each, each) for each in table.firsts]
    if hook is not None:
        firsts[hook] = front
    moved = tuple(_moved(family, entry, places) for entry in entries)
    policies = tuple(places.get(each, each) for each in table.policies)
    made = Table(table.name, table.valid, tuple(firsts), policies, moved)
    return Edited(made, tuple(origins))


def target_of(family: Family, entry: bytes) -> tuple[bytes, bytes]:
    """Return name and data of the entry's target."""
    at, end = _SIZES.unpack_from(entry, family.sizes)
    _, name, _ = _PART.unpack_from(entry, at)
    return name.rstrip(b"\0"), entry[at + _PART.size : end]


def jump_of(family: Family, entry: bytes) -> int | None:
    """Return the offset of the rule to which the entry jumps, None if it does not jump."""
    name, data = target_of(family, entry)
    if name != _STANDARD:
        return None
    (verdict,) = _VERDICT.unpack_from(data)
    return verdict if verdict >= 0 else None


def chains_of(family: Family, table: Table) -> dict[str, range]:
    """Return the chains of users by name, each from its name's entry to the next chain's."""
    starts = [
        (offset, data.partition(b"\0")[0].decode(errors="replace"))
        for offset, entry in table.by_offset()
        for name, data in (target_of(family, entry),)
        if name == _HEADER
    ]
    # The last one only ends the table.
    ends = [offset for offset, _ in starts[1:]]
    return {name: range(offset, end) for (offset, name), end in zip(starts[:-1], ends, strict=True)}


def _moved(family: Family, entry: bytes, places: Mapping[int, int]) -> bytes:
    """Return the entry; one that jumps leads to where its chain is now."""
    jump = jump_of(family, entry)
    if jump is None:
        return entry
    at, _ = _SIZES.unpack_from(entry, family.sizes)
    end = at + _PART.size
    return entry[:end] + _VERDICT.pack(places[jump]) + entry[end + _VERDICT.size :]


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


def matches(family: Family, entry: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and data of each match of a rule."""
    at = family.entry
    end, _ = _SIZES.unpack_from(entry, family.sizes)
    while at < end:
        size, name, _ = _PART.unpack_from(entry, at)
        yield name.rstrip(b"\0"), entry[at + _PART.size : at + size]
        at += size


def comment_of(family: Family, entry: bytes) -> bytes:
    """Return the text of the rule's first comment, empty without one."""
    found = (data for name, data in matches(family, entry) if name == b"comment")
    return next(found, b"").rstrip(b"\0")


def sets_of(family: Family, entry: bytes) -> set[int]:
    """Return the numbers of the sets of ipset that the rule matches."""
    found = (data for name, data in matches(family, entry) if name == b"set")
    return {number for data in found for (number,) in (_SET.unpack_from(data),)}


def comparable(family: Family, entry: bytes) -> bytes:
    """Return the entry without its counters, and without what the kernel notes in it."""
    # nfcache is before the two sizes, comefrom behind them, and the counters end the head.
    at = family.sizes
    noted = bytes(4) + entry[at : at + 4] + bytes(family.entry - at - 4)
    return entry[: at - 4] + noted + entry[family.entry :]
