"""Sessions of controllers with a northbound database in memory, which takes time as the real one.

Transactions are committed in the order in which they were sent. northd answers a moment later. All
sessions see each change; the one that made it sees it before its call returns.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

from kit.strict_northbound import StrictNorthbound
from ovnlet.core.allocation import Address
from ovnlet.core.errors import NodeFault, Taken
from ovnlet.core.ipam.claims import Owner
from ovnlet.core.ipam.decide import Seen
from ovnlet.core.plan import Step
from ovnlet.core.resources.northbound import (
    ABSENT,
    LoadBalancerGroup,
    Policy,
    Router,
    Row,
    Rows,
    StaticRoute,
    SwitchPort,
)

Changed = Callable[[str, str], None]
Change = tuple[str, str]
# Seconds from a call to its commit, and from a commit to the answers of northd.
COMMIT, NORTHD = 0.002, 0.005


@dataclass
class MemoryDatabase:
    """The database, with the sessions that are told of changes.

    ``foreign`` are names of switches, routers and ports that somebody else made.
    """

    strict: StrictNorthbound = field(default_factory=StrictNorthbound)
    foreign: set[str] = field(default_factory=set)
    sessions: list["MemoryNorthbound"] = field(default_factory=list)
    transactions: int = 0
    _answering: asyncio.TimerHandle | None = None

    @classmethod
    def careless(cls, seed: int) -> "MemoryDatabase":
        """Return one whose northd makes mistakes under load."""
        return cls(StrictNorthbound(careless=Random(seed)))

    def commit(self, plan: Sequence[Step[Row]], guard: str | None) -> None:
        """Apply a plan as a whole. Raise NodeFault if the guard is not what OVN chose."""
        self.transactions += 1
        if guard is not None:
            (port,) = [step.resource for step in plan if isinstance(step.resource, SwitchPort)]
            if self.strict.answers.get(port.name, "") != guard:
                raise NodeFault("guard")
        changes: set[Change] = set()
        for step in plan:
            changes.add(self._change(step))
            self.strict.apply(step)
        self._tell(changes)
        if self._answering is None:
            loop = asyncio.get_running_loop()
            self._answering = loop.call_later(NORTHD, self._northd)

    @staticmethod
    def _change(step: Step[Row]) -> Change:
        row = step.resource
        if not isinstance(row, SwitchPort) or row.type in ("router", "localnet"):
            return "", ""
        return row.name, row.switch

    def _northd(self) -> None:
        self._answering = None
        names = self.strict.northd()
        ports = [self.strict.port(name) for name in names]
        self._tell({(seen.port.name, seen.port.switch) for seen in ports if seen})

    def _tell(self, changes: Iterable[Change]) -> None:
        for change in sorted(changes):
            for session in list(self.sessions):
                session.changed(*change)


class MemoryNorthbound:
    """One controller's session with a database. All rows that are not foreign are ours."""

    def __init__(self, database: MemoryDatabase) -> None:
        self.database = database
        self.changed: Changed = lambda _port, _switch: None
        self.connected = True
        self.writes: list[Step[Row]] = []

    async def ready(self) -> None:
        """Return at once: it is connected."""

    async def lead(self, term: object, /) -> None:
        """Return at once: nobody else writes."""

    def _own(self, what: str, name: str) -> None:
        if name in self.database.foreign:
            raise Taken(f"{what} {name} was not made by ovnlet")

    def port(self, name: str) -> Seen | None:
        """Return a port. Raise Taken if it is foreign."""
        self._own("logical switch port", name)
        return self.database.strict.port(name)

    def every_port(self) -> list[SwitchPort]:
        """Return our ports, without those of a subnet itself."""
        every = self.database.strict.every_port()
        return [port for port in every if port.type not in ("router", "localnet")]

    def ports(self, switch: str) -> Iterable[SwitchPort]:
        """Return our ports of one switch."""
        return [port for port in self.every_port() if port.switch == switch]

    def has(self, *, switch: str = "", router: str = "", group: str = "") -> bool:
        """Return whether there is such a switch, router or group, ours or not."""
        names = {switch, router, group} - {""}
        keys = {("switch", switch), ("router", router), LoadBalancerGroup(group).key}
        there = keys & self.database.strict.rows.keys()
        return bool(there or names & self.database.foreign)

    def switches(self) -> list[str]:
        """Return the names of our switches."""
        return [str(key[1]) for key in self.database.strict.rows if key[0] == "switch"]

    def subnet(self, switch: str, router: str) -> Rows:
        """Return a subnet's rows. Raise Taken if one of them is foreign."""
        link = f"{switch}-{router}"
        self._own("Logical_Switch", switch)
        self._own("Logical_Switch_Port", link)
        rows = self.database.strict.rows
        keys = (
            ("switch", switch),
            ("switch port", switch, link),
            ("switch port", switch, f"localnet.{switch}"),
            ("router port", router, f"{router}-{switch}"),
        )
        return frozenset(rows[key] for key in keys if key in rows)

    def network(self, router: str) -> Rows:
        """Return the router's own row, routes and policies. Raise Taken if it is foreign."""
        self._own("Logical_Router", router)
        rows = self.database.strict.rows
        kinds = (Router, LoadBalancerGroup, StaticRoute, Policy)
        return frozenset(row for row in rows.values() if isinstance(row, kinds))

    def balancers(self, _: Owner) -> Rows:
        """Return the load balancers of a Service: none."""
        return ABSENT

    def balanced(self) -> set[str]:
        """Return the Services that have load balancers: none."""
        return set()

    def holder(self, address: Address | str, besides: str) -> str | None:
        """Return another port that has this address."""
        return self.database.strict.holder(address, besides)

    async def apply(self, plan: Sequence[Step[Row]], guard: str | None = None) -> None:
        """Commit the plan. What was sent is committed, even if the caller is cancelled."""
        if not plan:
            return
        self.writes += plan
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(COMMIT, self._commit, plan, guard, done)
        await asyncio.shield(done)

    def _commit(
        self, plan: Sequence[Step[Row]], guard: str | None, done: asyncio.Future[None]
    ) -> None:
        try:
            self.database.commit(plan, guard)
        except Exception as error:  # noqa: BLE001 - as the server's answer
            done.set_exception(error)
            done.exception()  # its caller may have been cancelled
        else:
            done.set_result(None)
