"""The pass of a pod or a Node: its logical switch port, pinned, and what it is told of it."""

import time
from collections.abc import Callable
from typing import Protocol

import structlog

from ovnlet.controller.context import NETWORK, ControllerContext, Key
from ovnlet.core.errors import NotReady
from ovnlet.core.ipam import claims, decide
from ovnlet.core.ipam.claims import IP, MAC, Claim, NodeClaim, Owner, Workload
from ovnlet.core.ipam.decide import Decision, Seen
from ovnlet.core.ipam.pools import IpPool
from ovnlet.core.ipam.subnets import Subnet
from ovnlet.core.plan import diff
from ovnlet.core.resources.northbound import ABSENT, Rows, SwitchPort

# Pinned, annotated, and a look between: more passes only where OVN or somebody else moved meanwhile.
PASSES = 5
# One address that is free is for one; a second tries in case the first has gone meanwhile.
FULL, AT_ONCE = "SubnetFull", 2
log = structlog.get_logger("ports")


class Count(Protocol):
    """What metrics want to know."""

    def allocated(self, kind: str, /) -> None: ...
    def told(self, reason: str, /) -> None: ...


class Ports:
    """``waiting`` are the keys that can go on only when addresses or ports are given up, by subnet."""

    def __init__(
        self, desk: ControllerContext, count: Count, clock: Callable[[], float] = time.time
    ) -> None:
        self._desk, self._count, self._clock = desk, count, clock
        self._waiting: dict[Key, tuple[str, str]] = {}
        self._owed: set[Owner] = set()
        self._behind: set[Key] = set()
        self._patched: dict[Key, Claim] = {}

    def changed(self, was: Workload | None, now: Workload | None) -> None:
        """A pod is another one than before: keep account of those that lack the port that they were told of."""
        pod = now or was
        if pod is None:
            return
        self._account(pod.owner)
        if now is None:
            self._patched.pop(("pod", *pod.owner), None)
        self._desk.add(("pod", *pod.owner))

    def freed(self, switch: str) -> None:
        """A port gave its addresses up: who waits for just these tries again, and the first who wait for any."""
        here = [(key, reason) for key, (waits, reason) in self._waiting.items() if waits == switch]
        full = [key for key, reason in here if reason == FULL]
        for key in [*(key for key, reason in here if reason != FULL), *full[:AT_ONCE]]:
            self._desk.add(key)

    def account_all(self) -> None:
        """After a new session, and now and then: which living pods lack their port."""
        self._owed.clear()
        self._patched.clear()
        for pod in self._desk.pods:
            self._account(pod.owner)

    def account(self, owner: Owner) -> None:
        self._account(owner)
        self._open()

    @property
    def owed(self) -> frozenset[Owner]:
        return frozenset(self._owed)

    async def pod(self, owner: Owner) -> None:
        key: Key = ("pod", *owner)
        pod = self._desk.pods.get(owner)
        if pod is None or pod.finished:
            self._waiting.pop(key, None)
            self._settle(owner)
            return await self._retire(
                key, claims.Workload(*owner, "", "").port if pod is None else pod.port, pod
            )
        if pod.node:
            subnet = self._subnet_of(pod)
            if subnet is not None:
                await self._claim(key, pod, subnet)
            else:
                self._settle(owner)
                self._tell(
                    pod,
                    "NoSubnet",
                    "no subnet is the default, none is of this namespace or of that name",
                )
        return None

    async def node(self, name: str) -> None:
        node = self._desk.nodes.get(("", name))
        key: Key = ("node", "", name)
        if node is None:
            await self._retire(key, f"node-{name}", None)
        else:
            await self._claim(key, node, self._desk.join)

    async def _claim(self, key: Key, claim: Claim, subnet: Subnet) -> None:
        northbound = self._desk.northbound
        if not northbound.has(switch=subnet.name):
            raise NotReady(f"logical switch {subnet.name} is not there yet")
        for _ in range(PASSES):
            seen = northbound.port(claim.port)
            decision = decide.decide(claim, seen, subnet, northbound.holder, self._pool)
            if decision.fresh:  # what it was told of cannot be restored
                self._owed.discard(claim.owner)
                if not self._may_choose(key):
                    return
            plan = diff(_rows(decision.port), _rows(seen.port if seen else None))
            if not plan:
                break
            pinning = decision.binding is not None and seen is not None and seen.answer
            await northbound.apply(plan, seen.answer if pinning and seen else None)
        self._settle(claim.owner if isinstance(claim, Workload) else None)
        await self._conclude(key, claim, subnet, decision)

    async def _conclude(self, key: Key, claim: Claim, subnet: Subnet, decision: Decision) -> None:
        if decision.waits:
            self._waiting[key] = (subnet.name, decision.event[0] if decision.event else "")
        elif decision.binding is not None:
            self._waiting.pop(key, None)
        if decision.event is not None:
            self._tell(claim, *decision.event)
        if decision.binding is None:
            return
        facts = decide.annotations(
            claim, decision.binding, subnet, self._desk.settings.cluster_router
        )
        changes = decide.missing(claim, facts)
        if not changes:
            self._patched.pop(key, None)
        elif self._patched.get(key) != claim:  # else the watch is yet to show what was written
            self._patched[key] = claim
            await self._annotate(claim, changes, facts)

    async def _annotate(self, claim: Claim, changes: dict[str, str], facts: dict[str, str]) -> None:
        told = claim.annotations.get(claims.ALLOCATED) == "true"
        await self._desk.writer.annotate(claim, changes)
        if told and (edited := sorted({IP, MAC} & changes.keys())):
            given = ", ".join(f"{name} was {claim.annotations.get(name)!r}" for name in edited)
            self._tell(
                claim,
                "AnnotationRestored",
                f"{given}; fixed for this object: {facts[IP]}, {facts[MAC]}",
            )
        elif not told:
            self._count.allocated(claim.kind)
            log.info("allocated", port=claim.port, addresses=facts[IP], mac=facts[MAC])
        if isinstance(claim, NodeClaim):
            self._desk.add(NETWORK)

    async def _retire(self, key: Key, name: str, pod: Workload | None) -> None:
        """What becomes of the port of a pod that ended or a Node that is gone."""
        northbound = self._desk.northbound
        seen = northbound.port(name)
        if seen is None or (pod is None and self._is_kept(key, seen)):
            return
        desired, again = None, 0.0
        if key[0] == "pod":
            desired, again = decide.retired(seen, int(self._clock()), self._desk.settings.cool_down)
        await northbound.apply(diff(_rows(desired), _rows(seen.port)))
        if desired is not None:
            self._desk.later(again, key)
        if key[0] == "node":
            self._desk.add(NETWORK)

    def _pool(self, name: str) -> IpPool | None:
        return self._desk.pools.get(("", name))

    def _is_kept(self, key: Key, seen: Seen) -> bool:
        """A StatefulSet's pod comes back under its name, and gets its address back."""
        name = seen.port.label("ovnlet-workload")
        owner = self._desk.stateful_sets.get((key[1], name)) if name else None
        return owner is not None and owner.wants(key[2])

    def _subnet_of(self, pod: Workload) -> Subnet | None:
        """That of its port for as long as the pod lives, else as it asks, its namespace's or the default one."""
        usable, seen = self._desk.usable, self._desk.northbound.port(pod.port)
        if seen is not None and decide.settled(pod, seen) and seen.port.switch in usable:
            return usable[seen.port.switch]
        if asked := pod.annotations.get(claims.SWITCH):
            found = usable.get(asked)
        else:
            found = next((s for s in usable.values() if pod.namespace in s.namespaces), None)
            found = found or next((s for s in usable.values() if s.default), None)
        body = self._desk.subnets.get(("", found.name)) if found is not None else None
        return (
            None
            if body is None or (body.deleting and claims.ALLOCATED not in pod.annotations)
            else found
        )

    def _may_choose(self, key: Key) -> bool:
        """Not while a living pod lacks the port that it was told of: OVN would hand its address to another."""
        if self._owed - {key[1:]}:
            self._behind.add(key)
            return False
        return True

    def _account(self, owner: Owner) -> None:
        if not self._desk.northbound.connected:  # all are accounted for when it is back
            return
        pod = self._desk.pods.get(owner)
        told = (
            pod is not None and not pod.finished and pod.annotations.get(claims.ALLOCATED) == "true"
        )
        if pod is not None and told and self._desk.northbound.port(pod.port) is None:
            self._owed.add(owner)
        else:
            self._owed.discard(owner)

    def _settle(self, owner: Owner | None) -> None:
        if owner is not None:
            self._owed.discard(owner)
        self._open()

    def _open(self) -> None:
        """Those who had to stand back may have OVN choose now."""
        if not self._owed:
            behind, self._behind = self._behind, set()
            for key in behind:
                self._desk.add(key)

    def _tell(self, claim: Claim, reason: str, message: str) -> None:
        log.warning(message, reason=reason, port=claim.port)
        self._count.told(reason)
        self._desk.record(claim, "Warning", reason, message)


def _rows(port: SwitchPort | None) -> Rows:
    return frozenset({port}) if port is not None else ABSENT
