"""Encode and decode nftables rules as the kernel has them.

A rule is a list of expressions for a small register machine; each has a name and attributes.
Numbers are in network byte order. The kernel shows a rule as it was given, except for attributes
that are zero.
"""

import struct
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network

from ovnlet.core.resources.nftables import Masquerade
from ovnlet.drivers.linux.transport import attribute, attributes

Network = IPv4Network | IPv6Network
Expression = tuple[str, tuple[tuple[int, bytes], ...]]
Rule = tuple[Expression, ...]

_REGISTER, _VERDICT, _EQUAL = 1, 0, 0
_OIFNAME, _NFPROTO = 7, 15  # keys of the meta expression
_NETWORK_HEADER, _RETURN = 1, -5 & 0xFFFFFFFF
_FULLY_RANDOM = 1 << 4
_IFNAMSIZ = 16
# By IP version: the offsets of source and destination in the IP header, the length of an address,
# and the number of the address family.
_SOURCE, _DESTINATION = {4: 12, 6: 8}, {4: 16, 6: 24}
_LENGTH, _FAMILY = {4: 4, 6: 16}, {4: 2, 6: 10}


def be32(value: int) -> bytes:
    """Encode 32 bits in network byte order."""
    return struct.pack(">I", value)


def text(value: str) -> bytes:
    """Encode a string with its terminating zero."""
    return value.encode() + b"\0"


def rules(wanted: Masquerade) -> tuple[Rule, ...]:
    """Return the rules of the table, in order.

    Rules for packets that keep their source address come before those that masquerade.
    """
    own_link = (*_matches_oif(wanted.nic), _RETURN_VERDICT)
    inside = (
        (*_matches_network(network, _DESTINATION), _RETURN_VERDICT) for network in wanted.inside
    )
    sources = ((*_matches_network(network, _SOURCE), _MASQUERADE) for network in wanted.sources)
    return (own_link, *inside, *sources)


def read(nic: str, found: tuple[Rule, ...]) -> Masquerade:
    """Return what the rules do, as far as ``rules`` can make them.

    ``intact`` is True only if ``rules`` makes exactly these for the value.
    """
    sources = tuple(
        network for rule in found for network in _network_of(rule, _SOURCE, _MASQUERADE)
    )
    inside = tuple(
        network for rule in found for network in _network_of(rule, _DESTINATION, _RETURN_VERDICT)
    )
    seen = Masquerade(nic, sources, inside)
    intact = tuple(map(_without_zeros, rules(seen))) == tuple(map(_without_zeros, found))
    return seen if intact else Masquerade(nic, sources, inside, intact=False)


def encode(rule: Rule) -> bytes:
    """Return the payload of a rule's NFTA_RULE_EXPRESSIONS attribute."""
    return b"".join(
        attribute(
            1, attribute(1, text(name)) + attribute(2, b"".join(attribute(k, v) for k, v in given))
        )
        for name, given in rule
    )


def decode(expressions: bytes) -> Rule:
    """Return the rule in the payload of a rule's NFTA_RULE_EXPRESSIONS attribute.

    Raise Garbled if an attribute's length does not fit.
    """
    return tuple(_decode_expression(attributes(body)) for body in _elements(expressions))


def _elements(data: bytes) -> Iterator[bytes]:
    at = 0
    while at + 4 <= len(data):
        (size,) = struct.unpack_from("=H", data, at)
        yield data[at + 4 : at + size]
        at += max((size + 3) & ~3, 4)


def _decode_expression(element: dict[int, bytes]) -> Expression:
    name = element.get(1, b"").rstrip(b"\0").decode(errors="replace")
    return _make(name, attributes(element.get(2, b"")))


def _make(name: str, given: dict[int, bytes]) -> Expression:
    return name, tuple(sorted(given.items()))


def _without_zeros(rule: Rule) -> Rule:
    """Return the rule without attributes that are zero.

    The kernel requires some of them in a request, and adds others to what it shows.
    """
    return tuple(
        (name, tuple((kind, value) for kind, value in given if any(value))) for name, given in rule
    )


def _matches_oif(name: str) -> Rule:
    value = name.encode().ljust(_IFNAMSIZ, b"\0")
    return (_make("meta", {1: be32(_REGISTER), 2: be32(_OIFNAME)}), _equal(value))


def _matches_network(network: Network, offsets: dict[int, int]) -> Rule:
    length = _LENGTH[network.version]
    place = {
        1: be32(_REGISTER),
        2: be32(_NETWORK_HEADER),
        3: be32(offsets[network.version]),
        4: be32(length),
    }
    mask = {
        1: be32(_REGISTER),
        2: be32(_REGISTER),
        3: be32(length),
        4: attribute(1, network.netmask.packed),
        5: attribute(1, bytes(length)),
    }
    return (
        _make("meta", {1: be32(_REGISTER), 2: be32(_NFPROTO)}),
        _equal(bytes([_FAMILY[network.version]])),
        _make("payload", place),
        _make("bitwise", mask),
        _equal(network.network_address.packed),
    )


def _equal(value: bytes) -> Expression:
    return _make("cmp", {1: be32(_REGISTER), 2: be32(_EQUAL), 3: attribute(1, value)})


_RETURN_VERDICT = _make(
    "immediate", {1: be32(_VERDICT), 2: attribute(2, attribute(1, be32(_RETURN)))}
)
_MASQUERADE = _make("masq", {1: be32(_FULLY_RANDOM)})


def _network_of(rule: Rule, offsets: dict[int, int], then: Expression) -> Iterator[Network]:
    """Yield the prefix that the rule matches, if it matches nothing else and then does ``then``."""
    values = [dict(given).get(4, b"")[4:] for name, given in rule if name == "bitwise"]
    values += [dict(given).get(3, b"")[4:] for name, given in rule[4:] if name == "cmp"]
    if len(values) != 2 or len(values[0]) not in (4, 16) or len(values[0]) != len(values[1]):
        return
    length = sum(byte.bit_count() for byte in values[0])
    try:
        network = ip_network((values[1], length))
    except ValueError:
        return
    if _without_zeros((*_matches_network(network, offsets), then)) == _without_zeros(rule):
        yield network
