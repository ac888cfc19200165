"""The controller's wiring: a replica waits to lead, and while it leads every key has its pass in one loop."""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Any

import structlog

from ovnlet import logs
from ovnlet.controller.context import NETWORK, ControllerContext, Key
from ovnlet.controller.http import HttpEndpoints
from ovnlet.controller.ports import Ports
from ovnlet.controller.subnets import Subnets
from ovnlet.core.errors import OvnletError
from ovnlet.core.ipam import subnets
from ovnlet.core.ipam.claims import NodeClaim, StatefulSet, Workload, named_pool
from ovnlet.core.ipam.pools import IpPool
from ovnlet.core.ipam.subnets import SubnetObject
from ovnlet.core.settings import ControllerSettings
from ovnlet.drivers.northbound.client import Northbound
from ovnlet.kube import objects
from ovnlet.kube.events import Recorder
from ovnlet.kube.kopf_runner import KopfRunner
from ovnlet.kube.lease import Lease
from ovnlet.kube.object_store import Store
from ovnlet.kube.relist import Relist
from ovnlet.kube.session import Access
from ovnlet.kube.writer import Writer
from ovnlet.reconcile.queue import Queue
from ovnlet.reconcile.resync import resync
from ovnlet.serving import until_stopped

log = structlog.get_logger("controller")

# A Subnet's figures follow its ports, once a burst has passed.
COUNTED = 1.0
AWAY = 10.0
SECOND_LOOK = 10.0


def serve(settings: ControllerSettings) -> int:
    """Run until SIGTERM or SIGINT; returns the exit code."""
    logs.configure(settings)
    return until_stopped(lambda: replica(settings))


