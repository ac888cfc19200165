"""What kube-ovn-cni left outside of chains of its own: rules in `filter`, and its ipsets.

The rules accept its prefixes and count its Subnets. They are known by the sets that they match, and
by the comment of the counters. A set goes when no rule of any kind refers to it.
"""

import errno
import re
import struct
from collections.abc import Iterator, Mapping

from ovnlet.core.errors import NodeFault
from ovnlet.core.resources.gateway import FILTER, KubeOvnRules, KubeOvnSets
from ovnlet.drivers.linux import ipset
from ovnlet.drivers.linux import nft_messages as messages
from ovnlet.drivers.linux.nft_expressions import decode, text
from ovnlet.drivers.linux.transport import Request, Socket, attributes

# As Kube-OVN names its sets, and those that it swaps with them.
_SET = re.compile(r"ovn[46](0[a-z]|t\d)")
COUNTER = b"ovn-subnet-gateway,"
_FAMILIES = {"ip": messages.IPV4, "ip6": messages.IPV6}
_NONE = frozenset({errno.ENOENT, errno.EAFNOSUPPORT, errno.EOPNOTSUPP})


def numbers(kernel: Socket) -> frozenset[int]:
    """Return the numbers of its sets in rules that match them. Raise Refused or OSError."""
    return frozenset(_sets(kernel))


def observe(kernel: Socket) -> Iterator[KubeOvnRules | KubeOvnSets]:
    """Yield the rules of each family that has any, and the sets without a reference.

    Raise Refused or OSError.
    """
    found = _sets(kernel)
    for family in _FAMILIES:
        if count := len(list(_rules(kernel, family, found))):
            yield KubeOvnRules(family, count)
    if names := sorted(each.name for each in found.values() if not each.references):
        yield KubeOvnSets(tuple(names))


def removal(kernel: Socket, rules: KubeOvnRules) -> Iterator[Request]:
    """Yield what removes the rules of a family. Raise Refused or OSError."""
    for chain, handle in _rules(kernel, rules.family, _sets(kernel)):
        given = {1: text(FILTER), 2: text(chain), 3: handle}
        yield messages.change(messages.DELRULE, 0, given, _FAMILIES[rules.family])


def destroy(kernel: Socket, sets: KubeOvnSets) -> None:
    """Destroy the sets. Raise NodeFault for the first that the kernel refuses, OSError."""
    for name, answer in zip(sets.names, kernel.ask(*map(ipset.destroy, sets.names)), strict=True):
        if answer.error and answer.error.errno != errno.ENOENT:
            raise NodeFault(f"ipset {name}: {answer.error}")


def _sets(kernel: Socket) -> Mapping[int, ipset.IpSet]:
    return {each.number: each for each in ipset.sets(kernel) if _SET.match(each.name)}


def _rules(
    kernel: Socket, family: str, sets: Mapping[int, ipset.IpSet]
) -> Iterator[tuple[str, bytes]]:
    """Yield chain and handle of each rule."""
    request = messages.dump(messages.GETRULE, "", FILTER, _FAMILIES[family])
    for body in kernel.dump(request, empty=_NONE):
        rule = attributes(body, 4)
        if messages.name_of(rule) == FILTER and _is_theirs(rule, sets):
            yield messages.name_of(rule, 2), rule.get(3, b"")


def _is_theirs(rule: Mapping[int, bytes], sets: Mapping[int, ipset.IpSet]) -> bool:
    if COUNTER in rule.get(7, b""):  # iptables 1.8.8 and later keep a comment beside the rule
        return True
    for name, given in decode(rule.get(4, b"")):
        match = dict(given)
        if name != "match":
            continue
        kind, info = match.get(1, b"").rstrip(b"\0"), match.get(3, b"")
        if kind == b"comment" and info.startswith(COUNTER):
            return True
        if kind == b"set" and len(info) >= 2 and struct.unpack_from("=H", info)[0] in sets:
            return True
    return False
