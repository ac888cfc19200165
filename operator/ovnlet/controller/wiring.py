"""The controller of one term: its parts, and which change requests which pass.

What a pass does belongs in `ports` and `subnets`.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Any

import structlog

from ovnlet.controller import term
from ovnlet.controller.context import NETWORK, ControllerContext, Key
from ovnlet.controller.http import HttpEndpoints
from ovnlet.controller.keys import owner_of, owners_of_row
from ovnlet.controller.networks import Keeper
from ovnlet.controller.pools import IpPools
from ovnlet.controller.ports import Ports
from ovnlet.controller.service_passes import service_passes
from ovnlet.controller.services import key
from ovnlet.controller.subnets import Subnets
from ovnlet.controller.timers import Timers
from ovnlet.controller.uplinks import Uplinks
from ovnlet.core.errors import OvnletError
from ovnlet.core.ipam import subnets
from ovnlet.core.ipam.claims import MACHINE_LABEL, WORKLOAD_LABEL, NodeClaim, Workload
from ovnlet.core.ipam.definitions import Definition
from ovnlet.core.ipam.pools import IpPool
from ovnlet.core.ipam.subnets import SubnetObject
from ovnlet.core.settings import ControllerSettings
from ovnlet.drivers.northbound.client import Northbound
from ovnlet.drivers.northbound.fence import Term
from ovnlet.kube import objects
from ovnlet.kube.events import Recorder
from ovnlet.kube.kopf_runner import KopfRunner
from ovnlet.kube.object_store import Store
from ovnlet.kube.relist import Relist
from ovnlet.kube.session import Access
from ovnlet.kube.writer import Writer
from ovnlet.reconcile.queue import Queue
from ovnlet.reconcile.resync import resync

log = structlog.get_logger("controller")

# Seconds, so that a burst of port changes updates a Subnet's status once.
STATUS_DELAY = 1.0
FIRST_RESYNC = 10.0  # seconds after the start
TURNS = 128  # passes at the same time; between them the loop has time for the Lease
CHUNK = 500  # objects in one answer to a list: a cluster has thousands, and the leader waits
# Seconds. A pod waits for its annotations, also when the API server was away for a while.
LAST_RETRY = 5.0


class Controller:
    """All parts of one term, built from the settings.

    Passes run only after ``_restore`` has begun: all lists are then complete.
    """

    def __init__(
        self, settings: ControllerSettings, access: Access, endpoints: HttpEndpoints, lease: Term
    ) -> None:
        self.settings, self.endpoints, self.lease = settings, endpoints, lease
        self.writer = Writer(access)
        self.recorder = Recorder(access, settings.identity)
        self.northbound = Northbound(settings, self._row_changed, self._reconnected, self._balanced)
        self.queue: Queue[Key, None] = Queue(self._pass, last_retry=LAST_RETRY)
        self._turns = asyncio.Semaphore(TURNS)
        self.timers = Timers(self._add)
        self.restoring = asyncio.Event()
        self.pods = Store(objects.PODS, objects.workload, self._pod_changed)
        self.nodes = Store(objects.NODES, objects.node, self._node_changed)
        self.subnets = Store(objects.SUBNETS, objects.subnet, self._subnet_changed)
        keeper = partial(partial, self._keeper_changed)
        self.sets = Store(objects.STATEFUL_SETS, objects.stateful_set, keeper(WORKLOAD_LABEL))
        self.machines = Store(objects.MACHINES, objects.virtual_machine, keeper(MACHINE_LABEL))
        self.pools = Store(objects.IP_POOLS, objects.ip_pool, self._pool_changed)
        self.definitions = Store(objects.DEFINITIONS, objects.definition, self._definition_changed)
        self.definitions_listing = Relist(access, self.definitions, chunk=CHUNK)
        self.machines_listing = Relist(access, self.machines, chunk=CHUNK)
        self.uplinks = Uplinks(self._add, self.subnets)
        self.context = ControllerContext(
            settings=settings,
            northbound=self.northbound,
            writer=self.writer,
            record=self.recorder.record,
            pods=self.pods,
            nodes=self.nodes,
            subnets=self.subnets,
            stateful_sets=self.sets,
            pools=self.pools,
            definitions=self.definitions,
            machines=self.machines,
            vlans=self.uplinks.vlans,
            provider_networks=self.uplinks.networks,
            add=self._add,
            add_pods=self._add_pods,
            list_definitions=self.definitions_listing.request,
            look_for_machines=self.machines_listing.request_if_absent,
            later=self.timers.later,
            join=subnets.join(settings.join_switch, settings.join_cidr),
            usable={},
        )
        self.ports = Ports(self.context, endpoints)
        self.networks = Subnets(self.context)
        self.pool_status = IpPools(self.context)
        self.services, stores = service_passes(self.context)
        self.required: list[Store[Any]] = [self.pods, self.nodes, self.subnets, self.sets]
        # The others are not waited for: a cluster need not have each of them. Lists of Services and
        # their endpoints are long, and a wrong one costs no address: no resync asks for them.
        resynced = (*self.required, self.pools, self.uplinks.vlans, self.uplinks.networks)
        self.resynced = [Relist(access, store, chunk=CHUNK) for store in resynced]
        self.resynced += [self.definitions_listing, self.machines_listing]
        self.listings = [*self.resynced, *(Relist(access, each, chunk=CHUNK) for each in stores)]
        self.kopf_runner = KopfRunner(access, settings.identity, self.listings)
        self._ready = False

    async def run(self) -> None:
        """Run all parts. Returns only when cancelled; raises the error of a part that fails."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.writer.close)
            self.northbound.start()
            stack.push_async_callback(self.northbound.close)
            stack.push_async_callback(self.queue.close)
            stack.callback(self.timers.stop)
            async with asyncio.TaskGroup() as tasks:
                for part in self._parts():
                    tasks.create_task(part)

    def _parts(self) -> list[Coroutine[None, None, None]]:
        return [
            *(listing.run() for listing in self.listings),
            self.kopf_runner.run(),
            self.northbound.ended(),
            self._restore(),
            self.services.begin(),
            term.require(self.northbound, self.settings.lease_seconds),
            self.recorder.run(),
            resync(self.settings.resync, self._resync, soon=FIRST_RESYNC),
        ]

    async def _restore(self) -> None:
        """Restore the ports of running pods, then request all passes.

        This happens at the start and after each reconnect to the database.
        """
        for listing in self.resynced:
            await listing.asked.wait()
        for store in self.required:
            await store.complete.wait()
        await term.begin(self.northbound, self.lease)
        self.restoring.set()
        while True:
            await self.restoring.wait()
            self.restoring.clear()
            with suppress(OvnletError):
                self.networks.update_usable()
                self.ports.check_all_ports()
                self._ready = True
                await self.queue.run(NETWORK)
                names = [("subnet", "", subnet.name) for subnet in self.subnets]
                await asyncio.gather(
                    *(self.queue.run(key) for key in names), return_exceptions=True
                )
                missing = [("pod", *owner) for owner in self.ports.missing.owners]
                await asyncio.gather(
                    *(self.queue.run(key) for key in missing), return_exceptions=True
                )
                log.info("restored", ports=len(missing), pods=len(list(self.pods)))
            self._add_all()
            self.endpoints.ready = True

    async def _resync(self) -> None:
        """List most kinds again and request all passes."""
        for listing in self.resynced:
            listing.request()
        if self._ready and self.northbound.connected:
            self.ports.check_all_ports()
            self._add_all()

    def _add_all(self) -> None:
        """Request the pass of every object, and of every port: its pod may be gone."""
        self._add(NETWORK)
        for subnet in self.subnets:
            self._add(("subnet", "", subnet.name))
        for pool in self.pools:
            self._add(("pools", "", pool.subnet))
        for node in self.nodes:
            self._add(("node", "", node.name))
        self._add_pods()
        if self.northbound.connected:
            for port in self.northbound.every_port():
                self._add(owner_of(port))
            for name in self.northbound.switches():
                self._add(("subnet", "", name))
        self.services.add_all()
        self.uplinks.add_all()

    def _add_pods(self) -> None:
        self.ports.networks.request(lambda _: True)

    async def _pass(self, key: Key) -> None:
        """Make one pass. Raises what the passes of `ports`, `subnets` and `services` raise."""
        if not self.northbound.connected:  # every key gets a pass after the reconnect
            return
        async with self._turns:
            await asyncio.sleep(0)  # a pass that finds all right waits for nothing else
            await self._turn(key)
        self.endpoints.passed(key[0])

    async def _turn(self, key: Key) -> None:
        match key:
            case ("pod", namespace, name):
                await self.ports.pod((namespace, name))
            case ("node", _, name):
                await self.ports.node(name)
            case ("subnet", _, name):
                await self.networks.subnet(name)
                self._add(("pools", "", name))
            case ("pools", _, name):
                await self.pool_status.of_subnet(name)
            case ("provider", _, name):
                await self.uplinks.network(name, self.context)
            case ("service", namespace, name):
                await self.services.service((namespace, name))
            case _:
                await self.networks.network()

    def _add(self, key: Key) -> None:
        """Request a pass, but not before all lists are complete.

        An object that is not listed yet would be taken for one that is gone.
        """
        if self._ready:
            self.queue.add(key)

    def _reconnected(self) -> None:
        """Restore after each new session with the database."""
        self.restoring.set()

    def _row_changed(self, name: str, switch: str) -> None:
        """Request passes after one of our rows changed.

        ``name`` is a port, or empty for a switch or the router.
        """
        if not self._ready:
            return
        if not name:  # a switch or the router
            self._add(NETWORK)
            for subnet in self.subnets:
                self._add(("subnet", "", subnet.name))
            return
        for each in owners_of_row(name, self.northbound, self.nodes):
            if each[0] == "pod":
                self.ports.check_port(each[1:])
            self._add(each)
        if switch != self.settings.join_switch:
            self.timers.later(STATUS_DELAY, ("subnet", "", switch))

    def _balanced(self, service: str) -> None:
        self._add(key(service))

    def _pod_changed(self, was: Workload | None, now: Workload | None) -> None:
        self.ports.changed(was, now)

    def _definition_changed(self, was: Definition | None, now: Definition | None) -> None:
        self.ports.networks.defined(was, now)

    def _subnet_changed(self, was: SubnetObject | None, now: SubnetObject | None) -> None:
        self.networks.changed(was, now)

    def _node_changed(self, was: NodeClaim | None, now: NodeClaim | None) -> None:
        if (node := now or was) is None:
            return
        self._add(("node", "", node.name))
        self.uplinks.node_changed(was, now)
        if was is None or now is None or was.internal != now.internal:
            self._add(NETWORK)
            self.services.nodes_changed()
        if (was.chassis if was else "") != (now.chassis if now else ""):
            self.ports.networks.request(lambda claim: claim.node == node.name)

    def _pool_changed(self, was: IpPool | None, now: IpPool | None) -> None:
        """Request passes of the pool's Subnet, which reserves its addresses, and of its pods."""
        for pool in filter(None, (was, now)):
            self._add(("subnet", "", pool.subnet))
            self.ports.networks.of_pool(pool.name)

    def _keeper_changed(self, label: str, was: Keeper | None, now: Keeper | None) -> None:
        keeper = now or was
        if keeper is not None and self._ready and self.northbound.connected:
            self.ports.networks.keeper_changed(label, keeper.owner)
