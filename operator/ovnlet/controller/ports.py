"""The pass of a pod or a Node: it pins the logical switch port and writes the annotations."""

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

# A port is created, pinned, then checked. More rounds are needed only if OVN or another client
# changes it meanwhile.
MAX_ROUNDS = 5
# One free address serves one pod. A second one tries too, in case the first has gone meanwhile.
FULL, RETRIES_PER_ADDRESS = "SubnetFull", 2
log = structlog.get_logger("ports")


class Counters(Protocol):
    """The metrics that a pass updates."""

    def allocated(self, kind: str, /) -> None:
        """Count an object whose addresses were written for the first time."""

    def warned(self, reason: str, /) -> None:
        """Count a Warning Event."""


class Ports:
    """The logical switch ports of all pods and Nodes.

    OVN must not choose an address while a running pod lacks the port that its annotations name: OVN
    could choose that pod's address. Such pods come first, and passes that need a new address wait.
    """

    def __init__(
        self, context: ControllerContext, counters: Counters, clock: Callable[[], float] = time.time
    ) -> None:
        self._context, self._counters, self._clock = context, counters, clock
        # Passes that need addresses or ports to be released first: their switch, and why.
        self._waiting: dict[Key, tuple[str, str]] = {}
        self._missing: set[Owner] = set()  # running pods whose annotated port does not exist
        self._deferred: set[Key] = set()  # passes that wait until no port is missing
        self._patched: dict[Key, Claim] = {}  # patched, but not yet reported back by the watch

    def changed(self, was: Workload | None, now: Workload | None) -> None:
        """Request the pass of a pod that was created, changed or deleted."""
        pod = now or was
        if pod is None:
            return
        self._check_port(pod.owner)
        if now is None:
            self._patched.pop(("pod", *pod.owner), None)
        self._context.add(("pod", *pod.owner))

    def freed(self, switch: str) -> None:
        """Request passes that wait for an address of this switch, after a port released one.

        All that wait for particular addresses try again, and the first two that wait for any
        address.
        """
        here = [(key, reason) for key, (waits, reason) in self._waiting.items() if waits == switch]
        full = [key for key, reason in here if reason == FULL]
        specific = [key for key, reason in here if reason != FULL]
        for key in [*specific, *full[:RETRIES_PER_ADDRESS]]:
            self._context.add(key)

    def check_all_ports(self) -> None:
        """Recompute which running pods lack their port: for each new session and each resync."""
        self._missing.clear()
        self._patched.clear()
        for pod in self._context.pods:
            self._check_port(pod.owner)

    def check_port(self, owner: Owner) -> None:
        """Note whether a pod lacks its port, and continue deferred passes if no port is missing."""
        self._check_port(owner)
        self._resume_deferred()

    @property
    def missing(self) -> frozenset[Owner]:
        """The running pods whose annotated port does not exist."""
        return frozenset(self._missing)

    async def pod(self, owner: Owner) -> None:
        """Make the pass of a pod: pin its port and annotate the pod, or retire the port.

        Raises NotReady if the database or the pod's logical switch is not there, Taken if a port of
        that name was not made by ovnlet, ApiFault if the annotations cannot be written.
        """
        key: Key = ("pod", *owner)
        pod = self._context.pods.get(owner)
        if pod is None or pod.finished:
            self._waiting.pop(key, None)
            self._not_missing(owner)
            return await self._retire(
                key, claims.Workload(*owner, "", "").port if pod is None else pod.port, pod
            )
        if pod.node:
            subnet = self._subnet_of(pod)
            if subnet is not None:
                await self._claim(key, pod, subnet)
            else:
                self._not_missing(owner)
                self._warn(
                    pod,
                    "NoSubnet",
                    "no Subnet is the default, lists this namespace or has the name asked for",
                )
        return None

    async def node(self, name: str) -> None:
        """Make the pass of a Node, as ``pod`` does, in the join network."""
        node = self._context.nodes.get(("", name))
        key: Key = ("node", "", name)
        if node is None:
            await self._retire(key, f"node-{name}", None)
        else:
            await self._claim(key, node, self._context.join)

    async def _claim(self, key: Key, claim: Claim, subnet: Subnet) -> None:
        """Bring the port to what ``decide`` wants, then write the outcome to the object."""
        northbound = self._context.northbound
        if not northbound.has(switch=subnet.name):
            raise NotReady(f"logical switch {subnet.name} does not exist yet")
        for _ in range(MAX_ROUNDS):
            seen = northbound.port(claim.port)
            decision = decide.decide(claim, seen, subnet, northbound.holder, self._pool)
            if decision.fresh:  # the port that the annotations name cannot be restored
                self._missing.discard(claim.owner)
                if not self._may_allocate(key):
                    return
            plan = diff(_rows(decision.port), _rows(seen.port if seen else None))
            if not plan:
                break
            pinning = decision.binding is not None and seen is not None and seen.answer
            await northbound.apply(plan, seen.answer if pinning and seen else None)
        self._not_missing(claim.owner if isinstance(claim, Workload) else None)
        await self._conclude(key, claim, subnet, decision)

    async def _conclude(self, key: Key, claim: Claim, subnet: Subnet, decision: Decision) -> None:
        """Report a conflict or the pinned addresses: as an Event, or as annotations."""
        if decision.waits:
            self._waiting[key] = (subnet.name, decision.event[0] if decision.event else "")
        elif decision.binding is not None:
            self._waiting.pop(key, None)
        if decision.event is not None:
            self._warn(claim, *decision.event)
        if decision.binding is None:
            return
        facts = decide.annotations(
            claim, decision.binding, subnet, self._context.settings.cluster_router
        )
        changes = decide.missing(claim, facts)
        if not changes:
            self._patched.pop(key, None)
        elif self._patched.get(key) != claim:  # otherwise the watch has yet to report the patch
            self._patched[key] = claim
            await self._annotate(claim, changes, facts)

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
        northbound = self._context.northbound
        seen = northbound.port(name)
        if seen is None or (pod is None and self._is_kept(key, seen)):
            return
        desired, left = None, 0.0  # the port, and the seconds until it may be removed
        if key[0] == "pod":
            desired, left = decide.retired(
                seen, int(self._clock()), self._context.settings.cool_down
            )
        await northbound.apply(diff(_rows(desired), _rows(seen.port)))
        if desired is not None:
            self._context.later(left, key)
        if key[0] == "node":
            self._context.add(NETWORK)

    def _pool(self, name: str) -> IpPool | None:
        return self._context.pools.get(("", name))

    def _is_kept(self, key: Key, seen: Seen) -> bool:
        """Return whether the port waits for a StatefulSet's pod to come back under its name.

        The new pod then gets the same addresses.
        """
        name = seen.port.label("ovnlet-workload")
        owner = self._context.stateful_sets.get((key[1], name)) if name else None
        return owner is not None and owner.wants(key[2])

    def _subnet_of(self, pod: Workload) -> Subnet | None:
        """Return a pod's subnet: that of its port, as long as the pod exists.

        Without a port it is the subnet that the pod asks for, else that of its namespace, else the
        default one; None if there is none, or if it is being deleted and the pod is new.
        """
        usable, seen = self._context.usable, self._context.northbound.port(pod.port)
        if seen is not None and decide.settled(pod, seen) and seen.port.switch in usable:
            return usable[seen.port.switch]
        if asked := pod.annotations.get(claims.SWITCH):
            found = usable.get(asked)
        else:
            found = next((s for s in usable.values() if pod.namespace in s.namespaces), None)
            found = found or next((s for s in usable.values() if s.default), None)
        body = self._context.subnets.get(("", found.name)) if found is not None else None
        return (
            None
            if body is None or (body.deleting and claims.ALLOCATED not in pod.annotations)
            else found
        )

    def _may_allocate(self, key: Key) -> bool:
        """Return whether OVN may choose an address now; if not, defer this pass."""
        if self._missing - {key[1:]}:
            self._deferred.add(key)
            return False
        return True

    def _check_port(self, owner: Owner) -> None:
        """Note whether a running pod lacks the port that its annotations name."""
        if not self._context.northbound.connected:  # check_all_ports does it after a reconnect
            return
        pod = self._context.pods.get(owner)
        allocated = (
            pod is not None and not pod.finished and pod.annotations.get(claims.ALLOCATED) == "true"
        )
        if pod is not None and allocated and self._context.northbound.port(pod.port) is None:
            self._missing.add(owner)
        else:
            self._missing.discard(owner)

    def _not_missing(self, owner: Owner | None) -> None:
        if owner is not None:
            self._missing.discard(owner)
        self._resume_deferred()

    def _resume_deferred(self) -> None:
        """Request the deferred passes once no port is missing."""
        if not self._missing:
            deferred, self._deferred = self._deferred, set()
            for key in deferred:
                self._context.add(key)

    def _warn(self, claim: Claim, reason: str, message: str) -> None:
        log.warning(message, reason=reason, port=claim.port)
        self._counters.warned(reason)
        self._context.record(claim, "Warning", reason, message)


def _rows(port: SwitchPort | None) -> Rows:
    return frozenset({port}) if port is not None else ABSENT
