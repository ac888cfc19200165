"""Rules of nftables as the kernel spells them: expressions, a name with attributes each, for a small register machine.

Numbers are in network byte order. The kernel tells a rule as it was given, but for attributes that are zero.
"""

import struct
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network

from ovnlet.core.resources.nftables import Masquerade
from ovnlet.drivers.linux.transport import attributes

Network = IPv4Network | IPv6Network
Expression = tuple[str, tuple[tuple[int, bytes], ...]]
Rule = tuple[Expression, ...]

_REGISTER, _VERDICT, _EQUAL = 1, 0, 0
_OIFNAME, _NFPROTO = 7, 15
_NETWORK_HEADER, _RETURN = 1, -5 & 0xFFFFFFFF
_FULLY_RANDOM = 1 << 4
_IFNAMSIZ = 16
# Of the IP header: offsets of source and destination, and the length of an address; the family by its number.
_SOURCE, _DESTINATION = {4: 12, 6: 8}, {4: 16, 6: 24}
_LENGTH, _FAMILY = {4: 4, 6: 16}, {4: 2, 6: 10}


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def number(value: int) -> bytes:
    return struct.pack(">I", value)


def text(value: str) -> bytes:
    return value.encode() + b"\0"


def rules(wanted: Masquerade) -> tuple[Rule, ...]:
    """In their order: first what keeps its source."""
    by_us = (*_link(wanted.nic), _RETURN_IT)
    inside = ((*_in(network, _DESTINATION), _RETURN_IT) for network in wanted.inside)
    sources = ((*_in(network, _SOURCE), _MASQUERADE) for network in wanted.sources)
    return (by_us, *inside, *sources)


def read(nic: str, found: tuple[Rule, ...]) -> Masquerade:
    """What these rules do, as far as they are such as ours; intact if they are just those."""
    sources = tuple(network for rule in found for network in _network(rule, _SOURCE, _MASQUERADE))
    inside = tuple(
        network for rule in found for network in _network(rule, _DESTINATION, _RETURN_IT)
    )
    seen = Masquerade(nic, sources, inside)
    intact = tuple(map(_plain, rules(seen))) == tuple(map(_plain, found))
    return seen if intact else Masquerade(nic, sources, inside, intact=False)


def encode(rule: Rule) -> bytes:
    return b"".join(
        attribute(
            1, attribute(1, text(name)) + attribute(2, b"".join(attribute(k, v) for k, v in given))
        )
        for name, given in rule
    )


def decode(expressions: bytes) -> Rule:
    return tuple(_expression(attributes(body)) for body in _elements(expressions))


def _elements(data: bytes) -> Iterator[bytes]:
    at = 0
    while at + 4 <= len(data):
        (size,) = struct.unpack_from("=H", data, at)
        yield data[at + 4 : at + size]
        at += max((size + 3) & ~3, 4)


def _expression(element: dict[int, bytes]) -> Expression:
    name = element.get(1, b"").rstrip(b"\0").decode(errors="replace")
    return _of(name, attributes(element.get(2, b"")))


def _of(name: str, given: dict[int, bytes]) -> Expression:
    return name, tuple(sorted(given.items()))


def _plain(rule: Rule) -> Rule:
    """Without what is zero: the kernel asks for some of that, and tells of other."""
    return tuple(
        (name, tuple((kind, value) for kind, value in given if any(value))) for name, given in rule
    )


def _link(name: str) -> Rule:
    value = name.encode().ljust(_IFNAMSIZ, b"\0")
    return (_of("meta", {1: number(_REGISTER), 2: number(_OIFNAME)}), _equal(value))


def _in(network: Network, offsets: dict[int, int]) -> Rule:
    length = _LENGTH[network.version]
    place = {
        1: number(_REGISTER),
        2: number(_NETWORK_HEADER),
        3: number(offsets[network.version]),
        4: number(length),
    }
    mask = {
        1: number(_REGISTER),
        2: number(_REGISTER),
        3: number(length),
        4: attribute(1, network.netmask.packed),
        5: attribute(1, bytes(length)),
    }
    return (
        _of("meta", {1: number(_REGISTER), 2: number(_NFPROTO)}),
        _equal(bytes([_FAMILY[network.version]])),
        _of("payload", place),
        _of("bitwise", mask),
        _equal(network.network_address.packed),
    )


def _equal(value: bytes) -> Expression:
    return _of("cmp", {1: number(_REGISTER), 2: number(_EQUAL), 3: attribute(1, value)})


_RETURN_IT = _of("immediate", {1: number(_VERDICT), 2: attribute(2, attribute(1, number(_RETURN)))})
_MASQUERADE = _of("masq", {1: number(_FULLY_RANDOM)})


def _network(rule: Rule, offsets: dict[int, int], then: Expression) -> Iterator[Network]:
    """The prefix that a rule matches, if it matches one and nothing else, and then does that."""
    values = [dict(given).get(4, b"")[4:] for name, given in rule if name == "bitwise"]
    values += [dict(given).get(3, b"")[4:] for name, given in rule[4:] if name == "cmp"]
    if len(values) != 2 or len(values[0]) not in (4, 16) or len(values[0]) != len(values[1]):
        return
    length = sum(byte.bit_count() for byte in values[0])
    try:
        network = ip_network((values[1], length))
    except ValueError:
        return
    if _plain((*_in(network, offsets), then)) == _plain(rule):
        yield network
