"""One pass for one attachment: desired, observed, plan, apply, and look again.

ADD, an edited annotation, drift, a restart and a reboot all end here; DEL is desired ABSENT.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from ovnlet.core import annotations, settled_annotations
from ovnlet.core.allocation import Allocation
from ovnlet.core.desired import network
from ovnlet.core.errors import Invalid, NotConverged, NotReady
from ovnlet.core.identity import Attachment, AttachmentKey, Life, Node, Record
from ovnlet.core.plan import Plan, Step, diff
from ovnlet.core.resources import ABSENT, Network
from ovnlet.core.settings import Repair
from ovnlet.core.shaping import unenforced
from ovnlet.reconcile.budget import UNDONE, RepairBackoff
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
    """What a pass ended with.

    ``steps`` were applied; ``edited`` tells that new annotations asked for them, ``fresh`` that there was no network
    before, ``asked`` that a call waits for it: in an ADD ovs-vswitchd may undo a flag that it did not see come.
    ``left`` are those that are not to be applied, and ``why_left``. ``seconds`` are from first to last look.
    ``notices`` are of values that were rounded, ``unenforced`` of limits that this node cannot enforce.
    """

    attachment: Attachment
    desired: Network
    observed: Network
    steps: tuple[Step, ...] = ()
    problems: tuple[Invalid, ...] = ()
    edited: bool = False
    fresh: bool = False
    asked: bool = False
    left: Plan = ()
    why_left: str = ""
    seconds: float = 0.0
    notices: tuple[str, ...] = ()
    unenforced: tuple[str, ...] = ()

    @property
    def what(self) -> str:
        """In a word: attached, updated, repaired or detached."""
        if not self.desired:
            return "detached"
        if self.edited and not self.fresh:
            return "updated"
        return "attached" if self.fresh or self.asked else "repaired"


class Listener(Protocol):
    """Who is told of each pass's outcome: status, Events, metrics."""

    def __call__(self, outcome: Outcome, /) -> None: ...


