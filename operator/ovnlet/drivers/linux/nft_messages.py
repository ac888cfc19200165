"""Messages of nftables for one table of family `inet`: encode changes, decode what is shown."""

import struct
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address, summarize_address_range

from ovnlet.core.resources import nftables as nft
from ovnlet.core.resources.nft_statements import Destination
from ovnlet.core.resources.nftables import TABLE
from ovnlet.drivers.linux.nft_expressions import be32, elements, port_key, port_of, text
from ovnlet.drivers.linux.transport import DUMP, Request, attribute, attributes, messages

SUBSYSTEM = 10
NEWTABLE, GETTABLE, DELTABLE = 0, 1, 2
NEWCHAIN, GETCHAIN, DELCHAIN = 3, 4, 5
NEWRULE, GETRULE, DELRULE = 6, 7, 8
NEWSET, GETSET, DELSET = 9, 10, 11
NEWELEMENT, GETELEMENT, DELELEMENT = 12, 13, 14
NEWOBJECT, GETOBJECT, DELOBJECT = 18, 19, 20
CREATE, APPEND = 0x400, 0x800
INET, IPV4, IPV6 = 1, 2, 10
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_COUNTER = 1  # NFT_OBJECT_COUNTER
_INTERVAL, _OBJECTS, _END = 0x4, 0x40, 0x1
_HOOKS = {"prerouting": 0, "forward": 2, "output": 3, "postrouting": 4}
_HOOK_NAMES = {number: name for name, number in _HOOKS.items()}
# Types of nft's own, by which it shows an element: ipv4_addr, ipv6_addr, inet_proto . inet_service.
_KEYS: dict[str, tuple[int, int]] = {
    "ipv4": (7, 4),
    "ipv6": (8, 16),
    "ports": (12 << 6 | 13, 8),
    "ipv4 counters": (7, 4),
    "ipv6 counters": (8, 16),
}
# An attribute has at most 64 KiB. An element has at most 64 bytes, and 256 of the counter's name.
_MANY = 150


def change(kind: int, flags: int, given: Mapping[int, bytes], family: int = INET) -> Request:
    """Return a request that changes something."""
    body = b"".join(attribute(name, value) for name, value in given.items())
    return Request(SUBSYSTEM << 8 | kind, flags, struct.pack(">BBH", family, 0, 0) + body)


def dump(kind: int, within: str = "", table: str = TABLE, family: int = INET) -> Request:
    """Return a request for all of a kind in a table, or ``within`` a chain or a set of it."""
    body = attribute(1, text(table)) + (attribute(2, text(within)) if within else b"")
    return Request(SUBSYSTEM << 8 | kind, DUMP, struct.pack(">BBH", family, 0, 0) + body)


def batch(changes: Iterable[Request]) -> list[Request]:
    """Return the requests between the marks that make them one transaction."""
    mark = struct.pack(">BBH", 0, 0, SUBSYSTEM)
    return [Request(_BATCH_BEGIN, 0, mark), *changes, Request(_BATCH_END, 0, mark)]


def name_of(found: Mapping[int, bytes], kind: int = 1) -> str:
    """Return a name; by default that of a table, or of the table that a thing is in."""
    return found.get(kind, b"").rstrip(b"\0").decode(errors="replace")


def named(kind: int, flags: int, name: str) -> Request:
    """Return a request about a set or a counter by its name: its table and name come first."""
    return change(kind, flags, {1: text(TABLE), 2: text(name)})


def chain(kind: int, wanted: nft.NftChain) -> Request:
    """Return a request about a chain. NEWCHAIN makes it, or sets its policy."""
    given = {1: text(TABLE), 3: text(wanted.name)}
    if kind == NEWCHAIN and (hook := wanted.hook):
        where = attribute(1, be32(_HOOKS[hook.at])) + attribute(2, be32(hook.priority))
        given |= {4: where, 5: be32(1), 7: text(hook.type)}
    return change(kind, CREATE if kind == NEWCHAIN else 0, given)


def hook_of(found: Mapping[int, bytes]) -> nft.Hook | None:
    """Return where a chain that was shown is called; None for a regular chain."""
    if 4 not in found:
        return None
    hook = attributes(found[4])
    (at,) = struct.unpack(">I", hook.get(1, bytes(4)))
    (priority,) = struct.unpack(">i", hook.get(2, bytes(4)))
    return nft.Hook(name_of(found, 7), _HOOK_NAMES.get(at, str(at)), priority)


def new_counter(name: str) -> Request:
    """Return a request that makes a counter, or leaves the one of that name as it is."""
    given = {1: text(TABLE), 2: text(name), 3: be32(_COUNTER), 4: b""}
    return change(NEWOBJECT, CREATE, given)


def delete_counter(name: str) -> Request:
    """Return a request that deletes a counter."""
    return change(DELOBJECT, 0, {1: text(TABLE), 2: text(name), 3: be32(_COUNTER)})


def counted(found: Mapping[int, bytes]) -> tuple[str, int, int] | None:
    """Return the name of a counter, its bytes and packets; None for an object of another type."""
    if found.get(3) != be32(_COUNTER):
        return None
    data = attributes(found.get(4, b""))
    size, packets = (int.from_bytes(data.get(kind, b""), "big") for kind in (1, 2))
    return name_of(found, 2), size, packets


