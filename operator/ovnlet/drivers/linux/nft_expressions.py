"""Encode the rules and the elements of nftables as the kernel has them.

A rule is a list of expressions for a small register machine; each has a name and attributes. The
kernel shows a rule as it was given, except for attributes that are zero. So a rule is compared by
its bytes, and never decoded. Addresses and ports are in network byte order; marks, states and types
of address are in that of the machine.
"""

import struct
from collections.abc import Iterator
from functools import singledispatch

from ovnlet.core.resources import nft_statements as nft
from ovnlet.core.resources.nftables import Port
from ovnlet.drivers.linux.transport import attribute, attributes

Expression = tuple[str, tuple[tuple[int, bytes], ...]]
Encoded = tuple[Expression, ...]

_VERDICT, _REGISTER, _SECOND = 0, 1, 9  # NFT_REG_VERDICT, NFT_REG_1, NFT_REG32_01
_EQUAL, _DIFFERENT = 0, 1
_IIFNAME, _OIFNAME, _MARK, _NFPROTO, _L4PROTO = 6, 7, 3, 15, 16  # keys of the meta expression
_STATE, _PROTO_DST, _DST_IP, _DST_IP6 = 0, 12, 20, 22  # keys of the ct expression
_NETWORK_HEADER, _TRANSPORT_HEADER = 1, 2
_TO_ADDRESS, _TO_PORT, _FULLY_RANDOM, _IFNAMSIZ = 1, 2, 1 << 4, 16
_VERDICTS = {"drop": 0, "accept": 1, "jump": -3, "goto": -4, "return": -5}
# By IP version: the offsets of source and destination in the IP header, the length of an address,
# and the number of the address family.
_OFFSET = {"saddr": {4: 12, 6: 8}, "daddr": {4: 16, 6: 24}}
_LENGTH, _FAMILY = {4: 4, 6: 16}, {4: 2, 6: 10}
_TCP, _TCP_FLAGS, _DPORT = 6, 13, 2


def be32(value: int) -> bytes:
    """Encode 32 bits in network byte order."""
    return struct.pack(">I", value & 0xFFFFFFFF)


def text(value: str) -> bytes:
    """Encode a string with its terminating zero."""
    return value.encode() + b"\0"


def rule(statements: nft.Rule) -> Encoded:
    """Return the expressions of a rule."""
    return tuple(each for statement in statements for each in _expressions(statement))


def payload(encoded: Encoded) -> bytes:
    """Return the payload of a rule's NFTA_RULE_EXPRESSIONS attribute."""
    return b"".join(
        attribute(
            1, attribute(1, text(name)) + attribute(2, b"".join(attribute(k, v) for k, v in given))
        )
        for name, given in encoded
    )


def decode(expressions: bytes) -> Encoded:
    """Return the expressions in the payload of a rule's NFTA_RULE_EXPRESSIONS attribute.

    Raise Garbled if an attribute's length does not fit.
    """
    return tuple(_decode_expression(attributes(body)) for body in elements(expressions))


def comparable(encoded: Encoded) -> Encoded:
    """Return the expressions without attributes that are zero.

    The kernel requires some of them in a request, and adds others to what it shows. Figures of a
    counter are left out too.
    """
    return tuple(
        (name, () if name == "counter" else tuple((kind, v) for kind, v in given if any(v)))
        for name, given in encoded
    )


def elements(data: bytes) -> Iterator[bytes]:
    """Yield the payload of each attribute of a list."""
    at = 0
    while at + 4 <= len(data):
        (size,) = struct.unpack_from("=H", data, at)
        yield data[at + 4 : at + size]
        at += max((size + 3) & ~3, 4)


def port_key(port: Port) -> bytes:
    """Return the key of an element that is a protocol and a port: each has a register."""
    protocol, number = port
    return struct.pack(">B3xH2x", protocol, number)


def port_of(key: bytes) -> Port:
    """Return the protocol and the port of a key. Raise struct.error for one of another length."""
    protocol, number = struct.unpack(">B3xH2x", key)
    return protocol, number


def _decode_expression(element: dict[int, bytes]) -> Expression:
    name = element.get(1, b"").rstrip(b"\0").decode(errors="replace")
    return _make(name, attributes(element.get(2, b"")))


def _make(name: str, given: dict[int, bytes]) -> Expression:
    return name, tuple(sorted(given.items()))


@singledispatch
def _expressions(statement: nft.Statement) -> Encoded:
    raise TypeError(f"no statement of nftables: {statement!r}")


@_expressions.register
def _(statement: nft.Link) -> Encoded:
    key = _OIFNAME if statement.outgoing else _IIFNAME
    return (_meta(key), _compare(statement.name.encode().ljust(_IFNAMSIZ, b"\0")))


@_expressions.register
def _(statement: nft.InSet) -> Encoded:
    family = statement.family
    return (*_address(statement.side, family), _look_up(statement.name, statement.absent))


