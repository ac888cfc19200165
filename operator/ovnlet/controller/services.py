"""The pass of a Service: it writes the load balancers by which pods reach the Service."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address

import structlog

from ovnlet.controller.context import ControllerContext, Key, Objects
from ovnlet.core import services, topology
from ovnlet.core.allocation import Address
from ovnlet.core.errors import NotReady, Taken
from ovnlet.core.plan import diff
from ovnlet.core.resources.northbound import ABSENT, GROUP
from ovnlet.core.services import EndpointSlice, Notice, Owner, ServiceObject

log = structlog.get_logger("services")


def key(service: str) -> Key:
    """Return the key of a Service's pass. The Service is given as `namespace/name`."""
    namespace, _, name = service.partition("/")
    return ("service", namespace, name)


class SliceIndex:
    """The EndpointSlices of one version of their API, by Service.

    ``complete`` is set once a whole list was stored.
    """

    def __init__(self, add: Callable[[Key], None]) -> None:
        self._add = add
        self._slices: defaultdict[Owner, dict[Owner, EndpointSlice]] = defaultdict(dict)
        self.complete = asyncio.Event()

    def changed(self, was: EndpointSlice | None, now: EndpointSlice | None) -> None:
        """Take in a slice that was created, changed or deleted, and request its Service's pass."""
        if was is not None:
            owner = (was.namespace, was.service)
            self._slices[owner].pop(was.owner, None)
            if not self._slices[owner]:
                del self._slices[owner]
            self._add(("service", *owner))
        if now is not None:
            owner = (now.namespace, now.service)
            self._slices[owner][now.owner] = now
            self._add(("service", *owner))

    def of(self, service: Owner) -> tuple[EndpointSlice, ...]:
        """Return the slices of a Service."""
        return tuple(self._slices[service].values()) if service in self._slices else ()


class Services:
    """All Services.

    ``indexes`` are the versions of EndpointSlices, the newest first. A cluster has one or two of
    them, and the first one that is complete counts: an upgrade of the API server ends the older.
    """

    def __init__(
        self,
        context: ControllerContext,
        objects: Objects[ServiceObject],
        listed: asyncio.Event,
        indexes: Sequence[SliceIndex],
    ) -> None:
        self._context, self._objects, self._listed = context, objects, listed
        self._indexes = indexes
        self._recorded: dict[Owner, frozenset[Notice]] = {}  # what was recorded, by Service

    def changed(self, was: ServiceObject | None, now: ServiceObject | None) -> None:
        """Request the pass of a Service that was created, changed or deleted."""
        if (service := now or was) is not None:
            self._context.add(("service", *service.owner))

    async def begin(self) -> None:
        """Request all passes once Services and EndpointSlices are listed.

        Pods do not wait for this: their addresses depend on neither list.
        """
        await self._listed.wait()
        waiting = [asyncio.create_task(index.complete.wait()) for index in self._indexes]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()
        self.add_all()

    def add_all(self) -> None:
        """Request the pass of every Service, and of every load balancer: its Service may be gone.

        Nothing is requested before the lists are complete.
        """
        if self._index() is None or not self._context.northbound.connected:
            return
        for service in self._objects:
            self._context.add(("service", *service.owner))
        for name in self._context.northbound.balanced():
            self._context.add(key(name))

    async def service(self, owner: Owner) -> None:
        """Make the pass of a Service: write its load balancers, or remove them.

        Raises NotReady if the database or the group is not there, Taken if a row of that name was
        not made by ovnlet.
        """
        if (index := self._index()) is None:
            return
        service, slices = self._objects.get(owner), index.of(owner)
        found = list(services.notices(service, slices)) if service else []
        try:
            await self._write(owner, service, slices)
        except Taken as taken:
            found.append(Notice("Warning", "LoadBalancerTaken", str(taken)))
            raise
        finally:
            self._report(owner, service, frozenset(found))

    async def _write(
        self, owner: Owner, service: ServiceObject | None, slices: Iterable[EndpointSlice]
    ) -> None:
        """Write what differs between the wanted load balancers and those that are there."""
        northbound = self._context.northbound
        nodes = self._nodes() if service is not None and service.exposed else ()
        wanted = services.balancers(service, slices, nodes) if service is not None else ABSENT
        plan = diff(wanted, northbound.balancers(owner))
        if plan and not northbound.has(group=GROUP):
            raise NotReady(f"load balancer group {GROUP} does not exist yet")
        await northbound.apply(plan)
        if plan:
            log.debug("service written", service="/".join(owner), steps=list(map(str, plan)))

    def nodes_changed(self) -> None:
        """Request the passes of Services for which OVN translates node ports."""
        for service in self._objects:
            if service.exposed:
                self._context.add(("service", *service.owner))

    def _nodes(self) -> list[Address]:
        """Return the own addresses of all nodes, without those that two nodes claim."""
        claimed = {node.name: node.internal for node in self._context.nodes}
        own, _ = topology.internal_addresses(claimed)
        return [ip_address(each) for addresses in own.values() for each in addresses]

    def _index(self) -> SliceIndex | None:
        """Return the slices that count; None while a list is not complete."""
        complete = (each for each in self._indexes if each.complete.is_set())
        return next(complete, None) if self._listed.is_set() else None

    def _report(
        self, owner: Owner, service: ServiceObject | None, found: frozenset[Notice]
    ) -> None:
        """Record as Events what stops a Service, and what OVN does otherwise; each once."""
        before = self._recorded.pop(owner, frozenset())
        if service is None or not found:
            return
        for notice in found - before:
            self._context.record(service, notice.kind, notice.reason, notice.message)
        self._recorded[owner] = found
