"""The passes of a Subnet and of the network that joins them: switches, the router, routes; status and finalizer."""

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
from ovnlet.core.resources.northbound import ABSENT, Router, Switch, SwitchPort

FINALIZER = "ovnlet.io/subnet"
NAMED = 3
log = structlog.get_logger("subnets")


@dataclass(frozen=True, slots=True)
class _Verdict:
    subnet: Subnet | None
    why: str = ""


class Subnets:
    """Keeps ``desk.usable``: a Subnet that has become unusable stays in force as it last was."""

    def __init__(self, desk: ControllerContext) -> None:
        self._desk = desk
        self._told: dict[str, str] = {}

    def judge(self) -> None:
        """Look at all specifications together: those made first go before those they clash with."""
        desk, accepted = self._desk, [self._desk.join]
        for body in sorted(desk.subnets, key=lambda each: (each.created, each.name)):
            verdict = self._verdict(body, accepted)
            if verdict.subnet is not None:
                accepted.append(verdict.subnet)
                desk.usable[body.name] = verdict.subnet
            elif kept := desk.usable.get(body.name):
                accepted.append(kept)
        for name in desk.usable.keys() - {body.name for body in desk.subnets}:
            del desk.usable[name]

    def changed(self, was: SubnetObject | None, now: SubnetObject | None) -> None:
        """What one Subnet says may free or forbid another, and pods may wait for any of it; status does neither."""
        body = now or was
        if body is None:
            return
        before = (was.spec, was.deleting) if was else None
        self._desk.add(("subnet", "", body.name))
        if before == ((now.spec, now.deleting) if now else None):
            return
        for each in self._desk.subnets:
            self._desk.add(("subnet", "", each.name))
        self._desk.add(NETWORK)
        for pod in self._desk.pods:
            self._desk.add(("pod", *pod.owner))

    async def network(self) -> None:
        """The router, the join network, and the ways out."""
        desk, router = self._desk, self._desk.settings.cluster_router
        join = topology.subnet(desk.join, router) | {Router(router)}
        have = desk.northbound.subnet(desk.join.name, router) | desk.northbound.network(router)
        wanted = topology.network(router, desk.usable.values(), desk.join, self._members()) | join
        await desk.northbound.apply(diff(wanted, have))

    async def subnet(self, name: str) -> None:
        desk = self._desk
        body = desk.subnets.get(("", name))
        self.judge()
        if body is None:
            return
        ports = [port for port in desk.northbound.ports(name) if port.enabled]
        if body.deleting:
            return await self._delete(body, ports)
        subnet = desk.usable.get(name)
        if subnet is not None:
            if (
                FINALIZER not in body.finalizers
            ):  # before there is anything that could be left behind
                return await desk.writer.finalizers(body, (*body.finalizers, FINALIZER))
            await self._make(subnet)
        return await self._status(body, subnet, ports)

    async def _make(self, subnet: Subnet) -> None:
        desk, router = self._desk, self._desk.settings.cluster_router
        if not desk.northbound.has(router=router):
            raise NotReady(f"logical router {router} is not there yet")
        plan = diff(topology.subnet(subnet, router), desk.northbound.subnet(subnet.name, router))
        if plan:
            await desk.northbound.apply(plan)
            log.info("subnet made", subnet=subnet.name, steps=[str(step) for step in plan])
            desk.add(NETWORK)
            for pod in desk.pods:
                desk.add(("pod", *pod.owner))

    async def _delete(self, body: SubnetObject, ports: list[SwitchPort]) -> None:
        """Wait for the pods that live in it, and say which they are; those that cool down go with it."""
        desk, router = self._desk, self._desk.settings.cluster_router
        if FINALIZER not in body.finalizers:
            return
        if ports:
            names = sorted(port.label("pod") or port.name for port in ports)
            rest = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            why = f"waiting to be deleted: used by {', '.join(names[:NAMED])}{rest}"
            self._tell(body, "SubnetInUse", why)
            await self._conditions(
                body, {"Ready": (False, "InUse", why)}, ports, desk.usable.get(body.name)
            )
            return
        await desk.northbound.apply(diff(ABSENT, desk.northbound.subnet(body.name, router)))
        desk.usable.pop(body.name, None)
        desk.add(NETWORK)
        await desk.writer.finalizers(body, [each for each in body.finalizers if each != FINALIZER])
        log.info("subnet deleted", subnet=body.name)

    async def _status(
        self, body: SubnetObject, subnet: Subnet | None, ports: list[SwitchPort]
    ) -> None:
        why = self._verdict(body, self._others(body)).why
        if why:
            self._tell(body, "SubnetInvalid", why)
        else:
            self._told.pop(body.name, None)
        ready = subnet is not None and self._desk.northbound.has(switch=body.name)
        there = f"logical switch {body.name} is {'there' if ready else 'not there'}"
        conditions = {
            "Validated": (
                not why,
                "Invalid" if why else "Valid",
                why or "the specification can be used",
            ),
            "Ready": (ready, "SwitchMade" if ready else "NoSwitch", there),
        }
        await self._conditions(body, conditions, ports, subnet)

    async def _conditions(
        self,
        body: SubnetObject,
        conditions: dict[str, tuple[bool, str, str]],
        ports: Iterable[SwitchPort],
        subnet: Subnet | None,
    ) -> None:
        """Write the status if it says anything new; a condition's time is that of its last change."""
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
            await self._desk.writer.status(body, status)

    def _verdict(self, body: SubnetObject, others: Iterable[Subnet]) -> _Verdict:
        try:
            subnet = subnets.read(body.name, body.spec)
        except Unusable as unusable:
            return _Verdict(None, str(unusable))
        subnet = replace(subnet, reserved=self._reserved(subnet))
        if why := subnets.clash(subnet, others) or self._moves(subnet):
            return _Verdict(None, why)
        return _Verdict(subnet)

    def _reserved(self, subnet: Subnet) -> tuple[Range, ...]:
        """Of pools that can be used."""
        pools = sorted(self._desk.pools, key=lambda pool: pool.name)
        return tuple(
            each for pool in pools if pool.why_not(subnet) is None for each in pool.ranges()
        )

    def _others(self, body: SubnetObject) -> list[Subnet]:
        """The join network and the Subnets in force that were made before this one."""
        desk = self._desk
        older = [o for o in desk.subnets if (o.created, o.name) < (body.created, body.name)]
        return [desk.join, *(desk.usable[o.name] for o in older if o.name in desk.usable)]

    def _moves(self, subnet: Subnet) -> str | None:
        """The addresses of running pods are fixed, so that a switch in use keeps its prefixes."""
        northbound, router = self._desk.northbound, self._desk.settings.cluster_router
        if subnet.name == self._desk.join.name:
            return f"the name {subnet.name} is that of the nodes' own network"
        if not northbound.has(switch=subnet.name):
            return None
        have = [row for row in northbound.subnet(subnet.name, router) if isinstance(row, Switch)]
        want = [row for row in topology.subnet(subnet, router) if isinstance(row, Switch)]
        before, after = (
            {k: v for k, v in (*rows[0].config,) if k != "exclude_ips"} for rows in (have, want)
        )
        user = next(iter(northbound.ports(subnet.name)), None)
        if before != after and user is not None:
            return f"cidrBlock cannot be changed while pods have addresses of it, such as {user.label('pod')}"
        return None

    def _members(self) -> list[topology.Member]:
        members = []
        for node in self._desk.nodes:
            seen = self._desk.northbound.port(node.port)
            if seen is not None and (binding := bound(seen.port.addresses)):
                addresses = tuple(map(str, binding.addresses))
                members.append(topology.Member(node.port, addresses, node.internal))
        return members

    def _tell(self, body: SubnetObject, reason: str, why: str) -> None:
        if self._told.get(body.name) != why:
            self._told[body.name] = why
            log.warning(why, subnet=body.name, reason=reason)
            self._desk.record(body, "Warning", reason, why)


def _figures(subnet: Subnet | None, ports: Iterable[SwitchPort]) -> dict[str, Any]:
    """Kube-OVN's names; a port that cools down has been counted out by the caller, but its address is not free."""
    bindings = [binding for port in ports if (binding := bound(port.addresses))]
    using = {
        family: sum(a.version == family for b in bindings for a in b.addresses) for family in (4, 6)
    }
    free = max(subnet.capacity - using[4], 0) if subnet is not None else 0
    return {"v4usingIPs": using[4], "v6usingIPs": using[6], "v4availableIPs": free}
