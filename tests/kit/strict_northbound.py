"""An OVN northbound database in memory.

It refuses and deletes what the real one does, and answers requests for addresses as northd does.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, ip_network
from random import Random

from ovnlet.core.allocation import Address
from ovnlet.core.ipam.claims import bound
from ovnlet.core.ipam.decide import Seen
from ovnlet.core.plan import Step, Verb
from ovnlet.core.resources.northbound import (
    GROUP,
    LoadBalancer,
    LoadBalancerGroup,
    Row,
    Rows,
    Switch,
    SwitchPort,
)


class Refused(Exception):
    """The real database would refuse the transaction."""


@dataclass
class StrictNorthbound:
    """The rows by key.

    A row needs its parent and is deleted with it. The name of a port is unique. With ``careless``
    northd gives some ports the address of another one, as the real one does under load.
    """

    rows: dict[tuple[object, ...], Row] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    writes: int = 0
    careless: Random | None = None

    def __post_init__(self) -> None:
        """Build the indexes."""
        self._ports: dict[str, SwitchPort] = {}
        self._holders: defaultdict[str, set[str]] = defaultdict(set)
        self._unanswered: set[str] = set()
        self._unstable: set[str] = set()  # ports that ask for an address that is excluded
        self._macs = 0
        for row in self.rows.values():
            self._put(row)

    @property
    def all(self) -> Rows:
        """All rows."""
        return frozenset(self.rows.values())

    def apply(self, step: Step[Row]) -> None:
        """Apply one step of a plan. Raise Refused if the real database would."""
        row, self.writes = step.resource, self.writes + 1
        if step.verb is Verb.REMOVE:
            self._remove(row.key)
            return
        if row.within is not None and row.within not in self.rows:
            raise Refused(f"{row.key}: {row.within} is not there")
        if _is_grouped(row) and LoadBalancerGroup(GROUP).key not in self.rows:
            raise Refused(f"{row.key}: the group is not there")
        if isinstance(row, SwitchPort):
            there = self._ports.get(row.name)
            if there is not None and there.key != row.key:
                raise Refused(f"a port {row.name} is there already")
            if not row.addresses.startswith("dynamic"):
                self._answer(row.name, "")
        self._put(row)

    def _put(self, row: Row) -> None:
        self.rows[row.key] = row
        if not isinstance(row, SwitchPort):
            return
        self._forget(row.name)
        self._ports[row.name] = row
        if binding := bound(row.addresses):
            for each in str(binding).split():
                self._holders[each].add(row.name)
        elif row.name not in self.answers and row.addresses.startswith("dynamic"):
            self._unanswered.add(row.name)

    def _forget(self, name: str) -> None:
        self._unanswered.discard(name)
        self._unstable.discard(name)
        if (old := self._ports.pop(name, None)) is not None:
            for each in old.addresses.split():
                self._holders[each].discard(name)

    def _remove(self, key: tuple[object, ...]) -> None:
        gone = self.rows.pop(key, None)
        if isinstance(gone, SwitchPort):
            self._answer(gone.name, "")
            self._forget(gone.name)
        elif gone is not None:
            for child in [child.key for child in self.rows.values() if child.within == key]:
                self._remove(child)

    def port(self, name: str) -> Seen | None:
        """Return the switch port of that name with OVN's answer, None if there is none."""
        found = self._ports.get(name)
        return Seen(found, self.answers.get(name, "")) if found is not None else None

    def every_port(self) -> list[SwitchPort]:
        """Return all switch ports."""
        return list(self._ports.values())

    def holder(self, address: Address | str, besides: str = "") -> str | None:
        """Return the port that has an address, None if it is free; ignore the port ``besides``."""
        names = self._holders.get(str(address), ())
        return next((name for name in sorted(names) if name != besides), None)

    def northd(self) -> list[str]:
        """Answer each `dynamic` port, as ovn-northd does, and return their names.

        It gives the requested IPv4 address if that is free, else the next free one, else none. One
        that `exclude_ips` has is taken back by each second run, as version 25.03 does.
        """
        answered = sorted(self._unanswered | self._unstable)
        for name in answered:
            self._answer(name, self._choose(self._ports[name]))
        self._unanswered.clear()
        return answered

    def _answer(self, name: str, text: str) -> None:
        """Set OVN's answer for a port, or remove it."""
        for each in self.answers.pop(name, "").split():
            self._holders[each].discard(name)
        if text:
            self.answers[name] = text
            for each in text.split():
                self._holders[each].add(name)

    def _choose(self, port: SwitchPort) -> str:
        switch = self.rows["switch", port.switch]
        assert isinstance(switch, Switch)
        config = dict(switch.config)
        self._macs += 1
        words = ["0a:00:00:" + ":".join(f"{b:02x}" for b in self._macs.to_bytes(3))]
        requested = port.addresses.split()[1:]
        if "subnet" in config:
            free = self._free(config)
            four = next((w for w in requested if self._is_free(config, w)), None) or next(free, "")
            if set(requested) & _excluded(config["exclude_ips"]):
                self._unstable.add(port.name)
            if self.careless is not None and self.careless.random() < 0.05:
                others = [a for a in self.answers.values() if a.count(".") == 3]
                same = [a.split()[1] for a in others if self._inside(config, a.split()[1])]
                four = same[-1] if same else four
            words += [four] if four else []
        if "ipv6_prefix" in config:
            six = next((w for w in requested if ":" in w and not self._holders.get(w)), None)
            words.append(six or str(ip_network(f"{config['ipv6_prefix']}/64")[0x1000 + self._macs]))
        return " ".join(words)

    def _free(self, config: dict[str, str]) -> Iterator[str]:
        """Yield the IPv4 addresses that OVN may give away, in its order."""
        network = ip_network(config["subnet"])
        assert isinstance(network, IPv4Network)
        excluded = _excluded(config["exclude_ips"])
        low, high = int(network.network_address) + 1, int(network.broadcast_address)
        for number in range(low, high):
            text = str(IPv4Address(number))
            if text not in excluded and not self._holders.get(text):
                yield text

    def _is_free(self, config: dict[str, str], word: str) -> bool:
        """Return whether a requested address is inside the subnet and free; OVN asks no more."""
        return self._inside(config, word) and not self._holders.get(word)

    @staticmethod
    def _inside(config: dict[str, str], word: str) -> bool:
        return ":" not in word and IPv4Address(word) in ip_network(config["subnet"])


@lru_cache(maxsize=64)
def _excluded(text: str) -> frozenset[str]:
    """Return the addresses of an `exclude_ips`."""
    spans = [(first, last or first) for first, _, last in map(_partition, text.split())]
    return frozenset(
        str(IPv4Address(number))
        for first, last in spans
        for number in range(int(IPv4Address(first)), int(IPv4Address(last)) + 1)
    )


def _partition(word: str) -> tuple[str, str, str]:
    return word.partition("..")


def _is_grouped(row: Row) -> bool:
    """Return whether a row has a reference to or from our group of load balancers."""
    return (isinstance(row, LoadBalancer) and row.grouped) or (
        isinstance(row, Switch) and row.balanced
    )
