"""The passes of a Subnet and of the network that joins all Subnets.

They write logical switches, the router and its routes, and the Subnet's status and finalizer.
"""

from collections.abc import Iterable

import structlog

from ovnlet.controller import status
from ovnlet.controller.context import NETWORK, ControllerContext
from ovnlet.controller.verdicts import Verdict, Verdicts
from ovnlet.core import topology
from ovnlet.core.errors import NotReady, Taken
from ovnlet.core.ipam.claims import NodeClaim, bound
from ovnlet.core.ipam.subnets import Subnet, SubnetObject
from ovnlet.core.plan import diff
from ovnlet.core.resources.northbound import ABSENT, GROUP, Router, Rows, SwitchPort

FINALIZER = "ovnlet.io/subnet"
NAMED = 3  # pods that a message names
# Seconds until a Subnet whose name somebody else's rows have is tried again.
TAKEN_RETRY = 30.0
log = structlog.get_logger("subnets")


class Subnets:
    """All Subnets. It keeps ``context.usable``: the Subnets that are in force.

    A Subnet whose new specification cannot be used stays in force as it last was. One whose name
    somebody else's rows have is never in force, and stops no other.
    """

    def __init__(self, context: ControllerContext) -> None:
        self._context = context
        self._verdicts = Verdicts(context)
        self.update_usable = self._verdicts.update_usable
        self._warned: dict[tuple[str, str], str] = {}  # the last warning, by kind and name

    def changed(self, was: SubnetObject | None, now: SubnetObject | None) -> None:
        """Request passes after a Subnet was created, changed or deleted.

        A new specification may make another Subnet valid or invalid, and pods may wait for either.
        A new status does not.
        """
        body = now or was
        if body is None:
            return
        before = (was.spec, was.deleting) if was else None
        self._context.add(("subnet", "", body.name))
        if before == ((now.spec, now.deleting) if now else None):
            return
        for each in self._context.subnets:
            self._context.add(("subnet", "", each.name))
        self._context.add(NETWORK)
        self._context.add_pods()

    async def network(self) -> None:
        """Make the pass of the network: the router, the join subnet, routes and policies.

        Raises NotReady if the database is away, Taken if a row was not made by ovnlet.
        """
        context, router = self._context, self._context.settings.cluster_router
        join = topology.subnet(context.join, router) | {Router(router)}
        have = context.northbound.subnet(context.join.name, router) | context.northbound.network(
            router
        )
        wanted = (
            topology.network(router, context.usable.values(), context.join, self._members()) | join
        )
        await context.northbound.apply(diff(wanted, have))

    async def subnet(self, name: str) -> None:
        """Make the pass of a Subnet: its switch, finalizer and status, or its removal.

        Raises NotReady if the database or the router is not there, Taken if a row was not made by
        ovnlet, ApiFault if the Subnet cannot be written.
        """
        context = self._context
        body = context.subnets.get(("", name))
        self._verdicts.update_usable()
        if body is None:
            return await self._remove_orphan(name)
        ports = [port for port in context.northbound.ports(name) if port.enabled]
        if body.deleting:
            return await self._delete(body, ports)
        subnet = context.usable.get(name)
        if subnet is not None:
            # First the finalizer: without it a deletion could leave the switch behind.
            if FINALIZER not in body.finalizers:
                return await context.writer.finalizers(body, (*body.finalizers, FINALIZER))
            try:
                await self._make(subnet)
            except Taken as taken:  # the router
                return await self._status(body, Verdict(None, str(taken), taken=True), ports)
        return await self._status(body, self._verdicts.of(body), ports)

    async def _remove_orphan(self, name: str) -> None:
        """Remove our switch that has no Subnet, unless a pod has a port on it."""
        context, router = self._context, self._context.settings.cluster_router
        rows = self._rows(name)
        if name == context.join.name or not rows:
            return
        if used := next((port for port in context.northbound.ports(name) if port.enabled), None):
            log.warning("a switch without a Subnet is in use", switch=name, port=used.name)
            return
        await context.northbound.apply(diff(ABSENT, rows))
        log.info("a switch without a Subnet was removed", switch=name, router=router)

    def _rows(self, name: str) -> Rows:
        """Return the rows of a Subnet; none if its name is somebody else's."""
        try:
            return self._context.northbound.subnet(name, self._context.settings.cluster_router)
        except Taken:
            return ABSENT

    async def _make(self, subnet: Subnet) -> None:
        """Create or correct a Subnet's switch; then pods may have their ports.

        Raises NotReady if there is no router yet, Taken if it is somebody else's.
        """
        context, router = self._context, self._context.settings.cluster_router
        if not (context.northbound.has(router=router) and context.northbound.has(group=GROUP)):
            context.northbound.network(router)  # somebody else's never gets ready
            raise NotReady(f"router {router} and load balancer group {GROUP} do not exist yet")
        plan = diff(topology.subnet(subnet, router), context.northbound.subnet(subnet.name, router))
        if plan:
            context.northbound.network(router)  # nothing is added to somebody else's router
            await context.northbound.apply(plan)
            log.info("subnet written", subnet=subnet.name, steps=[str(step) for step in plan])
            context.add(NETWORK)
            context.add_pods()

    async def _delete(self, body: SubnetObject, ports: list[SwitchPort]) -> None:
        """Remove a Subnet without ports in use; otherwise report which pods use it.

        Disabled ports, which only keep the address of an ended pod, go with the switch.
        """
        context = self._context
        if FINALIZER not in body.finalizers:
            return
        if ports:
            names = sorted(port.label("pod") or port.name for port in ports)
            rest = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            why = f"deletion waits: used by {', '.join(names[:NAMED])}{rest}"
            self._warn(body, "SubnetInUse", why)
            await self._conditions(
                body, {"Ready": (False, "InUse", why)}, ports, context.usable.get(body.name)
            )
            return
        await context.northbound.apply(diff(ABSENT, self._rows(body.name)))
        context.usable.pop(body.name, None)
        context.add(NETWORK)
        await context.writer.finalizers(
            body, [each for each in body.finalizers if each != FINALIZER]
        )
        log.info("subnet deleted", subnet=body.name)

    async def _status(self, body: SubnetObject, verdict: Verdict, ports: list[SwitchPort]) -> None:
        """Report whether the specification is valid and whether the switch exists."""
        why, subnet = verdict.why, self._context.usable.get(body.name)
        self._warn(body, verdict.reason, why)
        ready = subnet is not None and self._context.northbound.has(switch=body.name)
        state = f"logical switch {body.name} {'exists' if ready else 'does not exist'}"
        conditions = {
            "Validated": (
                not why,
                verdict.reason.removeprefix("Subnet") if why else "Valid",
                why or "the specification is valid",
            ),
            "Ready": (ready, "SwitchMade" if ready else "NoSwitch", state),
        }
        if verdict.taken:
            conditions["Ready"] = (False, verdict.reason, why)
            self._context.later(TAKEN_RETRY, ("subnet", "", body.name))
        await self._conditions(body, conditions, ports, subnet)

    async def _conditions(
        self,
        body: SubnetObject,
        conditions: dict[str, status.Condition],
        ports: Iterable[SwitchPort],
        subnet: Subnet | None,
    ) -> None:
        """Write the status if it changed."""
        listed = status.conditions(body.status, conditions)
        now = {**status.figures(subnet, ports), "conditions": listed}
        if any(body.status.get(name) != value for name, value in now.items()):
            await self._context.writer.status(body, now)

    def _members(self) -> list[topology.Member]:
        """Return the nodes whose port in the join subnet is pinned.

        Report the InternalIPs that are ignored as Events on their Nodes.
        """
        members = []
        nodes = list(self._context.nodes)
        own, ignored = topology.internal_addresses({each.name: each.internal for each in nodes})
        for node in nodes:
            self._warn(node, "InternalIPIgnored", ignored.get(node.name, ""))
            try:
                seen = self._context.northbound.port(node.port)
            except Taken:  # the pass of the Node reports it
                continue
            if seen is not None and (binding := bound(seen.port.addresses)):
                addresses = tuple(map(str, binding.addresses))
                members.append(topology.Member(node.port, addresses, own[node.name]))
        return members

    def _warn(self, subject: SubnetObject | NodeClaim, reason: str, why: str) -> None:
        """Log and record a Warning Event, once until the reason changes or is empty."""
        key = (subject.kind, subject.name)
        if self._warned.get(key, "") != why:
            self._warned[key] = why
            if why:
                log.warning(why, kind=subject.kind, name=subject.name, reason=reason)
                self._context.record(subject, "Warning", reason, why)
