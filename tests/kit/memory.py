"""The loop with all its parts, on a node, records and an API server in memory."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from ovnlet.core.annotations import switch
from ovnlet.core.errors import NotReady
from ovnlet.core.identity import Attachment, AttachmentKey, Identity, Life, Node, Pod, Record
from ovnlet.core.plan import Plan, Verb
from ovnlet.core.resources import ABSENT, Network, Offload, Resource, Veth
from ovnlet.core.settings import Repair
from ovnlet.reconcile.attaching import Attaching
from ovnlet.reconcile.loop import Loop
from ovnlet.reconcile.outcome import Outcome
from ovnlet.reconcile.owners import OwnerIndex
from ovnlet.reconcile.scope import Key
from ovnlet.reconcile.scopes.pod import PodScope
from ovnlet.reconcile.state import State
from ovnlet.reconcile.status import Status

BUDGET = 110.0
UID = "8a3b2f64-0000-4000-8000-000000000001"
COMPLETE = {
    "ovn.kubernetes.io/ip_address": "10.16.0.5",
    "ovn.kubernetes.io/cidr": "10.16.0.0/16",
    "ovn.kubernetes.io/gateway": "10.16.0.1",
    "ovn.kubernetes.io/mac_address": "0a:00:00:00:00:05",
    "ovn.kubernetes.io/logical_switch": "ovn-default",
    "ovn.kubernetes.io/allocated": "true",
    "ovn.kubernetes.io/routed": "true",
}


@dataclass
class MemoryHost:
    """A node that keeps each network as a set. OVN installs each `iface-id` unless set not to."""

    networks: dict[AttachmentKey, Network] = field(default_factory=dict)
    dead: set[AttachmentKey] = field(default_factory=set)
    installs: asyncio.Event = field(default_factory=asyncio.Event)
    joins: asyncio.Event = field(default_factory=asyncio.Event)
    fault: str | None = None
    node: Node = field(default_factory=lambda: Node("br-int", 1400, True))
    announced: list[tuple[AttachmentKey, Network]] = field(default_factory=list)
    asked: list[AttachmentKey] = field(default_factory=list)
    holder: tuple[str, str] | None = None
    holders_of: dict[str, list[tuple[str, Attachment | None]]] = field(default_factory=dict)

    def holders(self, iface_id: str) -> list[tuple[str, Attachment | None]]:
        """Return the live ports that have an `iface-id`, with what their labels tell of."""
        return self.holders_of.get(iface_id, [])

    async def ready(self) -> None:
        """Nothing is needed first."""

    def pod_end(self, attachment: Attachment) -> tuple[str, str] | None:
        """Return name and MAC of the pod's end as they are."""
        there = self.networks.get(attachment.key, ABSENT)
        return next(((each.pod, each.mac) for each in there if isinstance(each, Veth)), None)

    def life(self, attachment: Attachment) -> Life:
        return Life.DEAD if attachment.key in self.dead else Life.ALIVE

    async def observe(self, attachment: Attachment, desired: Network) -> Network:
        await asyncio.sleep(0)
        there = self.networks.get(attachment.key, ABSENT)
        wanted = next((each for each in desired if isinstance(each, Veth) and each.lent), None)
        return there if wanted is None else frozenset(_as_lent(each, wanted) for each in there)

    async def apply(self, attachment: Attachment, plan: Plan) -> None:
        for step in plan:
            await asyncio.sleep(0.001)
            now = {r.key: r for r in self.networks.get(attachment.key, ABSENT)}
            now.pop(step.resource.key, None)
            if step.verb is Verb.ENSURE:
                now[step.resource.key] = step.resource
            self.networks[attachment.key] = frozenset(now.values())

    async def installed(self, attachment: Attachment) -> None:
        await self.installs.wait()

    async def joined(self, switch: str) -> None:
        await self.joins.wait()

    async def announce(self, attachment: Attachment, network: Network) -> None:
        self.announced.append((attachment.key, network))

    async def other_holder(self, attachment: Attachment, _: Network) -> tuple[str, str] | None:
        self.asked.append(attachment.key)
        await asyncio.sleep(0 if self.holder else 1.2)
        return self.holder

    async def hopeless(self, _: Attachment) -> str | None:
        return self.fault


def _as_lent(each: Resource, wanted: Veth) -> Resource:
    """Return it as the kernel's driver shows it of a pod's end that is lent."""
    if isinstance(each, Offload):
        return replace(each, veth=wanted.key, pod=wanted.pod)
    if not isinstance(each, Veth):
        return each
    return replace(
        each, pod=wanted.pod, mac=wanted.mac, pod_up=wanted.pod_up, arp=wanted.arp, lent=True
    )


