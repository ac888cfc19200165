"""A node with one NIC in memory, and an agent with the scope of provider networks on it."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kit.memory import NoWatch, Recorded
from ovnlet.core.errors import NodeFault, NotReady, Unsafe
from ovnlet.core.plan import Plan, Verb
from ovnlet.core.resources import LinkEntry, LinkUp, Network, Resource
from ovnlet.core.underlay.networks import Intent, ProviderIdentity, Wanted
from ovnlet.core.underlay.record import Found, Record
from ovnlet.reconcile.loop import Loop
from ovnlet.reconcile.scopes.provider import ProviderScope
from ovnlet.reconcile.scopes.provider_reports import Labels, ProviderReports
from ovnlet.reconcile.uplink_host import Turn

INTENT = Intent("net1", "eth0", "br-net1", (0,), "u/1")
ADDRESS = LinkEntry("eth0", "address", "192.0.2.10/24", b"a")
GATEWAY, API = "gateway 192.0.2.1", "API server 192.0.2.1 6443"


class Nothing:
    """Stands for parts that these tests do not reach."""

    server = "https://192.0.2.1:6443"

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


@dataclass
class Disk:
    """The records, which a restarted agent finds."""

    records: dict[str, Record] = field(default_factory=dict)
    full: bool = False

    def read(self) -> Iterator[Record]:
        yield from list(self.records.values())

    def write(self, record: Record) -> None:
        if self.full:
            raise NodeFault("the disk is full")
        self.records[record.intent.network] = record

    def remove(self, network: str) -> None:
        self.records.pop(network, None)


@dataclass
class Nic:
    """A node with one NIC.

    ``silent_by`` are those who do not answer by a link, as (link, who). With ``hangs`` its OVSDB
    does not answer; with ``hangs_soon`` it stops to when a move begins.
    """

    present: set[Resource] = field(default_factory=lambda: {ADDRESS, LinkUp("eth0")})
    silent_by: set[tuple[str, str]] = field(default_factory=set)
    unsafe: str = ""
    refuses: bool = False
    hangs: bool = False
    hangs_soon: bool = False
    steps: int = 0
    address: LinkEntry = ADDRESS

    async def ready(self) -> None:
        if self.hangs:
            raise NotReady("OVSDB does not answer")

    async def observe(self, _: ProviderIdentity, desired: Network) -> Network:
        del desired
        return frozenset(self.present)

    async def apply(self, _: ProviderIdentity, plan: Plan) -> None:
        for step in plan:
            if (
                self.refuses
                and isinstance(step.resource, LinkEntry)
                and step.resource.link != "eth0"
            ):
                raise NodeFault("the kernel refuses")
            self.present = {each for each in self.present if each.key != step.resource.key}
            if step.verb is Verb.ENSURE:
                self.present.add(step.resource)
            self.steps += 1

    def capture(self, _: Intent) -> Found:
        if self.unsafe:
            raise Unsafe(self.unsafe)
        return Found((self.address,), "02:00:00:00:00:01", "", "02:00:00:00:00:02")

    def entries(self, nic: str, *others: str) -> tuple[LinkEntry, ...]:
        links = {nic, *others}
        found = [
            each for each in self.present if isinstance(each, LinkEntry) and each.link in links
        ]
        return tuple(replace(each, link=nic) for each in found)

    def disputes(self, _: Intent) -> tuple[str, ...]:
        return ()

    async def checks(self, intent: Intent) -> tuple[str, ...]:
        self.hangs = self.hangs_soon
        return tuple(each for each in (GATEWAY, API) if (intent.nic, each) not in self.silent_by)

    async def silent(self, link: str, checks: Sequence[str]) -> str:
        found = next((each for each in checks if (link, each) in self.silent_by), "")
        await asyncio.sleep(0.9 if found else 0.001)  # an answer that does not come is waited for
        return found

    @property
    def has_address(self) -> str:
        (found,) = [each.link for each in self.present if isinstance(each, LinkEntry)]
        return found


class Agent:
    """The loop with the scope of provider networks."""

    def __init__(self, nic: Nic, disk: Disk, turn: Turn | None = None) -> None:
        self.nic, self.disk, self.loop = nic, disk, Loop()
        self.events: list[tuple[str, str]] = []
        self.labels: Labels = frozenset()
        reports = ProviderReports(
            lambda _, __, reason, text: self.events.append((reason, text)),
            lambda labels: setattr(self, "labels", labels),
            lambda _: 9000,
        )
        self.scope = ProviderScope(
            nic,
            disk,
            self.loop.passes("provider"),
            Recorded("provider"),
            reports,
            watch=NoWatch(),
            timeout=30,
            turn=turn,
            now=asyncio.get_running_loop().time,
        )
        self.loop.keep("provider", self.scope)
        self.scope.load()
        self.task = asyncio.create_task(self.scope.run())

    def put(self, *intents: Intent, refused: str = "") -> None:
        wanted = {each.network: each for each in intents}
        self.scope.put(Wanted(wanted, {"net1": refused} if refused else {}))

    @property
    def phase(self) -> str:
        return self.disk.records["net1"].phase if self.disk.records else "none"

    async def until(self, phase: str) -> float:
        """Wait until the record has the phase; return the seconds that passed."""
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(200):
            while self.phase != phase:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return asyncio.get_running_loop().time() - began
