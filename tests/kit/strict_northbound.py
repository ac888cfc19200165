"""An OVN northbound database in memory.

It refuses and deletes what the real one does, and answers requests for addresses as northd does.
"""

from dataclasses import dataclass, field
from ipaddress import IPv4Network, ip_network

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

    A row needs its parent and is deleted with it. The name of a port is unique.
    """

    rows: dict[tuple[object, ...], Row] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    writes: int = 0

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
            if any(
                r.name == row.name and r.key != row.key
                for r in self.rows.values()
                if isinstance(r, SwitchPort)
            ):
                raise Refused(f"a port {row.name} is there already")
            if not row.addresses.startswith("dynamic"):
                self.answers.pop(row.name, None)
        self.rows[row.key] = row

    def _remove(self, key: tuple[object, ...]) -> None:
        if gone := self.rows.pop(key, None):
            self.answers.pop(getattr(gone, "name", ""), None)
        for child in [child.key for child in self.rows.values() if child.within == key]:
            self._remove(child)

    def port(self, name: str) -> Seen | None:
        """Return the switch port of that name with OVN's answer, None if there is none."""
        found = next(
            (r for r in self.rows.values() if isinstance(r, SwitchPort) and r.name == name), None
        )
        return Seen(found, self.answers.get(name, "")) if found is not None else None

    def holder(self, address: Address | str, besides: str = "") -> str | None:
        """Return the port that has an address, None if it is free; ignore the port ``besides``."""
        return next(
            (n for n, text in self._held() if n != besides and str(address) in text.split()), None
        )

    def _held(self) -> list[tuple[str, str]]:
        ports = [row for row in self.rows.values() if isinstance(row, SwitchPort)]
        texts = [(port.name, self.answers.get(port.name, port.addresses)) for port in ports]
        return [(name, text) for name, text in texts if bound(text)]

    def northd(self) -> None:
        """Answer each `dynamic` port, as ovn-northd does.

        It gives the requested IPv4 address if that is free, else the next free one, else none.
        """
        for port in [row for row in self.rows.values() if isinstance(row, SwitchPort)]:
            if port.addresses.startswith("dynamic") and port.name not in self.answers:
                self.answers[port.name] = self._choose(port)

    def _choose(self, port: SwitchPort) -> str:
        switch = next(
            row for row in self.rows.values() if isinstance(row, Switch) and row.name == port.switch
        )
        config = dict(switch.config)
        number = 1 + len(self.answers) + len(self._held())
        words = [f"0a:00:00:00:00:{number:02x}"]
        requested = port.addresses.split()[1:]
        if "subnet" in config:
            network = ip_network(config["subnet"])
            assert isinstance(network, IPv4Network)
            excluded = config["exclude_ips"].split()
            free = [a for a in network.hosts() if str(a) not in excluded and self.holder(a) is None]
            four = next(
                (w for w in requested if w in {str(a) for a in free}), str(free[0]) if free else ""
            )
            words += [four] if four else []
        if "ipv6_prefix" in config:
            words.append(str(ip_network(f"{config['ipv6_prefix']}/64")[0x1000 + number]))
        return " ".join(words)


def _is_grouped(row: Row) -> bool:
    """Return whether a row has a reference to or from our group of load balancers."""
    return (isinstance(row, LoadBalancer) and row.grouped) or (
        isinstance(row, Switch) and row.balanced
    )
