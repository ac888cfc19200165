"""The agent's wiring: which part is given to which, and in which order they start and stop."""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

import structlog
from aiohttp import web

from ovnlet import logs
from ovnlet.agent.cni_service import CniService
from ovnlet.agent.debug_api import DebugApi
from ovnlet.agent.event_log import EventLog, Tail
from ovnlet.agent.metrics import Metrics
from ovnlet.agent.node import NodeSide
from ovnlet.agent.probes import Probes
from ovnlet.core import annotations, ids
from ovnlet.core.errors import OvnletError
from ovnlet.core.identity import NODE_NIC, Attachment, AttachmentKey
from ovnlet.core.settings import Settings
from ovnlet.drivers.host import LocalHost
from ovnlet.drivers.links.node import NodeLinks
from ovnlet.drivers.links.pod import PodLinks
from ovnlet.drivers.linux.namespaces import boot_id
from ovnlet.drivers.ovs.chassis import Chassis
from ovnlet.drivers.ovs.health import Health, Verdict
from ovnlet.drivers.ovs.installed import Recompute
from ovnlet.drivers.ovs.ports import Ovs
from ovnlet.drivers.store.sandboxes import Sandboxes
from ovnlet.drivers.watch.kernel import Watch
from ovnlet.kube import pods
from ovnlet.kube.events import Recorder
from ovnlet.kube.kopf_runner import KopfRunner
from ovnlet.kube.object_store import Store
from ovnlet.kube.relist import Relist
from ovnlet.kube.session import Access
from ovnlet.reconcile.attaching import Attaching
from ovnlet.reconcile.loop import Outcome, Reconciler
from ovnlet.reconcile.queue import Queue
from ovnlet.reconcile.resync import resync
from ovnlet.reconcile.state import Owner, State
from ovnlet.reconcile.status import Status
from ovnlet.reconcile.sweep import Sweep
from ovnlet.serving import until_stopped
from ovnlet_cni import installer
from ovnlet_cni.pending_deletes import PendingDeletes
from ovnlet_cni.server import Server

log = structlog.get_logger("agent")

# kubelet gives a pod 30 s to end; an ADD that is cut short is undone within that.
GRACE = 10.0
# OVSDB is asked for again within a second; a DEL must be answered within five.
CONNECTING = 3.0
# What start-up suspects to be garbage is looked at again soon, since it is removed only when seen twice.
SECOND_LOOK = 2.0


def serve(settings: Settings) -> int:
    """Run the agent until SIGTERM or SIGINT; returns the exit code."""
    logs.configure(settings, Tail())
    return until_stopped(lambda: Agent(settings).run())


