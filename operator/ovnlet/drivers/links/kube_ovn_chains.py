"""Chains that kube-ovn-cni left in tables of `iptables-nft`, and the rules that lead to them.

They translate what our table leaves as it is, until a reboot. A chain is kube-ovn-cni's by its
name; those of OVN-Kubernetes have others. Its rules in chains of others: ``kube_ovn_rules``.
"""

import errno
from collections.abc import Iterator

from ovnlet.core.resources.gateway import OF_KUBE_OVN, KubeOvnChains
from ovnlet.drivers.linux import nft_messages as messages
from ovnlet.drivers.linux.nft_expressions import decode, text
from ovnlet.drivers.linux.transport import Request, Socket, attributes

_NAMES = frozenset(
    {"OVN-PREROUTING", "OVN-POSTROUTING", "OVN-OUTPUT", "OVN-MASQUERADE", "OVN-NAT-POLICY"}
)
_OF_SUBNET = "OVN-NAT-PSUBNET-"
_FAMILIES = {"ip": messages.IPV4, "ip6": messages.IPV6}
_NONE = frozenset({errno.ENOENT, errno.EAFNOSUPPORT, errno.EOPNOTSUPP})


def is_theirs(chain: str) -> bool:
    """Return whether a chain of this name is kube-ovn-cni's."""
    return chain in _NAMES or chain.startswith(_OF_SUBNET)


def observe(kernel: Socket) -> Iterator[KubeOvnChains]:
    """Yield the chains of each table that has any. Raise Refused or OSError."""
    for word, family in _FAMILIES.items():
        found: dict[str, set[str]] = {}
        for body in kernel.dump(messages.dump(messages.GETCHAIN, "", "", family), empty=_NONE):
            chain = attributes(body, 4)
            table, name = messages.name_of(chain), messages.name_of(chain, 3)
            if table in OF_KUBE_OVN and is_theirs(name):
                found.setdefault(table, set()).add(name)
        for table, names in sorted(found.items()):
            yield KubeOvnChains(word, table, tuple(sorted(names)))


def removal(kernel: Socket, chains: KubeOvnChains) -> Iterator[Request]:
    """Yield what removes the rules that lead to the chains, then the chains."""
    family, table = _FAMILIES[chains.family], {1: text(chains.table)}
    request = messages.dump(messages.GETRULE, "", chains.table, family)
    for body in kernel.dump(request, empty=_NONE):
        rule = attributes(body, 4)
        within = messages.name_of(rule, 2)
        if messages.name_of(rule) != chains.table or within in chains.names:
            continue
        if _target(rule.get(4, b"")) in chains.names:
            given = table | {2: text(within), 3: rule.get(3, b"")}
            yield messages.change(messages.DELRULE, 0, given, family)
    for name in chains.names:
        yield messages.change(messages.DELRULE, 0, table | {2: text(name)}, family)
    for name in chains.names:
        yield messages.change(messages.DELCHAIN, 0, table | {3: text(name)}, family)


def _target(expressions: bytes) -> str:
    """Return the chain that a rule jumps to, empty if it jumps to none."""
    for name, given in decode(expressions):
        if name == "immediate":
            verdict = attributes(attributes(dict(given).get(2, b"")).get(2, b""))
            if 2 in verdict:
                return messages.name_of(verdict, 2)
    return ""
