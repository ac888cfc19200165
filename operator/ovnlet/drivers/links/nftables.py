"""Observe and write ovnlet's nftables table by netlink, whole and in one transaction each.

A table that differs from what ovnlet would write is replaced. Existing connections keep the address
that they have.
"""

import errno
import struct

from ovnlet.core.errors import NodeFault
from ovnlet.core.plan import Step, Verb
from ovnlet.core.resources.nftables import TABLE, Masquerade
from ovnlet.drivers.linux import nft_expressions
from ovnlet.drivers.linux.nft_expressions import be32, text
from ovnlet.drivers.linux.transport import (
    ACK,
    DUMP,
    NETFILTER,
    Refused,
    Request,
    Socket,
    attribute,
    attributes,
)

_SUBSYSTEM = 10
_NEWTABLE, _GETTABLE, _DELTABLE, _NEWCHAIN, _GETCHAIN, _NEWRULE, _GETRULE = 0, 1, 2, 3, 4, 6, 7
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_CREATE, _APPEND = 0x400, 0x800
_INET = 1
_CHAIN, _TYPE = "postrouting", "nat"
_POSTROUTING, _SRCNAT, _ACCEPT = 4, 100, 1
_HOOK = {1: be32(_POSTROUTING), 2: be32(_SRCNAT)}
# The answers of kernels without nf_tables.
ABSENT = frozenset({errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.EINVAL, errno.EOPNOTSUPP})


def is_there() -> bool:
    """Return whether this kernel has nf_tables.

    Raise NodeFault if the kernel denies the question, for example without the right to ask.
    """
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


def observe(nic: str) -> Masquerade | None:
    """Return the table as it is, or None if there is none. Raise Refused or OSError."""
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
    current = nft_expressions.read(
        nic, tuple(nft_expressions.decode(rule.get(4, b"")) for rule in rules)
    )
    whole = (
        current.intact
        and not any(ours[0].get(2, b""))
        and [_is_our_chain(chain) for chain in chains] == [True]
    )
    return Masquerade(nic, current.sources, current.inside, whole)


def carry_out(step: Step) -> None:
    """Write the table for an ENSURE step and remove it for a REMOVE step.

    Raise NodeFault if the kernel refuses, OSError if the socket fails.
    """
    try:
        if step.verb is Verb.ENSURE and isinstance(step.resource, Masquerade):
            write(step.resource)
        else:
            remove()
    except Refused as error:
        raise NodeFault(f"{step}: {error}") from error


def write(wanted: Masquerade) -> None:
    """Write the whole table in place of any earlier one. Raise Refused or OSError."""
    hook = b"".join(attribute(kind, value) for kind, value in _HOOK.items())
    chain = {1: text(TABLE), 3: text(_CHAIN), 4: hook, 5: be32(_ACCEPT), 7: text(_TYPE)}
    rules = [
        {1: text(TABLE), 2: text(_CHAIN), 4: nft_expressions.encode(rule)}
        for rule in nft_expressions.rules(wanted)
    ]
    _transact(
        *_delete_table(),
        _change(_NEWTABLE, _CREATE, {1: text(TABLE)}),
        _change(_NEWCHAIN, _CREATE, chain),
        *(_change(_NEWRULE, _CREATE | _APPEND, rule) for rule in rules),
    )


def remove() -> None:
    """Remove the table, if it is there. Raise Refused or OSError."""
    _transact(*_delete_table())


def _delete_table() -> tuple[Request, Request]:
    """Return the changes that leave no table.

    The kernel refuses to delete a table that is not there, so the first change creates it.
    """
    return _change(_NEWTABLE, _CREATE, {1: text(TABLE)}), _change(_DELTABLE, 0, {1: text(TABLE)})


def _transact(*changes: Request) -> None:
    """Send the changes as one batch. The last one asks for the acknowledgement.

    The kernel carries out all of a batch or nothing of it.
    """
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
    """Return the name of a table, or of the table that a chain or a rule is in."""
    return found.get(1, b"").rstrip(b"\0").decode(errors="replace")


def _is_our_chain(chain: dict[int, bytes]) -> bool:
    hook = attributes(chain.get(4, b""))
    named = (chain.get(3, b""), chain.get(7, b"")) == (text(_CHAIN), text(_TYPE))
    return (
        named
        and {kind: hook.get(kind) for kind in _HOOK} == _HOOK
        and chain.get(5) == be32(_ACCEPT)
    )
