"""Observe and change ovnlet's table of nftables by netlink, each change in one transaction.

Everything in the table is ours, and nothing in any other. The socket stays open: closing one that
has changed tables waits 12 ms for the kernel's readers.
"""

import errno
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

from ovnlet.core.errors import NodeFault
from ovnlet.core.plan import Step, Verb
from ovnlet.core.resources import (
    Accepts,
    KubeOvnChains,
    KubeOvnRules,
    KubeOvnSets,
    Network,
    NftChain,
    NftCounter,
    NftSet,
    NftTable,
    Resource,
)
from ovnlet.core.resources.nft_statements import Rule
from ovnlet.core.resources.nftables import TABLE, Elements, Rules
from ovnlet.drivers.links import accepts, kube_ovn_chains, kube_ovn_rules
from ovnlet.drivers.linux import nft_messages as messages
from ovnlet.drivers.linux.nft_expressions import (
    Encoded,
    be32,
    comparable,
    decode,
    payload,
    rule,
    text,
)
from ovnlet.drivers.linux.transport import (
    ACK,
    NETFILTER,
    Refused,
    Request,
    Socket,
    attributes,
)

# The answers of kernels without nf_tables.
ABSENT = frozenset({errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.EINVAL, errno.EOPNOTSUPP})
_GONE = frozenset({errno.ENOENT})


class Count(NamedTuple):
    """What a counter has counted."""

    name: str
    size: int
    packets: int


class Tables:
    """The kernel's nf_tables of the namespace in which the first question was asked."""

    def __init__(self) -> None:
        self._socket: Socket | None = None

    def close(self) -> None:
        """Close the socket. The next question opens one again."""
        if self._socket is not None:
            self._socket.__exit__(None, None, None)
            self._socket = None

    def is_there(self) -> bool:
        """Return whether this kernel has nf_tables.

        Raise NodeFault if the kernel denies the question, for example without the right to ask.
        """
        try:
            self._dump(messages.GETTABLE)
        except OSError as error:
            self.close()
            if error.errno in ABSENT:
                return False
            raise NodeFault(f"nf_tables: {error.strerror}") from error
        except Refused as error:
            if error.errno in ABSENT:
                return False
            raise
        return True

    def firewall(self) -> frozenset[tuple[str, str]]:
        """Return the chains of iptables that may drop what pods send. Raise Refused or OSError."""
        return accepts.chains(self._open)

    def kube_ovn_sets(self) -> frozenset[int]:
        """Return the numbers of kube-ovn-cni's sets of ipset. Raise Refused or OSError."""
        return kube_ovn_rules.numbers(self._open)

    def observe(self, desired: Network) -> Network:
        """Return the table with all that is in it, and our rules in chains of iptables.

        Rules that are not as ``desired`` has them are only counted. Raise Refused or OSError.
        """
        wanted = [each for each in desired if isinstance(each, Accepts)]
        found = self._own_table(desired) | frozenset(accepts.observe(self._open, wanted))
        if found and desired:  # what another agent left goes when ours is there, not before
            found |= frozenset(kube_ovn_chains.observe(self._open))
            found |= frozenset(kube_ovn_rules.observe(self._open))
        return found

    def _own_table(self, desired: Network) -> Network:
        tables = list(self._of_table(messages.GETTABLE))
        if not tables:
            return frozenset()
        wanted = {each.key: each.rules for each in desired if isinstance(each, NftChain)}
        return frozenset(
            {
                NftTable(dormant=any(tables[0].get(2, b""))),
                *self._chains(wanted),
                *self._sets(),
                *(NftCounter(each.name) for each in self.counts()),
            }
        )

    def counts(self) -> list[Count]:
        """Return the counters of the table. Raise Refused or OSError."""
        found = map(messages.counted, self._of_table(messages.GETOBJECT))
        return [Count(*each) for each in found if each is not None]

    def carry_out(self, steps: Sequence[Step]) -> None:
        """Carry out the steps in one transaction. Raise NodeFault if the kernel refuses it.

        A dormant table wakes up before: the kernel refuses to change its hooks in the same one.
        """
        try:
            if any(isinstance(step.was, NftTable) and step.verb is Verb.ENSURE for step in steps):
                self.transact([messages.change(messages.NEWTABLE, messages.CREATE, _AWAKE)])
            self.transact(list(_changes(steps)))
        except Refused as error:
            raise NodeFault(f"{'; '.join(map(str, steps))}: {error}") from error

    def change_iptables(self, step: Step) -> None:
        """Carry out a step on chains of iptables. Raise NodeFault if refused."""
        match step.resource:
            case Accepts() as wanted:
                removed = step.verb is Verb.REMOVE
                changes = list(accepts.changes(self._open, wanted, removed=removed))
            case KubeOvnChains() as chains:
                changes = list(kube_ovn_chains.removal(self._open, chains))
            case KubeOvnRules() as rules:
                changes = list(kube_ovn_rules.removal(self._open, rules))
            case KubeOvnSets() as sets:
                kube_ovn_rules.destroy(self._open, sets)
                return
            case _:
                raise NodeFault(f"{step}: not for a chain of iptables")
        if not changes:
            return
        try:
            self.transact(changes)
        except Refused as error:
            raise NodeFault(f"{step}: {error}") from error

    def transact(self, changes: Sequence[Request]) -> None:
        """Have the kernel carry out all changes or none. Raise Refused or OSError."""
        last = changes[-1]._replace(flags=changes[-1].flags | ACK)
        try:
            self._open.transact(*messages.batch([*changes[:-1], last]))
        except OSError:
            self.close()
            raise

    def _chains(self, wanted: dict[tuple[object, ...], Rules]) -> Iterator[NftChain]:
        by_chain: dict[str, list[Encoded]] = {}
        for found in self._of_table(messages.GETRULE):
            rules = by_chain.setdefault(messages.name_of(found, 2), [])
            rules.append(comparable(decode(found.get(4, b""))))
        for found in self._of_table(messages.GETCHAIN):
            name, hook = messages.name_of(found, 3), messages.hook_of(found)
            accepts = hook is None or found.get(5, be32(1)) == be32(1)
            seen = NftChain(name, hook, Rules(()), accepts=accepts)
            rules = by_chain.get(name, [])
            expected = wanted.get(seen.key, Rules(()))
            same = [_expected(each) for each in expected.of] == rules
            yield NftChain(name, hook, expected if same else Rules((), len(rules)), accepts)

    def _sets(self) -> Iterator[NftSet]:
        for found in self._of_table(messages.GETSET):
            name, kind = messages.name_of(found, 2), messages.kind_of(found)
            if messages.is_anonymous(found):
                continue  # it goes with the foreign rule that it is a part of
            bodies = self._dump(messages.GETELEMENT, name) if kind else ()
            yield NftSet(name, kind, messages.elements_of(kind, bodies))

    def _of_table(self, kind: int) -> Iterator[dict[int, bytes]]:
        for body in self._dump(kind):
            found = attributes(body, 4)
            if messages.name_of(found) == TABLE:
                yield found

    def _dump(self, kind: int, within: str = "") -> list[bytes]:
        try:
            return self._open.dump(messages.dump(kind, within), empty=_GONE)
        except OSError:
            self.close()
            raise

    @property
    def _open(self) -> Socket:
        if self._socket is None:
            self._socket = Socket(NETFILTER)
            with suppress(OSError):  # a smaller transaction still fits
                self._socket.allow_large_requests()
        return self._socket


