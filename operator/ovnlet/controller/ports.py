"""The pass of a pod or a Node: it pins the logical switch port and writes the annotations."""

import time
from collections.abc import Callable
from typing import Protocol

import structlog

from ovnlet.controller.context import NETWORK, ControllerContext, Key
from ovnlet.controller.keys import owner_of
from ovnlet.controller.missing import Missing
from ovnlet.controller.networks import PodNetworks
from ovnlet.controller.waiting import Waiting, wait_of
from ovnlet.core import ids
from ovnlet.core.allocation import Address
from ovnlet.core.annotations import key as annotation
from ovnlet.core.errors import NotReady, Taken
from ovnlet.core.ipam import claims, decide, networks, published
from ovnlet.core.ipam.address_requests import IP, MAC
from ovnlet.core.ipam.claims import Claim, NodeClaim, Owner, Workload
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
        self.networks = PodNetworks(context)
        self.missing = Missing(context, self._reserved, self.networks)
        # Patched, but not yet reported back by the watch, by key and pod.
        self._patched: dict[tuple[Key, str], Claim] = {}

    def changed(self, was: Workload | None, now: Workload | None) -> None:
        """Request the pass of a pod that was created, changed or deleted."""
        self.networks.noted(was, now)
        for key in self.networks.keys(was, now):
            self.missing.check(key)
            if was is not None and now is None:
                self._patched.pop((("pod", *key), was.name), None)
            self._context.add(("pod", *key))

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

    def check_port(self, key: Owner) -> None:
        """Note whether a pod lacks its port, and continue deferred passes if no port is missing."""
        self.missing.check(key)
        self.missing.resume()

    async def pod(self, of: Owner) -> None:
        """Make the pass of a pod in one network: pin its port and annotate it, or retire the port.

        Raises NotReady if the database or the pod's logical switch is not there, ApiFault if the
        annotations cannot be written.
        """
        key: Key = ("pod", *of)
        for subject, *problem in self.networks.problems(of):
            self._warn(subject, *problem)
        claim = self.networks.claim(of)
        if claim is None or claim.finished:
            self._waiting.drop(key)
            self.missing.found(of)
            await self._retire(key, claims.port_of(of), claim)
            for withdrawn in self.networks.withdrawn(of):
                await self._context.writer.annotate(*withdrawn)
        elif claim.node:
            await self._unless_taken(key, self.networks.placed(claim))

    async def node(self, name: str) -> None:
        """Make the pass of a Node, as ``pod`` does, in the join network.

        It has no port where a pod's own network is another plugin's.
        """
        primary = self._context.settings.pod_network == "primary"
        node = self._context.nodes.get(("", name)) if primary else None
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
            why = networks.no_subnet(claim)
        except Taken as taken:
            reason, why = "NameTaken", str(taken)
            self._context.later(TAKEN_RETRY, key)
        self.missing.found(claim.key)
        self._warn(claim, reason, why)

    async def _claim(self, key: Key, claim: Claim, subnet: Subnet) -> None:
        """Bring the port to what ``decide`` wants, then write the outcome to the object."""
        northbound = self._context.northbound
        if not northbound.has(switch=subnet.name):
            raise NotReady(f"logical switch {subnet.name} does not exist yet")
        for _ in range(MAX_ROUNDS):
            seen = self._seen(claim)
            decision = decide.decide(claim, seen, subnet, self._holder, self._pool)
            if decision.fresh and seen is None and self._in_vain(key, claim, subnet, decision):
                self.missing.found(claim.key)
                return
            if decision.fresh and not self.missing.may_allocate(key):
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
        self.missing.found(claim.key)
        if decision.waits:
            self._waiting.put(key, wait_of(claim, subnet, decision, seen))
        await self._conclude(key, claim, subnet, decision)

    def _in_vain(self, key: Key, claim: Claim, subnet: Subnet, decision: Decision) -> bool:
        """Return whether OVN had nothing for just this, and nothing was released since."""
        asked = decision.port.addresses if decision.port is not None else ""
        return self._waiting.in_vain(key, (claim.object_uid, subnet, asked))

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
        for each in self.networks.launchers(claim):
            changes, patch = published.missing(each, facts), (key, each.name)
            if not changes:
                self._patched.pop(patch, None)
            elif self._patched.get(patch) != each:  # otherwise the watch has yet to report it
                await self._annotate(each, changes, facts)
                self._patched[patch] = each

    async def _annotate(self, claim: Claim, changes: dict[str, str], facts: dict[str, str]) -> None:
        """Write the changed annotations, and report an edit of the addresses that this undoes."""
        was_allocated = claim.value("allocated") == "true"
        ip, mac = (annotation(claim.provider, name) for name in (IP, MAC))
        await self._context.writer.annotate(claim, changes)
        if was_allocated and (edited := sorted({ip, mac} & changes.keys())):
            given = ", ".join(f"{name} was {claim.annotations.get(name)!r}" for name in edited)
            self._warn(
                claim,
                "AnnotationRestored",
                f"{given}; fixed for this object: {facts[ip]}, {facts[mac]}",
            )
        elif not was_allocated:
            self._counters.allocated(claim.kind)
            log.info("allocated", port=claim.port, addresses=facts[ip], mac=facts[mac])
        if isinstance(claim, NodeClaim):
            self._context.add(NETWORK)

    async def _retire(self, key: Key, name: str, pod: Workload | None) -> None:
        """Disable or remove the port of a pod that ended or of a Node that is gone."""
        seen = self._own(name, key)
        if seen is None:
            self._wake("", self._reserved.release(name))
            return
        if self.networks.keeps(key, seen.port):
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
        """Return a claim's port. Raise Taken if another object has a port of its name."""
        seen = self._context.northbound.port(claim.port)
        if seen is None:
            return None
        names = (MARK, "pod", claims.PROVIDER_LABEL, claims.MACHINE_LABEL)
        if any(seen.port.label(name) != claim.labels.get(name) for name in names):
            whose = seen.port.label("pod") or seen.port.label(MARK)
            raise Taken(f"logical switch port {claim.port} belongs to {whose} of ovnlet")
        return seen

    def _own(self, name: str, key: Key) -> Seen | None:
        """Return the port of that name if it belongs to the object of that key, or None."""
        try:
            seen = self._context.northbound.port(name)
        except Taken:
            return None
        return seen if seen is not None and owner_of(seen.port) == key else None

    def _pool(self, name: str) -> IpPool | None:
        return self._context.pools.get(("", name))

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
        if asked := claim.value("logical_switch"):
            found = usable.get(asked)
        else:
            found = networks.subnet_for(claim, usable.values())
        body = self._context.subnets.get(("", found.name)) if found is not None else None
        deleting = body is None or (body.deleting and not claim.value("allocated"))
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