class Agent:
    """Every part of one node's agent, built from the settings alone."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.state = State(self._pod_changed)
        self.status = Status(self._record)
        self.metrics = Metrics(
            self.status.states,
            self.status.unenforced,
            lambda: len(self.queue),
            lambda: self.verdict() is None,
        )
        self.records = Sandboxes(Path(settings.run_dir) / "sandboxes", boot_id())
        self.ovs = Ovs(
            settings.ovsdb,
            settings.bridge,
            changed=self._row_changed,
            lost=self._everything,
            recompute=Recompute(Path(settings.ovn_run_dir)),
            took=self.metrics.installed,
        )
        self.chassis = Chassis(
            self.ovs,
            Path(settings.run_dir) / "chassis.json",
            settings.chassis_ids,
            settings.chassis,
        )
        links, node_links = PodLinks(settings.sysctl_dir), NodeLinks(settings.sysctl_dir)
        self.host = LocalHost(links, node_links, self.ovs, settings.mtu, self.metrics.stage)
        self.health = Health(self.ovs, Path(settings.ovsdb).parent, Path(settings.ovn_run_dir))
        access = Access(settings.kubeconfig, server=settings.api_server)
        self.recorder = Recorder(access, settings.node_name)
        self.reconciler = Reconciler(
            self.host,
            self.state,
            self.records,
            self._tell,
            repair=settings.repair,
            again=lambda key: self.queue.add(key),  # noqa: PLW0108 - the queue is made of the reconciler
            subnet=lambda name: self.node.facts(name),  # noqa: PLW0108 - which is made later
        )
        self.queue: Queue[AttachmentKey, Outcome | None] = Queue(self._reconcile, self._failed)
        self.watch = Watch(self.queue.hint, self._everything)
        again = partial(self.queue.add, NODE_NIC)
        self.node = NodeSide(
            settings, access, self.host, again=again, tell=self._tell, edited=self._subnet_edited
        )
        self.pods = Relist(
            access,
            Store(pods.of_node(settings.node_name), pods.read, self.state.heard, self.state.known),
        )
        self.listings: list[Relist[Any]] = [self.pods, *self.node.listings]
        self.guest = KopfRunner(access, settings.node_name, self.listings)
        self.attaching = Attaching(
            host=self.host,
            state=self.state,
            records=self.records,
            reconciler=self.reconciler,
            queue=self.queue,
            refresh=self.pods.refresh,
            budget=settings.add_budget,
            clock=self.metrics.stage,
        )
        self.sweep = Sweep(
            marked=self.host,
            host=self.host,
            state=self.state,
            records=self.records,
            reconciler=self.reconciler,
            queue=self.queue,
            refresh=self.pods.refresh,
        )
        self._overdue = asyncio.Event()
        self._starting: Verdict | None = Verdict(
            "the agent is starting: it has not looked at this node's pods yet"
        )
        self.journal = EventLog()
        inspection = DebugApi(
            host=self.host,
            records=self.records,
            reconciler=self.reconciler,
            status=self.status,
            queue=self.queue,
            nic=self.node.nic,
        )
        runtime = CniService(self.attaching, self.records, self.verdict)
        routes = [
            *inspection.routes(),
            *self.journal.routes(),
            web.get("/metrics", self.metrics.show),
        ]
        self.probes = Probes(settings.http, self.verdict, self.metrics.show)
        self.server = Server(runtime, Path(settings.cni_socket), routes, self.metrics.served)

    def verdict(self) -> Verdict | None:
        """Why this node cannot attach pods now; None if it can."""
        return self._starting or self.health.verdict

    async def run(self) -> None:
        """Start in the order of the design, then run until cancelled; what was started is stopped in reverse."""
        self.records.load()
        async with AsyncExitStack() as stack:
            self.watch.start()
            stack.callback(self.watch.close)
            self.ovs.start()
            stack.push_async_callback(self.ovs.close)
            stack.push_async_callback(self.queue.close)
            await self.server.start()
            stack.push_async_callback(self.server.stop, GRACE)
            stack.callback(self.journal.close)
            async with asyncio.TaskGroup() as tasks:
                for part in self._parts():
                    tasks.create_task(part)
                await self._become_ready()

    def _parts(self) -> list[Coroutine[None, None, None]]:
        return [
            self.guest.run(),
            *(listing.run() for listing in self.listings),
            self.recorder.run(),
            self.health.run(),
            self.probes.run(),
            self._keep_chassis(),
            *self.node.parts(),
            resync(self.settings.resync, self._resync, soon=SECOND_LOOK),
        ]

    async def _become_ready(self) -> None:
        """First make right what runs; only then tell the runtime that new pods may come."""
        await self.ovs.ready()
        await self._look_at_chassis()
        await self._settle()
        await self.state.listed()
        await self._settle()
        await self.sweep.round()
        await self._install()
        self._starting = None
        log.info("serving", node=self.settings.node_name, attachments=len(list(self.records)))

    async def _settle(self) -> None:
        """One pass for every attachment that is known, and the deletions that were noted meanwhile."""
        passes = [self.queue.run(key) for key in self._keys()]
        await asyncio.gather(*passes, *self._noted(), return_exceptions=True)

    def _noted(self) -> list[Coroutine[None, None, None]]:
        notes = PendingDeletes.beside(Path(self.settings.cni_socket))
        listing = notes.read()
        if listing.skipped:
            log.warning("not notes of deletions, skipped", files=listing.skipped)

        async def honour(container_id: str, ifname: str) -> None:
            await self.attaching.delete(
                Attachment.of_deletion(container_id, ifname, self.records.boot_id)
            )
            notes.remove(container_id, ifname)

        return [honour(note.container_id, note.ifname) for note in listing.deletes]

    async def _install(self) -> None:
        """The plugin, then the configuration: its appearance is what makes the node ready."""
        bin_dir, conf_dir = self.settings.cni_bin_dir, self.settings.cni_conf_dir
        if bin_dir:
            await asyncio.to_thread(
                installer.install_plugin, Path(self.settings.plugin), Path(bin_dir)
            )
        if conf_dir:
            text = await installer.conflist(
                Path(bin_dir or "/opt/cni/bin"), Path(self.settings.cni_socket)
            )
            if await asyncio.to_thread(installer.install_conflist, Path(conf_dir), text):
                log.info("CNI configuration written", directory=conf_dir)

    async def _resync(self) -> None:
        with self.metrics.resync():
            await self._look_at_chassis()
            for listing in self.listings:
                listing.request()
            self.records.restore()
            await self._settle()
            await self.sweep.round()

    async def _reconcile(self, key: AttachmentKey) -> Outcome | None:
        """What is desired follows from OVSDB too: a call that meets the agent as it connects waits for that."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CONNECTING):
                await self.ovs.ready()
        return await (self.node.reconcile() if key == NODE_NIC else self.reconciler.reconcile(key))

    def _keys(self) -> list[AttachmentKey]:
        return [NODE_NIC, *(record.attachment.key for record in self.records)]

    def _pod_changed(self, owner: Owner) -> None:
        self.attaching.pod_changed(owner)
        for record in self.records:
            if record.attachment.owner == owner:
                self.queue.add(record.attachment.key)

    def _subnet_edited(self, name: str) -> None:
        for record in self.records:
            if annotations.switch(record.good or {}, record.attachment.provider) == name:
                self.queue.add(record.attachment.key)

    def _tell(self, outcome: Outcome) -> None:
        if outcome.desired:
            self._follow(outcome)
        else:
            self.watch.forget(outcome.attachment.key)
        self.status(outcome)
        self.metrics.count(outcome)

    def _follow(self, outcome: Outcome) -> None:
        """A pair that was made anew has another index, and its namespace another id."""
        if outcome.steps or not self.watch.follows(outcome.attachment.key):
            self.watch.follow(outcome.attachment)

    def _failed(self, key: AttachmentKey, error: OvnletError) -> None:
        if record := self.node.nic.record if key == NODE_NIC else self.records.get(key):
            self.status.failed(record.attachment, error)

    def _record(
        self, attachment: Attachment, kind: Literal["Normal", "Warning"], reason: str, message: str
    ) -> None:
        self.journal.record(*attachment.called, kind, reason, message)
        pod = None if attachment.is_node else self.state.get(attachment.owner)
        if pod is not None and attachment.uid in (None, pod.uid):
            self.recorder.record(pod, kind, reason, message)
        elif attachment.is_node and self.node.subject is not None:
            self.recorder.record(self.node.subject, kind, reason, message)

    def _row_changed(self, mark: str, name: str) -> None:
        """A port or interface changed: look at the attachment it is of, by its mark or by its name."""
        linked = NODE_NIC if name == NODE_NIC[1] else self.records.linked(name)
        for key in {ids.marked(mark), linked}:
            if key == NODE_NIC or (key is not None and self.records.get(key)):
                self.queue.hint(key)

    def _everything(self) -> None:
        """Something that concerns every attachment changed, or nobody knows what did."""
        self._overdue.set()
        for key in self._keys():
            self.queue.add(key)

    async def _keep_chassis(self) -> None:
        while True:
            await self._overdue.wait()
            self._overdue.clear()
            await self._look_at_chassis()

    async def _look_at_chassis(self) -> None:
        await self.chassis.look()
        if self.chassis.owes:
            asyncio.get_running_loop().call_later(SECOND_LOOK, self._overdue.set)
        self.node.is_chassis(self.ovs.chassis.get("system-id", ""))
