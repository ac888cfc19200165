"""ADD, DEL, CHECK and GC as callers of the loop. Each waits for a pass; a failed ADD is undone."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress

import structlog

from ovnlet.core.errors import (
    NodeFault,
    NotConverged,
    NotReady,
    OvnletError,
    UnknownSandbox,
)
from ovnlet.core.identity import Attachment, AttachmentKey, Life, Record
from ovnlet.core.plan import Step, diff
from ovnlet.reconcile import admission
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


class _Adding:
    """An ADD under way.

    ``waits_for`` says in words what it waits for, ``overtaken`` what cancelled it, ``seen`` whether
    its pod was in the list at least once.
    """

    def __init__(self, attachment: Attachment) -> None:
        self.attachment = attachment
        self.waits_for = "nothing yet"
        self.overtaken: str | None = None
        self.seen = False
        self.finished = asyncio.Event()
        self.task: asyncio.Task[Outcome] | None = None

    def overtake(self, reason: str) -> None:
        """Cancel it for this reason."""
        self.overtaken = reason
        if self.task is not None:
            self.task.cancel()


class Attaching:
    """The calls of a container runtime, which wait for the result of a pass.

    ``refresh`` returns when a complete list of pods that began after the call is in ``state``.
    ``budget`` is the time that one ADD may take in all, in seconds. ``lacks_subnet`` as ``Waits``.
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
        clock: Clock = untimed,
    ) -> None:
        self._scope, self._host, self._passes, self._clock = scope, scope.host, passes, clock
        self._state, self._records, self._refresh, self._budget = state, records, refresh, budget
        self._waits = Waits(scope, lacks_subnet)
        self._adding: dict[AttachmentKey, _Adding] = {}

    async def add(self, attachment: Attachment) -> Outcome:
        """Attach, and return what was observed once OVN has installed the port.

        An ADD that fails, is cancelled, or whose pod is deleted is undone before this raises. An
        ADD that repeats an existing attachment leaves it as it was. Raise NotReady in the end.
        """
        await self._overtake(attachment.key, "the same ADD came again")
        adding = self._adding[attachment.key] = _Adding(attachment)
        try:
            return await self._guarded(adding)
        finally:
            del self._adding[attachment.key]
            adding.finished.set()

    async def delete(self, attachment: Attachment) -> None:
        """Detach by container ID and interface name alone; succeed if nothing is there."""
        await self._overtake(attachment.key, "a DEL of this sandbox overtook its ADD")
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
        pod = self._state.get(owner)
        for adding in self._adding.values():
            attachment = adding.attachment
            if (
                attachment.owner == owner
                and adding.seen
                and (pod is None or attachment.uid not in (None, pod.uid))
            ):
                adding.overtake("the pod was deleted while its sandbox was being attached")

    async def _guarded(self, adding: _Adding) -> Outcome:
        """Attach within the budget. Undo a failure unless the attachment existed before."""
        attachment = adding.attachment
        admission.refuse_recorded(attachment, self._scope, self._records)
        known = self._records.get(attachment.key)
        if known is None:
            self._scope.remember(Record(attachment))
        self._displace(attachment)
        adding.task = asyncio.ensure_future(self._attach(adding))
        try:
            async with asyncio.timeout(self._budget):
                return await adding.task
        except BaseException as error:
            if known is None or known.good is None:
                await self._undo(attachment)
            if isinstance(error, TimeoutError):
                raise NotReady(f"gave up after {self._budget:g} s: {adding.waits_for}") from error
            if isinstance(error, asyncio.CancelledError) and adding.overtaken:
                raise UnknownSandbox(adding.overtaken) from error
            raise

    async def _attach(self, adding: _Adding) -> Outcome:
        """Wait for the annotations, run a pass, wait for OVN, and repair what changed meanwhile."""
        attachment = adding.attachment
        with self._clock("annotation"):
            await self._annotated(adding)
        await self._refuse_first(attachment)
        with self._passes.defer_hints(attachment.key):
            adding.waits_for = "the node's kernel or OVS did not take the port"
            outcome = await self._pass(attachment)
            adding.waits_for = "ovn-controller has not set ovn-installed"
            with self._clock("flows"):
                await self._waits.installed(attachment)
            self._passes.acknowledge(attachment.key)
            if diff(outcome.desired, await self._host.observe(attachment, outcome.desired)):
                outcome = await self._pass(attachment)
        return outcome

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

    async def _annotated(self, adding: _Adding) -> None:
        """Wait without polling until the pod, by its UID, has its annotations."""
        attachment = adding.attachment
        proving: asyncio.Task[None] | None = None
        with self._state.watching(attachment.owner) as changed:
            try:
                while reason := self._reason_to_wait(adding):
                    adding.waits_for = reason
                    if not adding.seen and proving is None:
                        proving = asyncio.create_task(self._prove_deleted(attachment, changed))
                    await self._waits.changed(attachment, changed)
                    changed.clear()
                    if proving is not None and proving.done() and not adding.seen:
                        proving.result()
            finally:
                if proving is not None:
                    proving.cancel()
                    with suppress(asyncio.CancelledError, OvnletError):
                        await proving

    def _reason_to_wait(self, adding: _Adding) -> str | None:
        adding.seen = adding.seen or self._scope.text(adding.attachment) is not None
        return self._scope.missing_inputs_of(adding.attachment)

    async def _prove_deleted(self, attachment: Attachment, changed: asyncio.Event) -> None:
        """Raise UnknownSandbox if a list of pods that began after the ADD has not this pod.

        Static pods are left out: their mirror may come after the sandbox. Their UID is a hash
        without dashes.
        """
        try:
            try:
                await self._refresh()
            except NotReady:  # the API server is away: no proof, and the wait goes on
                return
            pod = self._state.get(attachment.owner)
            if (
                attachment.uid
                and "-" in attachment.uid
                and (pod is None or pod.uid != attachment.uid)
            ):
                raise UnknownSandbox(
                    f"pod {attachment.namespace}/{attachment.pod} ({attachment.uid}) is deleted"
                )
        finally:
            changed.set()

    async def _overtake(self, key: AttachmentKey, reason: str) -> None:
        """Cancel an ADD of this key and wait until it is undone."""
        while adding := self._adding.get(key):
            adding.overtake(reason)
            await adding.finished.wait()

    def _displace(self, attachment: Attachment) -> None:
        """End the ADDs of older sandboxes of this interface, and run a pass for each of them."""
        for record in self._records.of(attachment.owner):
            other = record.attachment
            if other.key == attachment.key:
                continue
            if other.key in self._adding and self._scope.superseded(other):
                self._adding[other.key].overtake("a newer sandbox of this pod took over")
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
