"""One pass for one attachment: desired, observed, plan, apply, and look again.

ADD, an edited annotation, drift, a restart and a reboot all end here; DEL is desired ABSENT.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from ovnlet.core import annotations
from ovnlet.core.annotations import Allocation
from ovnlet.core.attachment import Attachment, AttachmentKey, Life, Node, Record
from ovnlet.core.desired import network
from ovnlet.core.errors import Invalid, NotConverged, NotReady
from ovnlet.core.plan import Plan, Step, diff
from ovnlet.core.resources import ABSENT, Network
from ovnlet.reconcile.state import State

# Law 2: from any state, an empty plan after at most three passes. The kernel flushes what depends on a removed thing.
PASSES = 3


class Host(Protocol):
    """The node, as the loop sees it. ``drivers.host`` fulfils it."""

    @property
    def node(self) -> Node: ...
    def life(self, attachment: Attachment) -> Life: ...
    async def observe(self, attachment: Attachment, desired: Network) -> Network: ...
    async def apply(self, attachment: Attachment, plan: Plan) -> None: ...
    async def installed(self, attachment: Attachment) -> None: ...


class Records(Protocol):
    """The memory of attachments. ``drivers.sandboxes`` fulfils it."""

    @property
    def boot_id(self) -> str: ...
    def __iter__(self) -> Iterator[Record]: ...
    def get(self, key: AttachmentKey) -> Record | None: ...
    def put(self, record: Record) -> None: ...
    def remove(self, key: AttachmentKey) -> None: ...
    def next_sequence(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a pass ended with. ``steps`` were applied; ``edited`` tells that new annotations asked for them."""

    attachment: Attachment
    desired: Network
    observed: Network
    steps: tuple[Step, ...] = ()
    problems: tuple[Invalid, ...] = ()
    edited: bool = False


class Listener(Protocol):
    """Who is told of each pass's outcome: status, Events, metrics."""

    def __call__(self, outcome: Outcome, /) -> None: ...


class Reconciler:
    """Turns keys into outcomes. It keeps no state but the attachments that are leaving."""

    def __init__(self, host: Host, state: State, records: Records, tell: Listener) -> None:
        self._host, self._state, self._records, self._tell = host, state, records, tell
        self._leaving: dict[AttachmentKey, Attachment] = {}

    def leave(self, attachment: Attachment) -> None:
        """From now on the desired network of this attachment is ABSENT, whether it has a record or not."""
        self._leaving[attachment.key] = attachment

    def leaving(self, key: AttachmentKey) -> bool:
        return key in self._leaving

    async def reconcile(self, key: AttachmentKey) -> Outcome | None:
        """One pass. None where nothing of that key is known.

        Raises NotReady, NodeFault, Taken, UnknownSandbox or NotConverged; a pass that is repeated arrives.
        """
        record = self._records.get(key)
        attachment = self._leaving.get(key) or (record.attachment if record else None)
        if attachment is None:
            return None
        if key in self._leaving or self._host.life(attachment) is Life.DEAD:
            return await self._absent(attachment)
        assert record is not None  # noqa: S101 - not leaving, so the attachment came from it
        if self.superseded(attachment):
            outcome = await self._converge(attachment, ABSENT)
        else:
            outcome = await self._present(record)
        self._tell(outcome)
        return outcome

    def desired(self, record: Record) -> tuple[Network, Allocation]:
        """The network this attachment should have now; raises NotReady or Invalid without a usable allocation."""
        attachment = record.attachment
        now = self.text(record)
        allocation = annotations.settle(record.good, now, attachment.provider, attachment.ifname)
        return network(attachment, allocation, self._host.node), allocation

    def text(self, record: Record) -> dict[str, str]:
        """The pod's annotations that matter, or the remembered ones where this very pod is not known."""
        attachment = record.attachment
        pod = self._state.get(attachment.owner)
        if pod is not None and attachment.uid in (None, pod.uid):
            return annotations.relevant(pod.annotations, attachment.provider)
        if record.good is None:
            raise NotReady(f"pod {attachment.namespace}/{attachment.pod} is not known yet")
        return dict(record.good)

    def superseded(self, attachment: Attachment) -> bool:
        """Whether a newer sandbox of the same pod and interface lives: OVN binds a port but once."""
        return any(
            other.attachment.owner == attachment.owner
            and other.attachment.ifname == attachment.ifname
            and other.attachment.provider == attachment.provider
            and other.attachment.sequence > attachment.sequence
            and not self.leaving(other.attachment.key)
            and self._host.life(other.attachment) is not Life.DEAD
            for other in self._records
        )

    async def _present(self, record: Record) -> Outcome:
        attachment = record.attachment
        desired, allocation = self.desired(record)
        good = annotations.usable(record.good, self.text(record), attachment.provider, attachment.ifname)
        edited = good != record.good
        if edited:
            self._records.put(replace(record, good=good))
        outcome = await self._converge(attachment, desired)
        return replace(outcome, problems=allocation.problems, edited=edited)

    async def _absent(self, attachment: Attachment) -> Outcome:
        outcome = await self._converge(attachment, ABSENT)
        self._records.remove(attachment.key)
        self._leaving.pop(attachment.key, None)
        self._tell(outcome)
        return outcome

    async def _converge(self, attachment: Attachment, desired: Network) -> Outcome:
        steps: list[Step] = []
        observed = await self._host.observe(attachment, desired)
        for _ in range(PASSES):
            plan = diff(desired, observed)
            if not plan:
                return Outcome(attachment, desired, observed, tuple(steps))
            await self._host.apply(attachment, plan)
            steps += plan
            observed = await self._host.observe(attachment, desired)
        if plan := diff(desired, observed):
            raise NotConverged(plan)
        return Outcome(attachment, desired, observed, tuple(steps))
