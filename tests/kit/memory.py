"""The loop with all its parts, on a node, records and an API server in memory."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

from ovnlet.core.errors import NotReady
from ovnlet.core.identity import Attachment, AttachmentKey, Life, Node, Pod, Record
from ovnlet.core.plan import Plan, Verb
from ovnlet.core.resources import ABSENT, Network
from ovnlet.reconcile.attaching import Attaching
from ovnlet.reconcile.loop import Outcome, Reconciler
from ovnlet.reconcile.queue import Queue
from ovnlet.reconcile.state import State

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
    """Each attachment's network as a set; OVN installs whatever bears an `iface-id`, unless told not to."""

    networks: dict[AttachmentKey, Network] = field(default_factory=dict)
    dead: set[AttachmentKey] = field(default_factory=set)
    installs: asyncio.Event = field(default_factory=asyncio.Event)
    node: Node = field(default_factory=lambda: Node("br-int", 1400, True))

    def life(self, attachment: Attachment) -> Life:
        return Life.DEAD if attachment.key in self.dead else Life.ALIVE

    async def observe(self, attachment: Attachment, desired: Network) -> Network:
        await asyncio.sleep(0)
        return self.networks.get(attachment.key, ABSENT)

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

    def put(self, record: Record) -> None:
        self.kept[record.attachment.key] = record

    def remove(self, key: AttachmentKey) -> None:
        self.kept.pop(key, None)

    def next_sequence(self) -> int:
        self._sequence += 1
        return self._sequence


class World:
    """The loop with all its parts, on the node in memory."""

    def __init__(self) -> None:
        self.host, self.records = MemoryHost(), MemoryRecords()
        self.host.installs.set()
        self.api: dict[tuple[str, str], Pod] | None = {}
        self.outcomes: list[Outcome] = []
        self.state = State(self._changed)
        self.subnets: dict[str, dict[str, str]] = {}
        self.reconciler = Reconciler(
            self.host,
            self.state,
            self.records,
            self.outcomes.append,
            again=lambda key: self.queue.add(key),  # noqa: PLW0108 - the queue is made of the reconciler
            subnet=self.subnets.get,
        )
        self.queue: Queue[AttachmentKey, Outcome | None] = Queue(self.reconciler.reconcile)
        self.attaching = Attaching(
            host=self.host,
            state=self.state,
            records=self.records,
            reconciler=self.reconciler,
            queue=self.queue,
            refresh=self.refresh,
            budget=BUDGET,
        )

    def _changed(self, owner: tuple[str, str]) -> None:
        self.attaching.pod_changed(owner)
        for record in self.records:
            if record.attachment.owner == owner:
                self.queue.add(record.attachment.key)

    async def refresh(self) -> None:
        await asyncio.sleep(0.01)
        if self.api is None:
            raise NotReady("no API server")
        for owner in {pod.owner for pod in self.state} - self.api.keys():
            self.gone(owner)
        for pod in self.api.values():
            self._hear(pod)
        self.state.known.set()

    def tell(self, pod: Pod) -> None:
        if self.api is not None:
            self.api[pod.owner] = pod
        self._hear(pod)

    def _hear(self, pod: Pod) -> None:
        if self.state.get(pod.owner) != pod:
            self.state.heard(self.state.get(pod.owner), pod)

    def gone(self, owner: tuple[str, str] = ("default", "web")) -> None:
        self.state.heard(self.state.get(owner), None)

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
