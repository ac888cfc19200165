"""The passes of a Subnet and of the network that joins all Subnets.

They write logical switches, the router and its routes, and the Subnet's status and finalizer.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import structlog

from ovnlet.controller.context import NETWORK, ControllerContext
from ovnlet.core import topology
from ovnlet.core.errors import NotReady
from ovnlet.core.ipam import subnets
from ovnlet.core.ipam.claims import bound
from ovnlet.core.ipam.subnets import Range, Subnet, SubnetObject, Unusable
from ovnlet.core.plan import diff
from ovnlet.core.resources.northbound import ABSENT, GROUP, Router, Switch, SwitchPort

FINALIZER = "ovnlet.io/subnet"
NAMED = 3  # pods that a message names
log = structlog.get_logger("subnets")


@dataclass(frozen=True, slots=True)
class _Verdict:
    """A Subnet that can be used, or why it cannot."""

    subnet: Subnet | None
    why: str = ""


class Subnets:
    """All Subnets. It keeps ``context.usable``: the Subnets that are in force.

    A Subnet whose new specification cannot be used stays in force as it last was.
    """

    def __init__(self, context: ControllerContext) -> None:
        self._context = context
        self._warned: dict[str, str] = {}  # the last warning, by Subnet

    def update_usable(self) -> None:
        """Validate all specifications together. Of two that clash, the older Subnet is accepted."""
        context, accepted = self._context, [self._context.join]
        for body in sorted(context.subnets, key=lambda each: (each.created, each.name)):
            verdict = self._verdict(body, accepted)
            if verdict.subnet is not None:
                accepted.append(verdict.subnet)
                context.usable[body.name] = verdict.subnet
            elif kept := context.usable.get(body.name):
                accepted.append(kept)
        for name in context.usable.keys() - {body.name for body in context.subnets}:
            del context.usable[name]

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
        for pod in self._context.pods:
            self._context.add(("pod", *pod.owner))

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
        self.update_usable()
        if body is None:
            return
        ports = [port for port in context.northbound.ports(name) if port.enabled]
        if body.deleting:
            return await self._delete(body, ports)
        subnet = context.usable.get(name)
        if subnet is not None:
            # First the finalizer: without it a deletion could leave the switch behind.
            if FINALIZER not in body.finalizers:
                return await context.writer.finalizers(body, (*body.finalizers, FINALIZER))
            await self._make(subnet)
        return await self._status(body, subnet, ports)

    async def _make(self, subnet: Subnet) -> None:
        """Create or correct a Subnet's switch; then pods may have their ports."""
        context, router = self._context, self._context.settings.cluster_router
        if not (context.northbound.has(router=router) and context.northbound.has(group=GROUP)):
            raise NotReady(f"router {router} and load balancer group {GROUP} do not exist yet")
        plan = diff(topology.subnet(subnet, router), context.northbound.subnet(subnet.name, router))
        if plan:
            await context.northbound.apply(plan)
            log.info("subnet written", subnet=subnet.name, steps=[str(step) for step in plan])
            context.add(NETWORK)
            for pod in context.pods:
                context.add(("pod", *pod.owner))

    async def _delete(self, body: SubnetObject, ports: list[SwitchPort]) -> None:
        """Remove a Subnet without ports in use; otherwise report which pods use it.

        Disabled ports, which only keep the address of an ended pod, go with the switch.
        """
        context, router = self._context, self._context.settings.cluster_router
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
        await context.northbound.apply(diff(ABSENT, context.northbound.subnet(body.name, router)))
        context.usable.pop(body.name, None)
        context.add(NETWORK)
        await context.writer.finalizers(
            body, [each for each in body.finalizers if each != FINALIZER]
        )
        log.info("subnet deleted", subnet=body.name)

    async def _status(
        self, body: SubnetObject, subnet: Subnet | None, ports: list[SwitchPort]
    ) -> None:
        """Report whether the specification is valid and whether the switch exists."""
        why = self._verdict(body, self._others(body)).why
        if why:
            self._warn(body, "SubnetInvalid", why)
        else:
            self._warned.pop(body.name, None)
        ready = subnet is not None and self._context.northbound.has(switch=body.name)
        state = f"logical switch {body.name} {'exists' if ready else 'does not exist'}"
        conditions = {
            "Validated": (
                not why,
                "Invalid" if why else "Valid",
                why or "the specification is valid",
            ),
            "Ready": (ready, "SwitchMade" if ready else "NoSwitch", state),
        }
        await self._conditions(body, conditions, ports, subnet)

    async def _conditions(
        self,
        body: SubnetObject,
        conditions: dict[str, tuple[bool, str, str]],
        ports: Iterable[SwitchPort],
        subnet: Subnet | None,
    ) -> None:
        """Write the status if it changed. A condition's time is that of its last change."""
        before = {each["type"]: each for each in body.status.get("conditions") or ()}
        listed = []
        for kind, (good, reason, message) in conditions.items():
            new = {"type": kind, "status": str(good), "reason": reason, "message": message}
            old = before.get(kind, {})
            same = all(old.get(name) == value for name, value in new.items())
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            listed.append(
                {**new, "lastTransitionTime": old.get("lastTransitionTime") if same else now}
            )
        status = {**_figures(subnet, ports), "conditions": listed}
        if any(body.status.get(name) != value for name, value in status.items()):
            await self._context.writer.status(body, status)

    def _verdict(self, body: SubnetObject, others: Iterable[Subnet]) -> _Verdict:
        """Validate a specification, alone and against the ``others``."""
        try:
            subnet = subnets.read(body.name, body.spec)
        except Unusable as unusable:
            return _Verdict(None, str(unusable))
        subnet = replace(subnet, reserved=self._reserved(subnet))
        if why := subnets.clash(subnet, others) or self._why_not_moved(subnet):
            return _Verdict(None, why)
        return _Verdict(subnet)

    def _reserved(self, subnet: Subnet) -> tuple[Range, ...]:
        """Return the addresses of the Subnet's valid IPPools: other pods do not get them."""
        pools = sorted(self._context.pools, key=lambda pool: pool.name)
        return tuple(
            each for pool in pools if pool.why_not(subnet) is None for each in pool.ranges()
        )

    def _others(self, body: SubnetObject) -> list[Subnet]:
        """Return the join subnet and the Subnets in force that are older than this one."""
        context = self._context
        older = [o for o in context.subnets if (o.created, o.name) < (body.created, body.name)]
        return [context.join, *(context.usable[o.name] for o in older if o.name in context.usable)]

    def _why_not_moved(self, subnet: Subnet) -> str | None:
        """Return why a Subnet cannot have these prefixes; None if it can.

        The addresses of running pods are fixed, so a switch in use keeps its prefixes.
        """
        northbound, router = self._context.northbound, self._context.settings.cluster_router
        if subnet.name == self._context.join.name:
            return f"the name {subnet.name} is reserved for the network of the nodes"
        if not northbound.has(switch=subnet.name):
            return None
        have = [row for row in northbound.subnet(subnet.name, router) if isinstance(row, Switch)]
        want = [row for row in topology.subnet(subnet, router) if isinstance(row, Switch)]
        before, after = (
            {k: v for k, v in (*rows[0].config,) if k != "exclude_ips"} for rows in (have, want)
        )
        user = next(iter(northbound.ports(subnet.name)), None)
        if before != after and user is not None:
            pod = user.label("pod")
            return f"cidrBlock cannot be changed while pods have addresses of it, such as {pod}"
        return None

    def _members(self) -> list[topology.Member]:
        """Return the nodes whose port in the join subnet is pinned."""
        members = []
        for node in self._context.nodes:
            seen = self._context.northbound.port(node.port)
            if seen is not None and (binding := bound(seen.port.addresses)):
                addresses = tuple(map(str, binding.addresses))
                members.append(topology.Member(node.port, addresses, node.internal))
        return members

    def _warn(self, body: SubnetObject, reason: str, why: str) -> None:
        """Log and record a Warning Event, once until the reason changes."""
        if self._warned.get(body.name) != why:
            self._warned[body.name] = why
            log.warning(why, subnet=body.name, reason=reason)
            self._context.record(body, "Warning", reason, why)


def _figures(subnet: Subnet | None, ports: Iterable[SwitchPort]) -> dict[str, Any]:
    """Return the numbers of used and free addresses under Kube-OVN's names.

    The caller leaves disabled ports out, although their addresses are not free yet.
    """
    bindings = [binding for port in ports if (binding := bound(port.addresses))]
    using = {
        family: sum(a.version == family for b in bindings for a in b.addresses) for family in (4, 6)
    }
    free = max(subnet.capacity - using[4], 0) if subnet is not None else 0
    return {"v4usingIPs": using[4], "v6usingIPs": using[6], "v4availableIPs": free}