class MemoryRecords:
    """Records without a disk."""

    boot_id = "boot"

    def __init__(self) -> None:
        self.kept: dict[AttachmentKey, Record] = {}
        self._sequence = 0

    def __iter__(self) -> Iterator[Record]:
        return iter(tuple(self.kept.values()))

    def get(self, key: AttachmentKey) -> Record | None:
        return self.kept.get(key)

    def of(self, owner: tuple[str, str]) -> list[Record]:
        return [record for record in self if record.attachment.owner == owner]

    def claiming(self, iface_id: str) -> list[Record]:
        return [record for record in self if record.attachment.iface_id == iface_id]

    def in_subnet(self, name: str) -> list[Record]:
        return [
            record
            for record in self
            if switch(record.good or {}, record.attachment.provider) == name
        ]

    def claim(self, record: Record) -> None:
        self.put(record)

    def put(self, record: Record) -> None:
        self.kept[record.attachment.key] = record

    def remove(self, key: AttachmentKey) -> None:
        self.kept.pop(key, None)

    def next_sequence(self) -> int:
        self._sequence += 1
        return self._sequence

    def is_of_earlier_boot(self, sequence: int) -> bool:
        return sequence > self._sequence + 60_000


class Recorded(Status):
    """A status that keeps every outcome, Event and throttled hint for the test to read."""

    def __init__(self, scope: str = "pod") -> None:
        self.outcomes: list[Outcome] = []
        self.events: list[tuple[str, str, str]] = []
        self.waits: list[str] = []
        self.edits: list[float] = []
        super().__init__(scope, self._event, self)

    def _event(self, _: Identity, kind: str, reason: str, message: str, /) -> None:
        self.events.append((kind, reason, message))

    def outcome(self, outcome: Outcome, /) -> None:
        """Count an outcome, as the metrics do."""
        self.outcomes.append(outcome)

    def edited(self, seconds: float, /) -> None:
        """Count an edit, as the metrics do."""
        self.edits.append(seconds)

    def throttled(self, *words: Any) -> None:
        """Count a hint that waits, as the metrics do, or report it."""
        if len(words) == 3:
            super().throttled(*words)
        else:
            self.waits.append(words[1])


class NoWatch:
    """Nothing to listen to: a test hints by itself."""

    def follow(self, key: Key, *links: str, netns: str = "", table: str = "") -> None:
        """Follow nothing."""

    def follow_addresses(self, key: Key) -> None:
        """Follow nothing."""

    def follows(self, _: Key) -> bool:
        """Pretend that it is followed."""
        return True

    def forget(self, key: Key) -> None:
        """Forget nothing."""


class World:
    """The loop with the scope of pods, on the node in memory."""

    def __init__(self, repair: Repair = "fix", *, asks: bool = False) -> None:
        self.host, self.records = MemoryHost(), MemoryRecords()
        self.host.installs.set()
        self.api: dict[tuple[str, str], Pod] | None = {}
        self.status = Recorded()
        self.state = State()
        self.subnets: dict[str, dict[str, str]] = {}
        self.lacking: set[str] = set()
        self.unjoined: dict[str, str] = {}
        self.lists = 0
        self.loop = Loop()
        self.owners = OwnerIndex(self.loop.queue.hint)
        self.passes = self.loop.passes("pod")
        self.scope = PodScope(
            self.host,
            self.state,
            self.records,
            self.passes,
            self.status,
            owners=self.owners,
            watch=NoWatch(),
            repair=repair,
            subnet=self.subnets.get,
        )
        self.loop.keep("pod", self.scope)
        self.attaching = Attaching(
            scope=self.scope,
            passes=self.passes,
            state=self.state,
            records=self.records,
            refresh=self.refresh,
            budget=BUDGET,
            lacks_subnet=self.lacking.__contains__,
            unjoined=lambda network, _: self.unjoined.get(network),
            asks=asks,
        )
        self.state.subscribe(self.attaching.pod_changed)
        self.state.subscribe(self.scope.pod_changed)

    @property
    def outcomes(self) -> list[Outcome]:
        """Return the outcomes of all passes."""
        return self.status.outcomes

    def hint(self, key: AttachmentKey) -> None:
        """Notify that something of an attachment changed on the node."""
        self.loop.queue.hint(self.passes.key(key))

    async def refresh(self) -> None:
        self.lists += 1
        await asyncio.sleep(0.01)
        if self.api is None:
            raise NotReady("no API server")
        for owner in {pod.owner for pod in self.state} - self.api.keys():
            self.gone(owner)
        for pod in self.api.values():
            self._hear(pod)
        self.state.synced.set()

    def tell(self, pod: Pod) -> None:
        if self.api is not None:
            self.api[pod.owner] = pod
        self._hear(pod)

    def _hear(self, pod: Pod) -> None:
        if self.state.get(pod.owner) != pod:
            self.state.update(self.state.get(pod.owner), pod)

    def gone(self, owner: tuple[str, str] = ("default", "web")) -> None:
        self.state.update(self.state.get(owner), None)

    def attachment(self, container_id: str = "c1", uid: str | None = UID) -> Attachment:
        sequence = self.records.next_sequence()
        netns = f"/run/netns/{container_id}"
        return Attachment(
            container_id, "eth0", netns, "default", "web", uid, "ovn", "boot", sequence
        )

    def nothing_left(self) -> bool:
        return not any(self.host.networks.values()) and not self.records.kept


def pod(annotations: dict[str, str] = COMPLETE, uid: str = UID) -> Pod:
    return Pod("default", "web", uid, annotations, uid)