class Reconciler:
    """Turns keys into outcomes. It keeps no state but the attachments that are leaving, and whom a pass is owed.

    ``repair`` is what a pass does about drift that nobody asked it to undo; ``again`` asks for a pass after a rest.
    ``subnet`` gives the facts of a Subnet by name, as text, or None while none of that name is known.
    """

    def __init__(  # noqa: PLR0913 - the loop's parts, named at the one place that wires them
        self,
        host: Host,
        state: State,
        records: Records,
        tell: Listener,
        *,
        repair: Repair = "fix",
        again: Callable[[AttachmentKey], None] = lambda _: None,
        subnet: Callable[[str], Mapping[str, str] | None] = lambda _: None,
    ) -> None:
        self._host, self._state, self._records, self._tell, self._repair = (
            host,
            state,
            records,
            tell,
            repair,
        )
        self._patience, self._subnet = RepairBackoff(again), subnet
        self._leaving: dict[AttachmentKey, Attachment] = {}
        self._asked: set[AttachmentKey] = set()
        self._departed: dict[tuple[tuple[str, str], str | None, str, str], Mapping[str, str]] = {}

    def ask(self, key: AttachmentKey) -> None:
        """Passes of this attachment act, whatever ``repair`` says, until one has succeeded: a call or an edit waits."""
        self._asked.add(key)

    def leave(self, attachment: Attachment) -> None:
        """From now on the desired network of this attachment is ABSENT, whether it has a record or not."""
        self._leaving[attachment.key] = attachment

    def leaving(self, key: AttachmentKey) -> bool:
        return key in self._leaving

    async def reconcile(self, key: AttachmentKey) -> Outcome | None:
        """One pass. None where nothing of that key is known, or not yet all that a first one needs.

        Raises NotReady, NodeFault, Taken, UnknownSandbox or NotConverged; a pass that is repeated arrives.
        """
        record = self._records.get(key)
        attachment = self._leaving.get(key) or (record.attachment if record else None)
        if attachment is None:
            return None
        if key in self._leaving or self._host.life(attachment) is Life.DEAD:
            return await self._absent(attachment)
        assert record is not None  # noqa: S101 - not leaving, so the attachment came from it
        if record.good is None and self.awaits(attachment):
            return None
        if self.superseded(attachment):
            outcome = await converge(self._host, attachment, ABSENT)
        else:
            outcome = await self._present(record)
        self._tell(outcome)
        return outcome

    def desired(self, record: Record) -> tuple[Network, Allocation]:
        """The network this attachment should have now; raises NotReady or Invalid without a usable allocation."""
        attachment = record.attachment
        allocation = settled_annotations.settle(
            record.good, self._now(record), attachment.provider, attachment.ifname
        )
        return network(attachment, allocation, self._host.node), allocation

    def _now(self, record: Record) -> Mapping[str, str]:
        """The annotations, and with them the facts of the Subnet; with it unknown or gone, the last good ones."""
        now = self.text(record.attachment)
        if now is None:
            now = record.good
        if now is None:
            raise NotReady(f"pod {'/'.join(record.attachment.owner)} is not known yet")
        facts = self._subnet(annotations.switch(now, record.attachment.provider))
        return annotations.with_subnet(
            now, annotations.of_subnet(record.good or now) if facts is None else facts
        )

    def awaits(self, attachment: Attachment) -> str | None:
        """What must come before a network can be made for this attachment, in words; None if nothing must."""
        text = self.text(attachment)
        if text is None:
            return "the pod is not known: the API server has not told of it"
        return annotations.wait_reason(text, attachment.provider)

    def text(self, attachment: Attachment) -> Mapping[str, str] | None:
        """The annotations of the very pod the runtime means; None while it is not known.

        Before the first complete list, what a record of that pod said is good enough, also one that a DEL has removed:
        with the API server away, a sandbox that dies is still replaced.
        """
        pod = self._state.get(attachment.owner)
        if pod is not None and attachment.uid in (None, pod.uid):
            return annotations.relevant(pod.annotations, attachment.provider)
        if self._state.complete:
            self._departed.clear()
            return None
        remembered = [
            record
            for record in self._records
            if _same_pod(record.attachment, attachment) and record.good
        ]
        newest = max(remembered, key=lambda record: record.attachment.sequence, default=None)
        departed = self._departed.get(
            (attachment.owner, attachment.uid, attachment.ifname, attachment.provider)
        )
        return newest.good if newest else departed

    def superseded(self, attachment: Attachment) -> bool:
        """Whether a newer sandbox of the same pod and interface lives: OVN binds a port but once."""
        return any(
            other.attachment.pod == attachment.pod  # of 250 records nearly all end here
            and other.attachment.owner == attachment.owner
            and other.attachment.ifname == attachment.ifname
            and other.attachment.provider == attachment.provider
            and self._rank(other.attachment) > self._rank(attachment)
            and not self.leaving(other.attachment.key)
            and self._host.life(other.attachment) is not Life.DEAD
            for other in self._records
        )

    def _rank(self, attachment: Attachment) -> tuple[bool, int]:
        """The last ADD received has the port; but not one for a pod whose name another has taken meanwhile."""
        pod = self._state.get(attachment.owner)
        return pod is None or attachment.uid in (None, pod.uid), attachment.sequence

    async def _present(self, record: Record) -> Outcome:
        attachment = record.attachment
        try:
            desired, allocation = self.desired(record)
        except Invalid as problem:
            self._tell(Outcome(attachment, ABSENT, ABSENT, problems=(problem,)))
            raise
        good = settled_annotations.usable(
            record.good, self._now(record), attachment.provider, attachment.ifname
        )
        edited = good != record.good
        if edited:
            self._records.put(replace(record, good=good))
            self.ask(attachment.key)
        fresh, mode = record.good is None, allocation.repair or self._repair
        asked = attachment.key in self._asked
        if mode == "fix" or attachment.key in self._asked:
            outcome = await self._repaired(attachment, desired)
        elif mode == "report":
            outcome = await unrepaired(self._host, attachment, desired, "as set")
        else:
            outcome = Outcome(attachment, desired, desired)
        lacking = tuple(unenforced(allocation.qos, self._host.node))
        told = replace(
            outcome, problems=allocation.problems, notices=allocation.notices, unenforced=lacking
        )
        return replace(told, edited=edited, fresh=fresh, asked=asked)

    async def _repaired(self, attachment: Attachment, desired: Network) -> Outcome:
        """Make it so. What nobody asked for is drift, and where that comes again at once, repair takes its time."""
        asked = attachment.key in self._asked
        if not asked and self._patience.rest(attachment.key):
            return await unrepaired(self._host, attachment, desired, UNDONE)
        outcome = await converge(self._host, attachment, desired)
        if outcome.steps and not asked:
            self._patience.took(attachment.key, outcome.steps)
        self._asked.discard(attachment.key)
        return outcome

    async def _absent(self, attachment: Attachment) -> Outcome:
        outcome = await converge(self._host, attachment, ABSENT)
        record = self._records.get(attachment.key)
        if record and record.good and not self._state.complete:
            pod = (attachment.owner, attachment.uid, attachment.ifname, attachment.provider)
            self._departed[pod] = record.good
        self._records.remove(attachment.key)
        self._leaving.pop(attachment.key, None)
        self._asked.discard(attachment.key)
        self._patience.forget(attachment.key)
        self._tell(outcome)
        return outcome


async def converge(host: Host, attachment: Attachment, desired: Network) -> Outcome:
    """Make it so, and see that it is."""
    began = asyncio.get_running_loop().time()
    steps: list[Step] = []
    observed = await host.observe(attachment, desired)
    for _ in range(PASSES):
        plan = diff(desired, observed)
        if not plan:
            break
        await host.apply(attachment, plan)
        steps += plan
        observed = await host.observe(attachment, desired)
    if plan := diff(desired, observed):
        raise NotConverged(plan)
    seconds = asyncio.get_running_loop().time() - began
    return Outcome(attachment, desired, observed, tuple(steps), seconds=seconds)


async def unrepaired(host: Host, attachment: Attachment, desired: Network, why: str) -> Outcome:
    """Drift is told of and stays."""
    observed = await host.observe(attachment, desired)
    return Outcome(attachment, desired, observed, left=diff(desired, observed), why_left=why)


def _same_pod(one: Attachment, other: Attachment) -> bool:
    return (one.owner, one.uid, one.ifname, one.provider) == (
        other.owner,
        other.uid,
        other.ifname,
        other.provider,
    )