def new_set(wanted: nft.NftSet, number: int) -> Request:
    """Return a request that makes an empty set. ``number`` is unique within the transaction."""
    kind = wanted.kind or "ports"
    key, length = _KEYS[kind]
    given = {
        1: text(TABLE),
        2: text(wanted.name),
        3: be32(_flags(kind)),
        4: be32(key),
        5: be32(length),
        10: be32(number),
    }
    if kind.endswith("counters"):
        given[15] = be32(_COUNTER)
    return change(NEWSET, CREATE, given)


def kind_of(found: Mapping[int, bytes]) -> nft.Kind | None:
    """Return the kind of a set that was shown, None if it is none of ours."""
    shown = found.get(3, bytes(4)), found.get(4), found.get(5)
    kinds: tuple[nft.Kind, ...] = ("ipv4", "ipv6", "ports", "ipv4 counters", "ipv6 counters")
    for kind in kinds:
        key, length = _KEYS[kind]
        if shown == (be32(_flags(kind)), be32(key), be32(length)):
            return kind
    return None


def is_anonymous(found: Mapping[int, bytes]) -> bool:
    """Return whether a set that was shown belongs to one rule (NFT_SET_ANONYMOUS)."""
    return bool(found.get(3, bytes(4))[-1] & 1)


def _flags(kind: str) -> int:
    if kind == "ports":
        return 0
    return _INTERVAL | (_OBJECTS if kind.endswith("counters") else 0)


def new_elements(to: nft.NftSet, added: nft.Elements) -> Iterator[Request]:
    """Yield the requests that add elements to a set."""
    encoded = [part for each in sorted(added.of, key=str) for part in _element(each)]
    for at in range(0, len(encoded), _MANY):
        listed = b"".join(attribute(1, part) for part in encoded[at : at + _MANY])
        given = {1: text(TABLE), 2: text(to.name), 3: listed}
        yield change(NEWELEMENT, CREATE, given)


def _element(each: Destination | nft.Port | tuple[Destination, str]) -> Iterator[bytes]:
    """Yield the parts of an element: of a prefix its first address, and the one after its last."""
    counter = ""
    if isinstance(each, tuple):
        if isinstance(each[0], int):
            yield attribute(1, attribute(1, port_key((each[0], int(each[1])))))
            return
        each, counter = each[0], str(each[1])
    by = attribute(9, text(counter)) if counter else b""
    yield attribute(1, attribute(1, each.network_address.packed)) + by
    after, size = int(each.broadcast_address) + 1, each.max_prefixlen // 8
    if after < 1 << each.max_prefixlen:  # none is after the last address of a family
        yield attribute(1, attribute(1, after.to_bytes(size, "big"))) + attribute(3, be32(_END))


def elements_of(kind: nft.Kind | None, bodies: Iterable[bytes]) -> nft.Elements:
    """Return the elements of a set from the answers to a dump."""
    found = [
        attributes(each) for body in bodies for each in elements(attributes(body, 4).get(3, b""))
    ]
    keys = [(attributes(each.get(1, b"")).get(1, b""), each) for each in found]
    if kind is None:
        return nft.Elements(frozenset())
    if kind == "ports":
        return nft.Elements(frozenset(port_of(key) if key else nft.ANY for key, _ in keys))
    return nft.Elements(frozenset(_prefixes(kind, keys)))


def _prefixes(
    kind: nft.Kind, keys: list[tuple[bytes, dict[int, bytes]]]
) -> Iterator[Destination | tuple[Destination, str]]:
    """Yield the prefixes between two keys: a key begins an interval, or ends the one before it.

    The element `*` has no key, and stands for every address.
    """
    size = 4 if kind.startswith("ipv4") else 16
    ends = [
        (int.from_bytes(key, "big"), each.get(3) == be32(_END), each) for key, each in keys if key
    ]
    ends.sort(key=lambda end: (end[0], not end[1]))
    last = (1 << 8 * size) - 1
    for each in (each for key, each in keys if not key):
        (every,), counter = _between(0, last, size), name_of(each, 9)
        yield (every, counter) if counter else every
    for at, (first, is_end, each) in enumerate(ends):
        if is_end:
            continue
        until = ends[at + 1][0] - 1 if at + 1 < len(ends) else last
        for prefix in _between(first, until, size):
            counter = name_of(each, 9)
            yield (prefix, counter) if counter else prefix


def _between(first: int, last: int, size: int) -> Iterator[Destination]:
    if size == 4:
        yield from summarize_address_range(IPv4Address(first), IPv4Address(last))
    else:
        yield from summarize_address_range(IPv6Address(first), IPv6Address(last))


def tables_of(data: bytes) -> set[str]:
    """Return the tables of nftables that changed.

    The first attribute of each object names its table, and that of a table the table itself.
    """
    names = (attributes(body, 4).get(1, b"").rstrip(b"\0") for _, _, _, body in messages(data))
    return {name.decode(errors="replace") for name in names}
