"""ADD, DEL, CHECK and GC as callers of the loop. Each waits for a pass; a failed ADD is undone."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace

import structlog

from ovnlet.core.allocation import Allocation
from ovnlet.core.errors import (
    Invalid,
    NodeFault,
    NotConverged,
    NotReady,
    OvnletError,
    UnknownSandbox,
)
from ovnlet.core.identity import Attachment, AttachmentKey, Life, Record
from ovnlet.core.plan import Step, diff
from ovnlet.reconcile import admission
from ovnlet.reconcile.adding import Adding, Adds
from ovnlet.reconcile.duplicates import refuse_taken
from ovnlet.reconcile.hopeless import Waits
from ovnlet.reconcile.loop import Passes
from ovnlet.reconcile.outcome import Outcome
from ovnlet.reconcile.records import Records
from ovnlet.reconcile.scopes.pod import PodScope
from ovnlet.reconcile.stages import Clock, untimed
from ovnlet.reconcile.state import Owner, State

log = structlog.get_logger("attaching")

# Seconds. CHECK must not fail during a short outage, such as a restart of ovs-vswitchd.
SETTLING = 1.0


class Attaching:
    """The calls of a container runtime, which wait for the result of a pass.

    ``refresh`` returns when a complete list of pods that began after the call is in ``state``.
    ``budget`` is the time that one ADD may take in all, in seconds. ``lacks_subnet`` and
    ``unjoined`` as ``Waits``. ``asks`` means that a first ADD asks a physical network whether
    another machine has the pod's addresses.
    """

    def __init__(  # noqa: PLR0913 - the parts, named at the one place that wires them
        self,
        *,
        scope: PodScope,
        passes: Passes,
        state: State,
        records: Records,
        refresh: Callable[[], Coroutine[None, None, None]],
        budget: float,
        lacks_subnet: Callable[[str], bool] = lambda _: False,
        unjoined: Callable[[str, str], str | None] = lambda _, __: None,
        asks: bool = False,
        clock: Clock = untimed,
    ) -> None:
        self._asks = asks
        self._scope, self._host, self._passes, self._clock = scope, scope.host, passes, clock
        self._state, self._records, self._budget = state, records, budget
        self._waits = Waits(scope, lacks_subnet, unjoined)
        self._adds = Adds(scope, state, refresh, self._waits, clock)
        self._allocated: dict[AttachmentKey, Attachment] = {}

    async def add(
        self, attachment: Attachment, refused: Callable[[], Exception | None] = lambda: None
    ) -> Outcome:
        """Attach, and return what was observed once OVN has installed the port.

        An ADD that fails, is cancelled, or whose pod is deleted is undone before this raises. An
        ADD that repeats an existing attachment leaves it as it was. Raise NotReady in the end, and
        at once what ``refused`` returns where the pod lacks its annotations.
        """
        return await self._adds.run(Adding(attachment, refused=refused), self._guarded)

    async def allocate(
        self, attachment: Attachment, refused: Callable[[], Exception | None] = lambda: None
    ) -> Allocation:
        """Return the addresses of an interface that another plugin makes; touch nothing.

        Raise as ``add`` does, and Invalid for wrong annotations, or where another interface of the
        sandbox has these addresses.
        """
        adding = Adding(attachment, addresses_only=True, refused=refused)
        return await self._adds.run(adding, self._allocate)

    async def release(self, key: AttachmentKey) -> None:
        """Forget that an interface has such addresses."""
        await self._adds.overtake(key, "a DEL of this sandbox overtook its ADD")
        self._allocated.pop(key, None)

    async def delete(self, attachment: Attachment) -> None:
        """Detach by container ID and interface name alone; succeed if nothing is there."""
        await self._adds.overtake(attachment.key, "a DEL of this sandbox overtook its ADD")
        await self._detach(attachment)

    async def check(
        self, key: AttachmentKey, concerns: Callable[[Step], bool] = lambda _: True
    ) -> None:
        """Compare an attachment with the node: the first half of the loop, which changes nothing.

        Ask nothing but the node. Raise UnknownSandbox without a record, NotConverged with the steps
        for which ``concerns`` is true, NotReady where OVS and OVN have not installed the port.
        """
        record = self._records.get(key)
        if record is None:
            raise UnknownSandbox("no such attachment on this node")
        desired, _ = self._scope.desired(record)
        plan = diff(desired, await self._host.observe(record.attachment, desired))
        if left := tuple(step for step in plan if concerns(step)):
            raise NotConverged(left)
        try:
            async with asyncio.timeout(SETTLING):
                await self._host.installed(record.attachment)
        except TimeoutError:
            raise NotReady(
                "OVS has not plugged the port, or OVN has not installed it (ovn-installed)"
            ) from None

    async def collect(self, valid: frozenset[AttachmentKey]) -> None:
        """Remove the attachments whose sandbox is proved dead and that ``valid`` does not list.

        An unlisted sandbox that is alive is only logged: an empty list must not clear a node. Raise
        NodeFault if some removals failed.
        """
        unlisted = [
            record.attachment for record in self._records if record.attachment.key not in valid
        ]
        ends = await asyncio.gather(*map(self._collect, unlisted), return_exceptions=True)
        if failures := [end for end in ends if isinstance(end, BaseException)]:
            raise NodeFault(
                f"{len(failures)} of {len(unlisted)} stay: " + "; ".join(map(str, failures))
            )

    async def _collect(self, attachment: Attachment) -> None:
        if self._host.life(attachment) is Life.DEAD:
            await self._passes.run(attachment.key)
        else:
            log.warning("not listed by the runtime, but alive: kept", attachment=attachment.key)

    def pod_changed(self, owner: Owner) -> None:
        """End the ADDs whose pod was deleted or replaced."""
        self._adds.pod_changed(owner)
        if self._state.get(owner) is None:
            kept = self._allocated.items()
            self._allocated = {key: each for key, each in kept if each.owner != owner}

    async def _guarded(self, adding: Adding) -> Outcome:
        """Attach within the budget. Undo a failure unless the attachment existed before."""
        await adding.within(self._budget, self._adds.named(adding, self._shares_port))
        attachment = adding.attachment
        admission.refuse_recorded(attachment, self._scope, self._records)
        known = self._records.get(attachment.key)
        adding.first = known is None or known.good is None
        if known is None:
            self._scope.claim(Record(attachment))
        self._displace(attachment)
        try:
            return await adding.within(self._budget, self._attach(adding))
        except BaseException:
            if adding.first:
                await self._undo(attachment)
            raise

    def _shares_port(self, attachment: Attachment) -> bool:
        return admission.shares_port(attachment, self._scope, self._records)

    async def _allocate(self, adding: Adding) -> Allocation:
        """Wait for the annotations within the budget, and parse them."""
        await adding.within(self._budget, self._adds.annotated(adding))
        attachment = adding.attachment
        for other in self._allocated.values():
            if _same_addresses(attachment, other):
                allowed = f"a network of its own: {other.ifname} of this pod has its addresses"
                raise Invalid("provider", attachment.provider, allowed)
        allocation = self._scope.allocation(attachment)
        self._allocated[attachment.key] = attachment
        return allocation

    async def _attach(self, adding: Adding) -> Outcome:
        """Wait for the annotations, run a pass, wait for OVN, and repair what changed meanwhile."""
        await self._adds.annotated(adding)
        attachment = adding.attachment
        record = self._records.get(attachment.key)
        if record is not None and record.good is None and record.attachment != attachment:
            self._scope.claim(Record(attachment))  # its port has a name of its own
            self._displace(attachment)
        await self._refuse_first(attachment)
        with self._passes.defer_hints(attachment.key):
            adding.waits_for = "the node's kernel or OVS did not take the port"
            self._passes.prove_later(attachment.key)
            outcome = await self._pass(attachment)
            adding.waits_for = "ovn-controller has not set ovn-installed"
            with self._clock("flows"):
                await self._waits.installed(attachment)
            adding.waits_for = "the node's uplink is not in the bridge of the pod's network"
            await self._waits.joined(attachment)
            if self._asks and adding.first:
                await refuse_taken(self._scope, attachment, outcome.desired)
            self._passes.acknowledge(attachment.key)
            observed = await self._host.observe(attachment, outcome.desired)
            if diff(outcome.desired, observed):
                return await self._pass(attachment)
        return replace(outcome, observed=observed)

    async def _refuse_first(self, attachment: Attachment) -> None:
        """Raise Invalid where a first ADD would not be whole; a repair does what it can."""
        record = self._records.get(attachment.key)
        if record is not None and record.good is None:
            await admission.refuse_held(attachment, self._scope, self._records)
            admission.require_gateways(record, self._scope)

    async def _pass(self, attachment: Attachment) -> Outcome:
        """Run a forced pass. Raise UnknownSandbox where it found that nothing is desired."""
        self._passes.force(attachment.key)
        outcome = await self._passes.run(attachment.key)
        if outcome is None or not outcome.desired:
            raise UnknownSandbox(
                "this sandbox was deleted or replaced by a newer one while it was being attached"
            )
        return outcome

    def _displace(self, attachment: Attachment) -> None:
        """End the ADDs of older sandboxes of this interface, and run a pass for each of them."""
        for record in self._scope.siblings(attachment):
            other = record.attachment
            if other.key == attachment.key:
                continue
            if (adding := self._adds.get(other.key)) and self._scope.superseded(other):
                adding.overtake("a newer sandbox of this pod took over")
            self._passes.force(other.key)
            self._passes.add(other.key)

    async def _detach(self, attachment: Attachment) -> None:
        """Remove all of it. What a pass of this attachment waits for ends, but not a removal."""
        record = self._records.get(attachment.key)
        leaving = record.attachment if record else attachment  # a DEL does not name the pod
        if not self._scope.is_deleted(leaving.key):
            self._passes.cut_short(leaving.key)
        self._scope.mark_deleted(leaving)
        await self._passes.run(leaving.key)
        self._displace(leaving)

    async def _undo(self, attachment: Attachment) -> None:
        """Detach, even if the caller is cancelled again: nothing must be left."""
        undoing = asyncio.ensure_future(self._detach(attachment))
        while not undoing.done():
            try:
                await asyncio.shield(undoing)
            except asyncio.CancelledError:
                continue
            except OvnletError as error:
                log.warning(
                    "ADD not undone yet, tried again", attachment=attachment.key, error=str(error)
                )


def _same_addresses(one: Attachment, other: Attachment) -> bool:
    """Return whether two interfaces of one sandbox would get the same addresses."""
    alike = (one.container_id, one.provider) == (other.container_id, other.provider)
    return alike and one.ifname != other.ifname
