"""The agent's wiring: each part with the parts that it needs, and the order of start and stop."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from aiohttp import web

from ovnlet import logs
from ovnlet.agent.cni_service import CniService
from ovnlet.agent.debug_api import DebugApi
from ovnlet.agent.event_log import EventLog, Tail
from ovnlet.agent.first_network import FirstNetwork
from ovnlet.agent.kube_ovn_metrics import KubeOvnMetrics
from ovnlet.agent.metrics import Metrics
from ovnlet.agent.node import ClusterView, Subscriber
from ovnlet.agent.node_wide import NodeWide, directories
from ovnlet.agent.probes import Probes
from ovnlet.agent.reporting import NodeReporter, PodReporter
from ovnlet.agent.startup import Startup
from ovnlet.agent.supervisor import Part, Supervisor
from ovnlet.agent.tracing import Tracing
from ovnlet.agent.underlay import Underlay
from ovnlet.core.annotations import REPAIR
from ovnlet.core.settings import Settings
from ovnlet.drivers.links.pod import PodLinks
from ovnlet.drivers.linux.namespaces import boot_id
from ovnlet.drivers.node_state import NodeState
from ovnlet.drivers.ovs.forwarding import Forwarding
from ovnlet.drivers.ovs.health import Health, Verdict
from ovnlet.drivers.ovs.installed import Recompute
from ovnlet.drivers.ovs.ports import Ovs
from ovnlet.drivers.sandbox_host import SandboxHost
from ovnlet.drivers.store.cni_files import CniFiles
from ovnlet.drivers.store.json_file import JsonFile
from ovnlet.drivers.store.sandboxes import Sandboxes
from ovnlet.drivers.watch.files import FileWatch
from ovnlet.drivers.watch.kernel import Watch
from ovnlet.kube import pods
from ovnlet.kube.events import Recorder
from ovnlet.kube.kopf_runner import KopfRunner
from ovnlet.kube.object_store import Store
from ovnlet.kube.relist import Relist
from ovnlet.kube.session import Access
from ovnlet.reconcile.attaching import Attaching
from ovnlet.reconcile.loop import Loop
from ovnlet.reconcile.owners import OwnerIndex
from ovnlet.reconcile.scopes.pod import PodScope
from ovnlet.reconcile.state import State
from ovnlet.reconcile.status import Status
from ovnlet.reconcile.sweep import Sweep
from ovnlet.serving import until_stopped
from ovnlet_cni.pending_deletes import PendingDeletes
from ovnlet_cni.server import Server

# Seconds. kubelet gives a pod 30 s to end; an ADD that is cut short is undone within this.
GRACE = 10.0
# Seconds. Garbage is removed only when seen twice, so the second resync follows start-up soon.
SECOND_LOOK = 2.0


def serve(settings: Settings) -> int:
    """Run the agent until SIGTERM or SIGINT; return the exit code."""
    logs.configure(settings, Tail())
    return until_stopped(lambda: Agent(settings).run())


class Agent:
    """Every part of one node's agent, built from the settings alone."""

    def __init__(self, settings: Settings) -> None:
        """Make the parts, each after those that it needs."""
        self.settings = settings
        self.loop = Loop()
        self.owners = OwnerIndex(self.loop.queue.hint)
        self.metrics = Metrics(
            attachments=lambda: self.pod_scope.status.states(),  # noqa: PLW0108 - made later
            unenforced=lambda: self.pod_scope.status.count("RateNotEnforced"),
            queued=lambda: len(self.loop.queue),
            ready=lambda: self.verdict() is None,
            subnets=lambda: self.first.counts(),  # noqa: PLW0108 - made later
        )
        self.tracing = Tracing(settings.otlp, settings.node_name, self.metrics.stage)
        self.supervisor = Supervisor(self.metrics.part_failed)
        self.event_log = EventLog()
        self._make_drivers(settings)
        self._make_cluster(settings)
        self._make_scopes(settings)
        self._make_services(settings)

    def _make_drivers(self, settings: Settings) -> None:
        self.watch = Watch(self.loop.queue.hint, self.loop.hint_all)
        run_dirs = Path(settings.ovsdb).parent, Path(settings.ovn_run_dir)
        self.forwarding = Forwarding(
            settings.bridge,
            *run_dirs,
            installed=lambda: self.ovs.installed_ports,
            lost=lambda: self.owners.notify(("flows", settings.bridge)),
            blocked=lambda name: self.owners.notify(("port", name)),
        )
        self.ovs = Ovs(
            settings.ovsdb,
            settings.bridge,
            changed=lambda mark, name: self.owners.notify(("mark", mark), ("port", name)),
            resync=self.loop.add_all,
            recompute=Recompute(Path(settings.ovn_run_dir)),
            record_install_time=self.metrics.installed,
            forwarding=self.forwarding,
        )
        self.pod_links = PodLinks(settings.sysctl_dir)
        self.node_state = NodeState(self.ovs, settings.mtu)
        paths = Path(settings.plugin), Path(settings.cni_socket)
        self.directories = directories(settings)
        self.cni_files = CniFiles(
            self.directories,
            *paths,
            lambda: self.server.kube_ovn_site,
            primary=settings.pod_network == "primary",
        )
        self.file_watch = FileWatch(
            self.directories.directories, lambda where: self.owners.notify(("file", where))
        )
        self.health = Health(self.ovs, *run_dirs)
        run_dir = Path(settings.run_dir)
        self.records = Sandboxes(run_dir / "sandboxes", boot_id())
        self.chassis_file, self.encap_file = (
            JsonFile(run_dir / f"{name}.json") for name in ("chassis", "encap")
        )

    def _make_cluster(self, settings: Settings) -> None:
        counted = self.metrics.requested
        access = Access(settings.kubeconfig, server=settings.api_server, counted=counted)
        self.recorder = Recorder(access, settings.node_name)
        self.state = State()
        kind = pods.of_node(settings.node_name)
        self.pods = Relist(access, Store(kind, pods.read, self.state.update, self.state.synced))
        self.cluster = ClusterView(settings, access, self.recorder)
        self.underlay = Underlay(settings, access, self.loop, self.watch, self.cluster)
        self.relists: list[Relist[Any]] = [self.pods, *self.cluster.relists, *self.underlay.relists]
        self.kopf = KopfRunner(access, settings.node_name, self.relists)

    def _make_scopes(self, settings: Settings) -> None:
        of_pods = PodReporter(self.event_log, self.recorder, self.state)
        of_node = NodeReporter(self.event_log, self.recorder, self.cluster.own_node)
        clock = self.tracing.clock
        node_wide = NodeWide(
            settings, self.loop, self.owners, lambda name: Status(name, of_node, self.metrics)
        )
        self.node_state.userspace, self.forwarding.returned = node_wide.make_chassis(
            self.ovs, self.chassis_file, self.cluster.known_as
        )
        node_wide.make_flows(self.forwarding)
        node_seen = node_wide.make_encap(self.ovs, self.encap_file, self.watch)
        self.cni_scope = node_wide.make_cni(self.cni_files, self.directories)
        self.first = FirstNetwork(
            settings,
            self.loop,
            owners=self.owners,
            watch=self.watch,
            ovs=self.ovs,
            state=self.node_state,
            records=self.records,
            pods=self.state,
            cluster=self.cluster,
            clock=clock,
            status=lambda name: Status(name, of_node, self.metrics),
        )
        self.sandbox_host = SandboxHost(
            self.pod_links, self.ovs, self.node_state, clock, settings.ovn_run_dir
        )
        self.pod_scope = PodScope(
            self.sandbox_host,
            self.state,
            self.records,
            self.loop.passes("pod"),
            Status("pod", of_pods, self.metrics, f" (annotation {REPAIR}: off exempts this pod)"),
            owners=self.owners,
            watch=self.watch,
            repair=settings.repair,
            subnet=self.underlay.facts,
        )
        self.underlay.edited = self.pod_scope.subnet_changed
        scopes = node_wide.scopes | self.first.scopes | {"pod": self.pod_scope}
        scopes["provider"] = self.underlay.make_scope(of_node, self.metrics)
        for name in ("chassis", "provider", "encap", "flows", "node", "gateway", "pod", "cni"):
            if name in scopes:
                self.loop.keep(name, scopes[name])
        self.cluster.subscribe(
            Subscriber(
                annotated=self.first.annotated,
                reached=self.first.reached,
                gateway=self.first.cluster,
                edited=self.pod_scope.subnet_changed,
                seen=(node_seen, self.underlay.seen),
            )
        )

    def _make_services(self, settings: Settings) -> None:
        passes = self.loop.passes("pod")
        self.attaching = Attaching(
            scope=self.pod_scope,
            passes=passes,
            state=self.state,
            records=self.records,
            refresh=self.pods.refresh,
            budget=settings.add_budget,
            lacks_subnet=self.cluster.lacks,
            unjoined=self.underlay.unjoined,
            asks=settings.arp_detect_ip_conflict == "on",
            clock=self.tracing.clock,
        )
        # The ADDs of a pod that was replaced end before its attachments are looked at.
        self.state.subscribe(self.attaching.pod_changed)
        self.state.subscribe(self.pod_scope.pod_changed)
        self.sweep = Sweep(
            marked=self.sandbox_host,
            scope=self.pod_scope,
            passes=passes,
            state=self.state,
            records=self.records,
            refresh=self.pods.refresh,
        )
        saved = (self.records, self.chassis_file, self.encap_file, self.underlay)
        self.startup = Startup(
            ovs_ready=self.ovs.ready,
            state=self.state,
            records=self.records,
            loop=self.loop,
            attaching=self.attaching,
            sweep=self.sweep,
            cni_files=self.cni_files,
            cni_scope=self.cni_scope,
            pending=PendingDeletes.beside(Path(settings.cni_socket)),
            restores=[*(each.restore for each in saved), *self.first.restores],
            timed=self.metrics.resync,
        )
        debug = DebugApi(self.loop, self.records, self.pod_scope).routes()
        routes = [*debug, *self.event_log.routes(), web.get("/metrics", self.metrics.show)]
        service = CniService(
            self.attaching,
            self.records,
            self.verdict,
            self.cluster.serves,
            beside_kube_ovn=settings.chassis == "observe",
            primary=settings.pod_network == "primary",
            traced=self.tracing.add,
            attached=self.cluster.attached,
        )
        show, unhealthy = self.metrics.show, self.supervisor.unhealthy
        self.probes = Probes(settings.http, self.verdict, show, unhealthy)
        theirs = KubeOvnMetrics(self.metrics, settings.node_name)
        self.kube_ovn_probes = Probes(settings.kube_ovn_http, self.verdict, theirs.show, unhealthy)
        second = Path(settings.kube_ovn_socket) if settings.kube_ovn_socket else None
        served = theirs.counting(self.metrics.served)
        self.server = Server(service, Path(settings.cni_socket), routes, served, second)

    def verdict(self) -> Verdict | None:
        """Return why this node cannot attach pods now; None if it can."""
        if verdict := self.startup.verdict or self.health.verdict:
            return verdict
        return Verdict(refusal) if (refusal := self.supervisor.refusal()) else None

    async def run(self) -> None:
        """Run until cancelled; stop in reverse order what was started."""
        self.underlay.load()
        self.records.load()
        for record in self.records:
            self.pod_scope.register(record.attachment)
        async with AsyncExitStack() as stack:
            self.watch.start()
            drivers = Part("ovsdb", self.ovs.run), Part("kernel watch", self.watch.run)
            await stack.enter_async_context(self.supervisor.running(*drivers))
            stack.push_async_callback(self.loop.queue.close)
            await self.server.start()
            stack.push_async_callback(self.server.stop, GRACE)
            stack.callback(self.event_log.close)
            await stack.enter_async_context(self.supervisor.running(*self._parts()))
            await asyncio.Event().wait()

    def _parts(self) -> list[Part]:
        """Return what runs from start-up until the agent is stopped."""
        lists = {f"list of {each.store.kind.plural}": each for each in self.relists}
        every = self.settings.resync
        return [
            Part("start-up and resync", lambda: self.startup.keep(every, SECOND_LOOK)),
            Part("watch of the API server", self.kopf.run, essential=True),
            *(Part(name, each.run, essential=each is self.pods) for name, each in lists.items()),
            Part("health checks", self.health.run, essential=True),
            Part("flow checks", self.forwarding.run),
            *self.first.parts(),
            Part("CNI socket", self.server.keep_listening),
            Part("Events", self.recorder.run),
            Part("traces", self.tracing.run),
            Part("probes", self.probes.run),
            Part("probes at kube-ovn-cni's port", self.kube_ovn_probes.run),
            Part("file watch", self.file_watch.run),
            *self.cluster.parts(),
            *self.underlay.parts(),
        ]
