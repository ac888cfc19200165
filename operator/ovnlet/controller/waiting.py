"""Passes that can do nothing until an address is released, and which of them a release wakes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import islice

from ovnlet.controller.context import Key
from ovnlet.core.ipam.address_requests import named_pool
from ovnlet.core.ipam.claims import Claim
from ovnlet.core.ipam.decide import Decision, Seen
from ovnlet.core.ipam.pools import IpPool
from ovnlet.core.ipam.subnets import Subnet

# One free address serves one pod. A second one tries too, in case the first has gone meanwhile.
RETRIES_PER_ADDRESS = 2


@dataclass(frozen=True, slots=True)
class Wait:
    """What a pass waits for.

    ``lacks`` are particular addresses and MACs, on any switch. ``pool`` is the name of an IPPool
    that is used up. ``full`` is whether the switch has no IPv4 address left. A pass that waits for
    none of these needs another annotation or another object. ``question`` is the UID of the
    object, the Subnet and what OVN was asked for, if it was OVN that had nothing.
    """

    switch: str
    lacks: frozenset[str] = frozenset()
    pool: str = ""
    full: bool = False
    question: tuple[str, Subnet, str] | None = None


def wait_of(claim: Claim, subnet: Subnet, decision: Decision, seen: Seen | None) -> Wait:
    """Return what a pass waits for, by its decision about the port it has seen."""
    reason = decision.event[0] if decision.event is not None else ""
    taken = reason == "AddressTaken"
    pool = named_pool(claim) if taken and not decision.lacks else ""
    answered = seen.port.addresses if seen is not None and seen.answer else None
    question = (claim.object_uid, subnet, answered) if answered is not None else None
    return Wait(subnet.name, decision.lacks, pool, reason == "SubnetFull", question)


class Waiting:
    """The passes that wait, in the order in which they began to."""

    def __init__(self, pools: Callable[[str], IpPool | None]) -> None:
        self._pools = pools
        self._waits: dict[Key, Wait] = {}
        self._idle: set[Key] = set()  # those whose pass has not been requested since it ended

    def put(self, key: Key, wait: Wait) -> None:
        """Note what a pass waits for. A pass that waited before keeps its place."""
        self._waits[key] = wait
        self._idle.add(key)

    def drop(self, key: Key) -> None:
        """Note that a pass does not wait."""
        self._waits.pop(key, None)
        self._idle.discard(key)

    def in_vain(self, key: Key, question: tuple[str, Subnet, str]) -> bool:
        """Return whether OVN had nothing for this, and no release has woken the pass since.

        Each question is a new port, whose removal is a change that requests the pass again.
        """
        return key in self._idle and self._waits[key].question == question

    def retry(self) -> None:
        """Let every pass ask OVN again: others may have released what ovnlet cannot see."""
        self._idle.clear()

    def woken_by(self, switch: str, words: frozenset[str]) -> list[Key]:
        """Return the passes to repeat after these addresses of a switch were released.

        An empty ``switch`` is one that is not known.
        They are all that ask for one of them, and the first two of each pool that has one and of
        those that wait for any address. One whose pass is already requested counts for neither.
        """
        if not words or not self._waits:
            return []
        found = [key for key, wait in self._waits.items() if wait.lacks & words]
        here = {key: wait for key, wait in self._waits.items() if switch in ("", wait.switch)}
        if any("." in word for word in words):
            found += self._first(key for key, wait in here.items() if wait.full)
        for name in {wait.pool for wait in here.values()} - {""}:
            if self._serves(name, words):
                found += self._first(key for key, wait in here.items() if wait.pool == name)
        return found

    def _serves(self, name: str, words: frozenset[str]) -> bool:
        """Return whether a pool has one of the addresses."""
        pool = self._pools(name)
        addresses = [ip_address(word) for word in words if word.count(":") != 5 or "::" in word]
        return pool is not None and any(map(pool.holds, addresses))

    def _first(self, keys: Iterator[Key]) -> list[Key]:
        idle = (key for key in keys if key in self._idle)
        found = list(islice(idle, RETRIES_PER_ADDRESS))
        self._idle -= set(found)
        return found