@_expressions.register
def _(statement: nft.OriginalInSet) -> Encoded:
    # The rule ends where the connection is of the other family.
    key = _DST_IP if statement.family == 4 else _DST_IP6
    return (_ct(key, _REGISTER, original=True), _look_up(statement.name, statement.absent))


@_expressions.register
def _(statement: nft.OriginalPortInSet) -> Encoded:
    port = _ct(_PROTO_DST, _SECOND, original=True)
    return (_meta(_L4PROTO), port, _look_up(statement.name))


@_expressions.register
def _(statement: nft.InPrefix) -> Encoded:
    prefix = statement.prefix
    return (
        *_address(statement.side, prefix.version),
        _mask(prefix.netmask.packed),
        _compare(prefix.network_address.packed),
    )


@_expressions.register
def _(statement: nft.Marked) -> Encoded:
    bit = struct.pack("=I", statement.bit)
    return (_meta(_MARK), _mask(bit), _compare(bit))


@_expressions.register
def _(statement: nft.Protocol) -> Encoded:
    protocol = (_meta(_L4PROTO), _compare(bytes([statement.number])))
    if statement.port is None:
        return protocol
    port = _payload(_TRANSPORT_HEADER, _DPORT, 2)
    return (*protocol, port, _compare(struct.pack(">H", statement.port)))


@_expressions.register
def _(statement: nft.TcpFlag) -> Encoded:
    operator = _EQUAL if statement.absent else _DIFFERENT
    return (
        _meta(_L4PROTO),
        _compare(bytes([_TCP])),
        _payload(_TRANSPORT_HEADER, _TCP_FLAGS, 1),
        _mask(bytes([statement.bit])),
        _compare(b"\0", operator),
    )


@_expressions.register
def _(statement: nft.State) -> Encoded:
    bit = struct.pack("=I", statement.bit)
    return (_ct(_STATE, _REGISTER), _mask(bit), _compare(bytes(4), _DIFFERENT))


@_expressions.register
def _(_statement: nft.Unmark) -> Encoded:
    set_mark = _make("meta", {2: be32(_MARK), 3: be32(_REGISTER)})
    return (_load(bytes(4)), set_mark)


@_expressions.register
def _(_statement: nft.Masquerade) -> Encoded:
    return (_make("masq", {1: be32(_FULLY_RANDOM)}),)


@_expressions.register
def _(statement: nft.SourceNat) -> Encoded:
    register = be32(_REGISTER)
    family = be32(_FAMILY[statement.address.version])
    given = {1: be32(0), 2: family, 3: register, 4: register, 7: be32(_TO_ADDRESS | _FULLY_RANDOM)}
    return (_load(statement.address.packed), _make("nat", given))


@_expressions.register
def _(statement: nft.Redirect) -> Encoded:
    register = be32(_REGISTER)
    to = _make("redir", {1: register, 2: register, 3: be32(_TO_PORT)})
    return (_load(struct.pack(">H", statement.port)), to)


@_expressions.register
def _(statement: nft.Verdict) -> Encoded:
    verdict = attribute(1, be32(_VERDICTS[statement.what]))
    if statement.chain:
        verdict += attribute(2, text(statement.chain))
    return (_make("immediate", {1: be32(_VERDICT), 2: attribute(2, verdict)}),)


@_expressions.register
def _(statement: nft.CountBy) -> Encoded:
    by = _make("objref", {3: be32(_REGISTER), 4: text(statement.name)})
    return (*_address(statement.side, statement.family), by)


def _address(side: nft.Side, family: int) -> Encoded:
    load = _payload(_NETWORK_HEADER, _OFFSET[side][family], _LENGTH[family])
    return (*_of_family(family), load)


def _of_family(family: int) -> Encoded:
    return (_meta(_NFPROTO), _compare(bytes([_FAMILY[family]])))


def _meta(key: int) -> Expression:
    return _make("meta", {1: be32(_REGISTER), 2: be32(key)})


def _ct(key: int, register: int, *, original: bool = False) -> Expression:
    direction = {3: b"\0"} if original else {}  # IP_CT_DIR_ORIGINAL
    return _make("ct", {1: be32(register), 2: be32(key), **direction})


def _payload(header: int, offset: int, length: int) -> Expression:
    return _make("payload", {1: be32(_REGISTER), 2: be32(header), 3: be32(offset), 4: be32(length)})


def _mask(value: bytes) -> Expression:
    given = {3: be32(len(value)), 4: attribute(1, value), 5: attribute(1, bytes(len(value)))}
    return _make("bitwise", {1: be32(_REGISTER), 2: be32(_REGISTER), **given})


def _compare(value: bytes, operator: int = _EQUAL) -> Expression:
    return _make("cmp", {1: be32(_REGISTER), 2: be32(operator), 3: attribute(1, value)})


def _load(value: bytes) -> Expression:
    return _make("immediate", {1: be32(_REGISTER), 2: attribute(1, value)})


def _look_up(name: str, absent: bool = False) -> Expression:
    return _make("lookup", {1: text(name), 2: be32(_REGISTER), 5: be32(int(absent))})