@lru_cache(maxsize=4096)
def _expected(wanted: Rule) -> Encoded:
    return comparable(rule(wanted))


def _changes(steps: Iterable[Step]) -> Iterator[Request]:
    """Yield the changes: what goes first, because what comes may have its name.

    The rules of each chain go before it, and before the sets and the chains that they name. The
    kernel refuses to delete a table that is not there, so it is made first.
    """
    went = [step.resource for step in steps if step.verb is Verb.REMOVE]
    came = [step for step in steps if step.verb is Verb.ENSURE]
    yield messages.change(messages.NEWTABLE, messages.CREATE, _AWAKE)
    if any(isinstance(each, NftTable) for each in went):
        yield messages.change(messages.DELTABLE, 0, _TABLE)
        went = []
    yield from _removals(went, [step for step in came if step.was is not None])
    if came:
        yield messages.change(messages.NEWTABLE, messages.CREATE, _AWAKE)
    yield from _arrivals(came)
    for each in went:
        if isinstance(each, NftCounter):  # only now no element leads to it
            yield messages.delete_counter(each.name)


def _arrivals(came: Sequence[Step]) -> Iterator[Request]:
    """Yield counters, then sets with their elements, then chains, and at last their rules."""
    for step in came:
        if isinstance(step.resource, NftCounter):
            yield messages.new_counter(step.resource.name)
    for number, step in enumerate(came, 1):
        yield from _set_changes(step, number)
    chains = [step.resource for step in came if isinstance(step.resource, NftChain)]
    for chain in chains:
        yield messages.chain(messages.NEWCHAIN, chain)
    for chain in chains:
        yield from _rules(chain)


_TABLE = {1: text(TABLE)}
_AWAKE = _TABLE | {2: be32(0)}


def _removals(went: Sequence[Resource], changed: Sequence[Step]) -> Iterator[Request]:
    chains = [each for each in went if isinstance(each, NftChain)]
    for chain in (*chains, *(step.was for step in changed)):
        if isinstance(chain, NftChain):
            yield messages.change(messages.DELRULE, 0, _TABLE | {2: text(chain.name)})
    for chain in chains:
        yield messages.chain(messages.DELCHAIN, chain)
    for each in went:
        if isinstance(each, NftSet):
            yield messages.named(messages.DELSET, 0, each.name)


def _set_changes(step: Step, number: int) -> Iterator[Request]:
    """Yield what makes a set, and what gives it its elements.

    A foreign element need not be one that can be named here: an interval may be no prefix, and `*`
    has no key. So a set from which one goes is emptied and filled again.
    """
    wanted, was = step.resource, step.was
    if not isinstance(wanted, NftSet):
        return
    before: frozenset[object] = frozenset()
    if not isinstance(was, NftSet):
        yield messages.new_set(wanted, number)
    elif was.elements.of - wanted.elements.of:
        yield messages.named(messages.DELELEMENT, 0, wanted.name)
    else:
        before = was.elements.of
    added = Elements(frozenset(each for each in wanted.elements.of if each not in before))
    yield from messages.new_elements(wanted, added)


def _rules(chain: NftChain) -> Iterator[Request]:
    for each in chain.rules.of:
        given = _TABLE | {2: text(chain.name), 4: payload(rule(each))}
        yield messages.change(messages.NEWRULE, messages.CREATE | messages.APPEND, given)
