"""Observe and change our rules in the chains of `iptables-nft` that may drop what is forwarded.

No rule of a table of our own can lift the drop of another one. The rules are plain ones, which
iptables shows as such. Ours are those with our comment, and nothing else there is changed. Those of
`iptables-legacy` are `legacy_accepts`, and chains of firewalld reject whatever others accept.
"""

import errno
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ovnlet.core.resources.gateway import FILTER, Accepted, Accepts
from ovnlet.core.resources.nft_statements import InPrefix, Verdict
from ovnlet.drivers.linux import nft_messages as messages
from ovnlet.drivers.linux.nft_expressions import (
    Encoded,
    comparable,
    decode,
    payload,
    rule,
    text,
)
from ovnlet.drivers.linux.transport import NETFILTER, Request, Socket, attributes

CHAINS = ("INPUT", "FORWARD")
_COMMENT = b"ovnlet"
_OF_COMMENT = 0  # NFTNL_UDATA_RULE_COMMENT
_FAMILIES = {"ip": messages.IPV4, "ip6": messages.IPV6}
_NONE = frozenset({errno.ENOENT, errno.EAFNOSUPPORT, errno.EOPNOTSUPP})
_COUNTER = ("counter", ((1, bytes(8)), (2, bytes(8))))


class _Seen(NamedTuple):
    handle: bytes
    ours: bool
    expressions: Encoded


def chains(kernel: Socket) -> frozenset[tuple[str, str]]:
    """Return the chains there are, by family and name. Raise Refused or OSError."""
    found = set()
    for word, family in _FAMILIES.items():
        request = messages.dump(messages.GETCHAIN, "", FILTER, family)
        for body in kernel.dump(request, empty=_NONE):
            chain = attributes(body, 4)
            if messages.name_of(chain) == FILTER and messages.name_of(chain, 3) in CHAINS:
                found.add((word, messages.name_of(chain, 3)))
    return frozenset(found)


def guarded() -> frozenset[str]:
    """Return the chains that have rules of ours in front, as `family table chain`.

    Raise Refused or OSError.
    """
    with Socket(NETFILTER) as kernel:
        found = [each for each in observe(kernel, ()) if each.first]
    return frozenset(f"{each.family} {FILTER} {each.chain}" for each in found)


def observe(kernel: Socket, wanted: Sequence[Accepts]) -> Iterator[Accepts]:
    """Yield our rules of each chain that has any. Raise Refused or OSError."""
    expected = {(each.family, each.chain): each.accepted for each in wanted}
    for family, chain in sorted(chains(kernel)):
        seen = list(_seen(kernel, family, chain))
        ours = [each.expressions for each in seen if each.ours]
        if not ours:
            continue
        accepted = expected.get((family, chain), ())
        known = {comparable(_rule(each)): each for each in accepted}
        found = tuple(known[each] for each in ours if each in known)
        first = all(each.ours for each in seen[: len(ours)])
        yield Accepts(family, chain, found, first, len(ours) - len(found))


def changes(kernel: Socket, wanted: Accepts, *, removed: bool) -> Iterator[Request]:
    """Yield what removes our rules from the chain, and unless ``removed`` puts them in front."""
    family, given = _FAMILIES[wanted.family], {1: text(FILTER), 2: text(wanted.chain)}
    for each in _seen(kernel, wanted.family, wanted.chain):
        if each.ours:
            yield messages.change(messages.DELRULE, 0, given | {3: each.handle}, family)
    if removed:
        return
    for accepted in reversed(wanted.accepted):
        body = payload(_rule(accepted))
        comment = struct.pack("BB", _OF_COMMENT, len(_COMMENT) + 1) + _COMMENT + b"\0"
        rule_given = given | {4: body, 7: comment}
        yield messages.change(messages.NEWRULE, messages.CREATE, rule_given, family)


def _seen(kernel: Socket, family: str, chain: str) -> Iterator[_Seen]:
    request = messages.dump(messages.GETRULE, chain, FILTER, _FAMILIES[family])
    for body in kernel.dump(request, empty=_NONE):
        found = attributes(body, 4)
        if (messages.name_of(found), messages.name_of(found, 2)) == (FILTER, chain):
            ours = _is_ours(found.get(7, b""))
            yield _Seen(found.get(3, b""), ours, comparable(decode(found.get(4, b""))))


def _is_ours(userdata: bytes) -> bool:
    """Return whether a rule's userdata has our comment: its entries are type, length and value."""
    while len(userdata) >= 2:
        end = 2 + userdata[1]
        if userdata[0] == _OF_COMMENT and userdata[2:end].rstrip(b"\0") == _COMMENT:
            return True
        userdata = userdata[end:]
    return False


def _rule(accepted: Accepted) -> Encoded:
    side = InPrefix("daddr" if accepted.to else "saddr", accepted.prefix)
    encoded = rule((side, Verdict("accept")))
    # In a table of one family nothing has to match the family, which takes two expressions.
    return (*encoded[2:-1], _COUNTER, encoded[-1])
