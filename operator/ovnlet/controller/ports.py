"""The pass of a pod or a Node: it pins the logical switch port and writes the annotations."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import structlog

from ovnlet.controller.context import NETWORK, ControllerContext, Key
from ovnlet.controller.missing import Missing
from ovnlet.controller.waiting import Waiting, wait_of
from ovnlet.core import ids
from ovnlet.core.allocation import Address
from ovnlet.core.errors import NotReady, Taken
from ovnlet.core.ipam import claims, decide, published
from ovnlet.core.ipam.claims import IP, MAC, Claim, NodeClaim, Owner, Workload
from ovnlet.core.ipam.decide import Decision, Seen
from ovnlet.core.ipam.pools import IpPool
from ovnlet.core.ipam.reservations import Reservations
from ovnlet.core.ipam.subnets import Subnet
from ovnlet.core.plan import diff
from ovnlet.core.resources.northbound import ABSENT, MARK, Rows, SwitchPort

# A port is created, pinned, then checked. More rounds are needed only if OVN or another client
# changes it meanwhile.
MAX_ROUNDS = 5
# Seconds until a port of a name that somebody else's port has is tried again.
TAKEN_RETRY = 30.0
log = structlog.get_logger("ports")


class Counters(Protocol):
    """The metrics that a pass updates."""

    def allocated(self, kind: str, /) -> None:
        """Count an object whose addresses were written for the first time."""

    def warned(self, reason: str, /) -> None:
        """Count a Warning Event."""


class Ports:
    """The logical switch ports of all pods and Nodes.

    What a pass wants for its port is reserved before anything is written, so that of two passes
    that run at the same time only one gets an address.
    """

    def __init__(
        self, context: ControllerContext, counters: Counters, clock: Callable[[], float] = time.time
    ) -> None:
        self._context, self._counters, self._clock = context, counters, clock
        self._reserved = Reservations()
        self._waiting = Waiting(self._pool)
        self.missing = Missing(context, self._reserved)
        self._patched: dict[Key, Claim] = {}  # patched, but not yet reported back by the watch

    def changed(self, was: Workload | None, now: Workload | None) -> None:
        """Request the pass of a pod that was created, changed or deleted."""
        pod = now or was
        if pod is None:
            return
        self.missing.check(pod.owner)
        if now is None:
            self._patched.pop(("pod", *pod.owner), None)
        self._context.add(("pod", *pod.owner))

    def check_all_ports(self) -> None:
        """Look at all ports: for each new session and each resync.

        Reserve what unanswered ports ask OVN for: an earlier leader has granted those wishes.
        """
        self._patched.clear()
        self._waiting.retry()
        self.missing.check_all()
        for port in self._context.northbound.every_port():
            if port.name not in self._reserved:
                self._reserved.hold(port.name, decide.requested_words(port.addresses))

    def check_port(self, owner: Owner) -> None:
        """Note whether a pod lacks its port, and continue deferred passes if no port is missing."""
        self.missing.check(owner)
        self.missing.resume()

    async def pod(self, owner: Owner) -> None:
        """Make the pass of a pod: pin its port and annotate the pod, or retire the port.

        Raises NotReady if the database or the pod's logical switch is not there, ApiFault if the
        annotations cannot be written.
        """
        key: Key = ("pod", *owner)
        pod = self._context.pods.get(owner)
        if pod is None or pod.finished:
            self._waiting.drop(key)
            self.missing.found(owner)
            await self._retire(key, claims.Workload(*owner, "", "").port, pod)
        elif pod.node:
            await self._unless_taken(key, replace(pod, chassis=self._chassis_of(pod.node)))

    async def node(self, name: str) -> None:
        """Make the pass of a Node, as ``pod`` does, in the join network."""
        node = self._context.nodes.get(("", name))
        key: Key = ("node", "", name)
        names = {ids.node_port(name), ids.node_iface_id(name)}
        if node is not None:
            await self._unless_taken(key, node)
            names.remove(node.port)
        for each in sorted(names):
            await self._retire(key, each, None)

    async def _unless_taken(self, key: Key, claim: Claim) -> None:
        """Bring the port to what it should be; report a port of somebody else with its name.

        That stops this one object only. It is tried again after 30 s.
        """
        try:
            subnet = self._subnet_of(claim)
            if subnet is not None:
                await self._claim(key, claim, subnet)
                return
            reason = "NoSubnet"
            why = "no Subnet is the default, lists this namespace or has the name asked for"
        except Taken as taken:
            reason, why = "NameTaken", str(taken)
            self._context.later(TAKEN_RETRY, key)
        self.missing.found(claim.owner)
        self._warn(claim, reason, why)

    async def _claim(self, key: Key, claim: Claim, subnet: Subnet) -> None:
        """Bring the port to what ``decide`` wants, then write the outcome to the object."""
        northbound = self._context.northbound
        if not northbound.has(switch=subnet.name):
            raise NotReady(f"logical switch {subnet.name} does not exist yet")
        for _ in range(MAX_ROUNDS):
            seen = self._seen(claim)
            decision = decide.decide(claim, seen, subnet, self._holder, self._pool)
            if decision.fresh and not self._may_ask(key, subnet, decision, seen):
                return
            # Nothing else runs between the decision and this.
            released = self._reserved.hold(claim.port, decision.reserved)
            plan = diff(_rows(decision.port), _rows(seen.port if seen else None))
            if plan:
                pinning = decision.binding is not None and seen is not None and seen.answer
                await northbound.apply(plan, seen.answer if pinning and seen else None)
            freed = (released | _given(seen)) - decision.reserved - decision.lacks
            self._wake(subnet.name, freed)
            if decision.waits or not plan:
                break
        self.missing.found(claim.owner)
        if decision.waits:
            self._waiting.put(key, wait_of(claim, subnet, decision, seen))
        await self._conclude(key, claim, subnet, decision)

    def _may_ask(self, key: Key, subnet: Subnet, decision: Decision, seen: Seen | None) -> bool:
        """Return whether OVN may be asked for an address, or has been already."""
        if not self.missing.may_allocate(key):
            return False
        asked = decision.port.addresses if decision.port is not None else ""
        return seen is not None or not self._waiting.in_vain(key, (subnet, asked))

    async def _conclude(self, key: Key, claim: Claim, subnet: Subnet, decision: Decision) -> None:
        """Report a conflict or the pinned addresses: as an Event, or as annotations."""
        if decision.binding is not None:
            self._waiting.drop(key)
        if decision.event is not None:
            self._warn(claim, *decision.event)
        if decision.binding is None:
            return
        facts = published.annotations(
            claim, decision.binding, subnet, self._context.settings.cluster_router
        )
        changes = published.missing(claim, facts)
        if not changes:
            self._patched.pop(key, None)
        elif self._patched.get(key) != claim:  # otherwise the watch has yet to report the patch
            await self._annotate(claim, changes, facts)
            self._patched[key] = claim

    async def _annotate(self, claim: Claim, changes: dict[str, str], facts: dict[str, str]) -> None:
        """Write the changed annotations, and report an edit of the addresses that this undoes."""
        was_allocated = claim.annotations.get(claims.ALLOCATED) == "true"
        await self._context.writer.annotate(claim, changes)
        if was_allocated and (edited := sorted({IP, MAC} & changes.keys())):
            given = ", ".join(f"{name} was {claim.annotations.get(name)!r}" for name in edited)
            self._warn(
                claim,
                "AnnotationRestored",
                f"{given}; fixed for this object: {facts[IP]}, {facts[MAC]}",
            )
        elif not was_allocated:
            self._counters.allocated(claim.kind)
            log.info("allocated", port=claim.port, addresses=facts[IP], mac=facts[MAC])
        if isinstance(claim, NodeClaim):
            self._context.add(NETWORK)

    async def _retire(self, key: Key, name: str, pod: Workload | None) -> None:
        """Disable or remove the port of a pod that ended or of a Node that is gone."""
        seen = self._own(name, key[0])
        if seen is None:
            self._wake("", self._reserved.release(name))
            return
        if pod is None and self._is_kept(key, seen):
            return
        desired, left = None, 0.0  # the port, and the seconds until it may be removed
        if key[0] == "pod":
            desired, left = decide.retired(
                seen, int(self._clock()), self._context.settings.cool_down
            )
        await self._context.northbound.apply(diff(_rows(desired), _rows(seen.port)))
        if desired is not None:
            self._reserved.hold(name, _given(seen))
            self._context.later(left, key)
        else:
            self._wake(seen.port.switch, self._reserved.release(name) | _given(seen))
        if key[0] == "node":
            self._context.add(NETWORK)

    def _wake(self, switch: str, words: frozenset[str]) -> None:
        """Request the passes that wait for these addresses, which the switch's ports released."""
        for key in self._waiting.woken_by(switch, words):
            self._context.add(key)

    def _holder(self, address: Address | str, besides: str) -> str | None:
        """Return another port that has an address or a MAC, or for which it is reserved."""
        return self._reserved.holder(str(address), besides) or self._context.northbound.holder(
            address, besides
        )

    def _seen(self, claim: Claim) -> Seen | None:
        """Return a claim's port. Raise Taken if another kind of object has a port of its name."""
        seen = self._context.northbound.port(claim.port)
        if seen is not None and (kind := seen.port.label(MARK)) != claim.labels[MARK]:
            raise Taken(f"logical switch port {claim.port} belongs to a {kind} of ovnlet")
        return seen

    def _own(self, name: str, kind: str) -> Seen | None:
        """Return the port of that name if it belongs to a ``kind`` of object, or None."""
        try:
            seen = self._context.northbound.port(name)
        except Taken:
            return None
        return seen if seen is not None and seen.port.label(MARK) == kind else None

    def _chassis_of(self, node: str) -> str:
        """Return the chassis that a Node names, or an empty string."""
        found = self._context.nodes.get(("", node))
        return found.chassis if found is not None else ""

    def _pool(self, name: str) -> IpPool | None:
        return self._context.pools.get(("", name))

    def _is_kept(self, key: Key, seen: Seen) -> bool:
        """Return whether the port waits for a StatefulSet's pod to come back under its name.

        The new pod then gets the same addresses.
        """
        name = seen.port.label("ovnlet-workload")
        owner = self._context.stateful_sets.get((key[1], name)) if name else None
        return owner is not None and owner.wants(key[2])

    def _subnet_of(self, claim: Claim) -> Subnet | None:
        """Return a claim's subnet: of a pod that of its port, as long as the pod exists.

        Without a port it is the subnet that the pod asks for, else that of its namespace, else the
        default one; None if there is none, or if it is being deleted and the pod is new.
        """
        if isinstance(claim, NodeClaim):
            return self._context.join
        usable, seen = self._context.usable, self._seen(claim)
        if seen is not None and decide.settled(claim, seen) and seen.port.switch in usable:
            return usable[seen.port.switch]
        if asked := claim.annotations.get(claims.SWITCH):
            found = usable.get(asked)
        else:
            found = next((s for s in usable.values() if claim.namespace in s.namespaces), None)
            found = found or next((s for s in usable.values() if s.default), None)
        body = self._context.subnets.get(("", found.name)) if found is not None else None
        deleting = body is None or (body.deleting and claims.ALLOCATED not in claim.annotations)
        return None if deleting else found

    def _warn(self, claim: Claim, reason: str, message: str) -> None:
        log.warning(message, reason=reason, port=claim.port)
        self._counters.warned(reason)
        self._context.record(claim, "Warning", reason, message)


def _given(seen: Seen | None) -> frozenset[str]:
    """Return the MAC and the addresses that a port has, as text."""
    texts = (seen.port.addresses, seen.answer) if seen is not None else ()
    return frozenset(word for text in texts if claims.bound(text) for word in text.lower().split())


def _rows(port: SwitchPort | None) -> Rows:
    return frozenset({port}) if port is not None else ABSENT