async def replica(settings: ControllerSettings) -> None:
    """Lead whenever this one may. All that a leader knows begins and ends with its term."""
    access = Access(settings.kubeconfig)
    lease = Lease(
        access, settings.namespace, settings.lease, settings.identity, settings.lease_seconds
    )
    async with HttpEndpoints(settings.listen) as front:
        while True:
            await lease.acquire()
            front.leading = True
            term = asyncio.create_task(Controller(settings, access, front).run(), name="term")
            keeping = asyncio.create_task(lease.keep(), name="lease")
            try:
                await asyncio.wait({term, keeping}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                term.cancel()
                keeping.cancel()
                await asyncio.wait({term, keeping})
                front.leading = front.ready = False
                await lease.release()
            if not term.cancelled() and (error := term.exception()):
                raise error


class Controller:
    """Every part of one term, built from the settings alone."""

    def __init__(self, settings: ControllerSettings, access: Access, front: HttpEndpoints) -> None:
        self.settings, self.front = settings, front
        self.writer = Writer(access)
        self.recorder = Recorder(access, settings.identity)
        self.northbound = Northbound(settings, self._row_changed, self._renewed)
        self.queue: Queue[Key, None] = Queue(self._pass)
        self.timers: dict[Key, asyncio.TimerHandle] = {}
        self.restoring = asyncio.Event()
        self.pods = Store(objects.PODS, objects.workload, self._pod_changed)
        self.nodes = Store(objects.NODES, objects.node, self._node_changed)
        self.subnets = Store(objects.SUBNETS, objects.subnet, self._subnet_changed)
        self.sets = Store(objects.STATEFUL_SETS, objects.stateful_set, self._set_changed)
        self.pools = Store(objects.IP_POOLS, objects.ip_pool, self._pool_changed)
        self.desk = ControllerContext(
            settings=settings,
            northbound=self.northbound,
            writer=self.writer,
            record=self.recorder.record,
            pods=self.pods,
            nodes=self.nodes,
            subnets=self.subnets,
            stateful_sets=self.sets,
            pools=self.pools,
            add=self._add,
            later=self._later,
            join=subnets.read(settings.join_switch, {"cidrBlock": settings.join_cidr}),
            usable={},
        )
        self.ports = Ports(self.desk, front)
        self.networks = Subnets(self.desk)
        self.feeds: list[Store[Any]] = [self.pods, self.nodes, self.subnets, self.sets]
        # A cluster need not have the kind of pools.
        self.listings: list[Relist[Any]] = [
            Relist(access, feed) for feed in (*self.feeds, self.pools)
        ]
        self.guest = KopfRunner(access, settings.identity, self.listings)
        self._ready = False

    async def run(self) -> None:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.writer.close)
            self.northbound.start()
            stack.push_async_callback(self.northbound.close)
            stack.push_async_callback(self.queue.close)
            stack.callback(self._stop_timers)
            async with asyncio.TaskGroup() as tasks:
                for part in self._parts():
                    tasks.create_task(part)

    def _parts(self) -> list[Coroutine[None, None, None]]:
        return [
            *(listing.run() for listing in self.listings),
            self.guest.run(),
            self._restore(),
            self._tell_away(),
            self.recorder.run(),
            resync(self.settings.resync, self._resync, soon=SECOND_LOOK),
        ]

    async def _restore(self) -> None:
        """At the start and after the database was away: first what living pods were told, then everything."""
        for feed in self.feeds:
            await feed.complete.wait()
        await self.northbound.ready()
        self.restoring.set()
        while True:
            await self.restoring.wait()
            self.restoring.clear()
            with suppress(OvnletError):
                self.networks.judge()
                self.ports.account_all()
                self._ready = True
                await self.queue.run(NETWORK)
                names = [("subnet", "", subnet.name) for subnet in self.subnets]
                await asyncio.gather(
                    *(self.queue.run(key) for key in names), return_exceptions=True
                )
                owed = [("pod", *owner) for owner in self.ports.owed]
                await asyncio.gather(*(self.queue.run(key) for key in owed), return_exceptions=True)
                log.info("restored", ports=len(owed), pods=len(list(self.pods)))
            self._everything()
            self.front.ready = True

    async def _tell_away(self) -> None:
        """A database that cannot be reached is the administrator's to mend, and to know of."""
        while True:
            try:
                async with asyncio.timeout(AWAY):
                    await self.northbound.ready()
            except TimeoutError:
                log.warning(
                    "the northbound database is away; trying for ever", error=self.northbound.fault
                )
            await asyncio.sleep(AWAY)

    async def _resync(self) -> None:
        self._relist()
        if self._ready and self.northbound.connected:
            self.ports.account_all()
            self._everything()

    def _everything(self) -> None:
        """All that should be, and all that is: a port whose pod is gone too."""
        self._add(NETWORK)
        for subnet in self.subnets:
            self._add(("subnet", "", subnet.name))
        for node in self.nodes:
            self._add(("node", "", node.name))
        for pod in self.pods:
            self._add(("pod", *pod.owner))
        if self.northbound.connected:
            for port in self.northbound.every_port():
                self._add(_owner(port.name, port.label("pod")))

    async def _pass(self, key: Key) -> None:
        if not self.northbound.connected:  # every key has a pass once it is back
            return
        match key:
            case ("pod", namespace, name):
                await self.ports.pod((namespace, name))
            case ("node", _, name):
                await self.ports.node(name)
            case ("subnet", _, name):
                await self.networks.subnet(name)
            case _:
                await self.networks.network()
        self.front.passed(key[0])

    def _add(self, key: Key) -> None:
        """Nothing is done before all lists are complete: what is not known yet must not be taken for gone."""
        if self._ready:
            self.queue.add(key)

    def _later(self, seconds: float, key: Key) -> None:
        if key not in self.timers:
            self.timers[key] = asyncio.get_running_loop().call_later(seconds, self._due, key)

    def _due(self, key: Key) -> None:
        del self.timers[key]
        self._add(key)

    def _stop_timers(self) -> None:
        for timer in self.timers.values():
            timer.cancel()

    def _relist(self) -> None:
        for listing in self.listings:
            listing.request()

    def _renewed(self) -> None:
        if self._ready:
            self.restoring.set()

    def _row_changed(self, name: str, switch: str, freed: bool) -> None:
        if not self._ready:
            return
        if not name:  # a switch or the router
            self._add(NETWORK)
            for subnet in self.subnets:
                self._add(("subnet", "", subnet.name))
            return
        port = self.northbound.port(name)
        key = _owner(name, port.port.label("pod")) if port is not None else self._guess(name)
        if key[0] == "pod":
            self.ports.account(key[1:])
        if freed:
            self.ports.freed(switch)
        self._add(key)
        if switch != self.settings.join_switch:
            self._later(COUNTED, ("subnet", "", switch))

    def _guess(self, port: str) -> Key:
        """A pod's name may hold dots, its namespace none."""
        pod, _, namespace = port.rpartition(".")
        if port.startswith("node-") and self.nodes.get(("", port.removeprefix("node-"))):
            return ("node", "", port.removeprefix("node-"))
        return ("pod", namespace, pod)

    def _pod_changed(self, was: Workload | None, now: Workload | None) -> None:
        self.ports.changed(was, now)

    def _subnet_changed(self, was: SubnetObject | None, now: SubnetObject | None) -> None:
        self.networks.changed(was, now)

    def _node_changed(self, was: NodeClaim | None, now: NodeClaim | None) -> None:
        node = now or was
        if node is not None:
            self._add(("node", "", node.name))
            if was is None or now is None or was.internal != now.internal:
                self._add(NETWORK)

    def _pool_changed(self, was: IpPool | None, now: IpPool | None) -> None:
        """Its Subnet keeps its addresses from others, and pods may wait for any of them."""
        for pool in filter(None, (was, now)):
            self._add(("subnet", "", pool.subnet))
            for pod in self.pods:
                if named_pool(pod) == pool.name:
                    self._add(("pod", *pod.owner))

    def _set_changed(self, was: StatefulSet | None, now: StatefulSet | None) -> None:
        """Fewer replicas: addresses that were kept are given up."""
        changed = now or was
        if changed is None or not self._ready or not self.northbound.connected:
            return
        for port in self.northbound.every_port():
            key = _owner(port.name, port.label("pod"))
            if port.label("ovnlet-workload") == changed.name and key[1] == changed.namespace:
                self._add(key)


def _owner(name: str, pod: str | None) -> Key:
    """Whose port it is."""
    if pod is None:
        return ("node", "", name.removeprefix("node-"))
    namespace, _, pod_name = pod.partition("/")
    return ("pod", namespace, pod_name)
