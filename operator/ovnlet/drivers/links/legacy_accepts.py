"""Observe and change our rules in the chains of `iptables-legacy` that may drop what is forwarded.

Like `accepts`, for the tables that nf_tables does not have. A table is replaced as a whole while
we have the lock of iptables. Nothing announces a change, so the agent compares the size each
second.
"""

import socket
from collections.abc import Iterator, Sequence
from functools import cache

import structlog

from ovnlet.core.errors import NodeFault
from ovnlet.core.plan import Step, Verb
from ovnlet.core.resources.gateway import FILTER, LEGACY, Accepted, Accepts
from ovnlet.drivers.linux import xtables
from ovnlet.drivers.linux.xtables import IPV4, IPV6, Family
from ovnlet.drivers.linux.xtables_kernel import Kernel, active, locked

_COMMENT = b"ovnlet"
FAMILIES = {LEGACY + each.word: each for each in (IPV4, IPV6)}
log = structlog.get_logger("gateway")


def with_table(table: str) -> Iterator[tuple[str, Family]]:
    """Yield the families that have a table, none without the right to look at it.

    Raise OSError.
    """
    found = [(word, family) for word, family in FAMILIES.items() if table in active(family)]
    if found and _may_look():
        yield from found


@cache
def _may_look() -> bool:
    """Return whether this process may open a raw socket; log once where it may not."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW).close()
    except PermissionError:
        log.warning("rules of iptables-legacy are left alone: the agent's pod lacks NET_RAW")
        return False
    return True


def chains() -> frozenset[tuple[str, str]]:
    """Return the chains there are, by family and name. Raise OSError."""
    return frozenset((word, chain) for word, _ in with_table(FILTER) for chain in xtables.HOOKS)


def fingerprint() -> dict[str, bytes]:
    """Return by family what nearly each change of a table changes. Raise OSError."""
    found = {}
    for word, family in with_table(FILTER):
        with Kernel(family) as kernel:
            found[word] = kernel.info()
    return found


def observe(wanted: Sequence[Accepts]) -> Iterator[Accepts]:
    """Yield our rules of each chain that has any. Raise OSError."""
    expected = {(each.family, each.chain): each.accepted for each in wanted}
    for word, family in with_table(FILTER):
        with Kernel(family) as kernel:
            table = kernel.read(only=_COMMENT)
        if table is None:
            continue
        for chain, hook in xtables.HOOKS.items():
            seen = list(table.chain(hook))
            accepted = expected.get((word, chain), ())
            known = {xtables.comparable(family, _rule(family, each)): each for each in accepted}
            ours = [xtables.comparable(family, each) for each in seen if _is_ours(family, each)]
            if ours:
                found = tuple(known[each] for each in ours if each in known)
                first = all(_is_ours(family, each) for each in seen[: len(ours)])
                yield Accepts(word, chain, found, first, len(ours) - len(found))


async def carry_out(step: Step) -> None:
    """Remove our rules from a chain, or put them in front of it. Raise NodeFault, OSError."""
    wanted = step.resource
    if not isinstance(wanted, Accepts):
        raise NodeFault(f"{step}: not for a chain of iptables-legacy")
    family, hook = FAMILIES[wanted.family], xtables.HOOKS[wanted.chain]
    removed = step.verb is Verb.REMOVE
    rules = () if removed else tuple(_rule(family, each) for each in wanted.accepted)
    if FILTER not in active(family):
        return
    async with locked():
        with Kernel(family) as kernel:
            kernel.change(
                lambda table: xtables.edited(
                    family, table, hook, lambda each: _is_ours(family, each), rules
                )
            )


def _is_ours(family: Family, entry: bytes) -> bool:
    return xtables.comment_of(family, entry) == _COMMENT


def _rule(family: Family, accepted: Accepted) -> bytes:
    prefix, anywhere = accepted.prefix, bytes(2 * family.address)
    given = prefix.network_address.packed + prefix.netmask.packed
    source, to = (anywhere, given) if accepted.to else (given, anywhere)
    return xtables.accepting(family, source, to, _COMMENT)
