"""Our table of nftables, by netlink: seen whole, and written whole in one transaction.

A table that is not as it would be made, whoever changed it, is replaced; connections keep the address that they have.
"""

import errno
import struct

from ovnlet.core.errors import NodeFault
from ovnlet.core.plan import Step, Verb
from ovnlet.core.resources.nftables import TABLE, Masquerade
from ovnlet.drivers.linux import nft_expressions
from ovnlet.drivers.linux.nft_expressions import attribute, number, text
from ovnlet.drivers.linux.transport import (
    ACK,
    DUMP,
    NETFILTER,
    Refused,
    Request,
    Socket,
    attributes,
)

_SUBSYSTEM = 10
_NEWTABLE, _GETTABLE, _DELTABLE, _NEWCHAIN, _GETCHAIN, _NEWRULE, _GETRULE = 0, 1, 2, 3, 4, 6, 7
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_CREATE, _APPEND = 0x400, 0x800
_INET = 1
_CHAIN, _TYPE = "postrouting", "nat"
_POSTROUTING, _SRCNAT, _ACCEPT = 4, 100, 1
_HOOK = {1: number(_POSTROUTING), 2: number(_SRCNAT)}
# What kernels without nf_tables answer.
ABSENT = frozenset({errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.EINVAL, errno.EOPNOTSUPP})


def is_there() -> bool:
    """Whether this kernel has nf_tables. Raises NodeFault without the right to ask."""
    try:
        with Socket(NETFILTER) as kernel:
            kernel.dump(_get(_GETTABLE))
    except OSError as error:
        if error.errno in ABSENT:
            return False
        raise NodeFault(f"nf_tables: {error.strerror}") from error
    except Refused as error:
        if error.errno in ABSENT:
            return False
        raise
    return True


def look(nic: str) -> Masquerade | None:
    """The table as it is; None where there is none. Raises Refused or OSError."""
    with Socket(NETFILTER) as kernel:
        ours = [
            found
            for body in kernel.dump(_get(_GETTABLE))
            if _name(found := attributes(body, 4)) == TABLE
        ]
        if not ours:
            return None
        chains = [
            found
            for body in kernel.dump(_get(_GETCHAIN))
            if _name(found := attributes(body, 4)) == TABLE
        ]
        rules = [
            found
            for body in kernel.dump(_get(_GETRULE))
            if _name(found := attributes(body, 4)) == TABLE
        ]
    seen = nft_expressions.read(
        nic, tuple(nft_expressions.decode(rule.get(4, b"")) for rule in rules)
    )
    whole = (
        seen.intact
        and not any(ours[0].get(2, b""))
        and [_is_ours(chain) for chain in chains] == [True]
    )
    return Masquerade(nic, seen.sources, seen.inside, whole)


def carry_out(step: Step) -> None:
    """Raises NodeFault."""
    try:
        if step.verb is Verb.ENSURE and isinstance(step.resource, Masquerade):
            write(step.resource)
        else:
            remove()
    except Refused as error:
        raise NodeFault(f"{step}: {error}") from error


def write(wanted: Masquerade) -> None:
    """Instead of whatever has stood there. Raises Refused or OSError."""
    hook = b"".join(attribute(kind, value) for kind, value in _HOOK.items())
    chain = {1: text(TABLE), 3: text(_CHAIN), 4: hook, 5: number(_ACCEPT), 7: text(_TYPE)}
    rules = [
        {1: text(TABLE), 2: text(_CHAIN), 4: nft_expressions.encode(rule)}
        for rule in nft_expressions.rules(wanted)
    ]
    _transact(
        *_gone(),
        _change(_NEWTABLE, _CREATE, {1: text(TABLE)}),
        _change(_NEWCHAIN, _CREATE, chain),
        *(_change(_NEWRULE, _CREATE | _APPEND, rule) for rule in rules),
    )


def remove() -> None:
    _transact(*_gone())


def _gone() -> tuple[Request, Request]:
    """The kernel refuses to delete what is not there, so it is made first."""
    return _change(_NEWTABLE, _CREATE, {1: text(TABLE)}), _change(_DELTABLE, 0, {1: text(TABLE)})


def _transact(*changes: Request) -> None:
    """The last change asks for the answer: all were carried out, or none."""
    mark = struct.pack(">BBH", 0, 0, _SUBSYSTEM)
    last = changes[-1]._replace(flags=changes[-1].flags | ACK)
    with Socket(NETFILTER) as kernel:
        kernel.transact(
            Request(_BATCH_BEGIN, 0, mark), *changes[:-1], last, Request(_BATCH_END, 0, mark)
        )


def _change(kind: int, flags: int, given: dict[int, bytes]) -> Request:
    body = b"".join(attribute(name, value) for name, value in given.items())
    return Request(_SUBSYSTEM << 8 | kind, flags, struct.pack(">BBH", _INET, 0, 0) + body)


def _get(kind: int) -> Request:
    return Request(
        _SUBSYSTEM << 8 | kind, DUMP, struct.pack(">BBH", _INET, 0, 0) + attribute(1, text(TABLE))
    )


def _name(found: dict[int, bytes]) -> str:
    """Of the table itself, or of the one that a chain or a rule is in."""
    return found.get(1, b"").rstrip(b"\0").decode(errors="replace")


def _is_ours(chain: dict[int, bytes]) -> bool:
    hook = attributes(chain.get(4, b""))
    named = (chain.get(3, b""), chain.get(7, b"")) == (text(_CHAIN), text(_TYPE))
    return (
        named
        and {kind: hook.get(kind) for kind in _HOOK} == _HOOK
        and chain.get(5) == number(_ACCEPT)
    )
