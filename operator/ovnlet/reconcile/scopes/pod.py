"""The scope of attachments: one key for each interface of each sandbox.

What is desired follows from the pod's annotations, its Subnet and the record of the attachment. The
record holds what was fixed at ADD and the last good input, so that a pod's network is kept while
the API server is away.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from ovnlet.core import annotations, settled_annotations, virtual_machines
from ovnlet.core.allocation import Allocation
from ovnlet.core.desired import network
from ovnlet.core.errors import Invalid, NotReady, OvnletError
from ovnlet.core.identity import Attachment, AttachmentKey, Life, Record
from ovnlet.core.resources import ABSENT, Network
from ovnlet.core.settings import Repair
from ovnlet.core.settled_annotations import is_withdrawn
from ovnlet.core.values import split
from ovnlet.reconcile.announcements import Announcements, makes_presence
from ovnlet.reconcile.budget import Reason
from ovnlet.reconcile.loop import Passes
from ovnlet.reconcile.outcome import Outcome, Target
from ovnlet.reconcile.owners import OwnerIndex
from ovnlet.reconcile.pod_host import Follower, PodHost
from ovnlet.reconcile.records import Records
from ovnlet.reconcile.scope import Key
from ovnlet.reconcile.scopes.pod_inputs import PodInputs
from ovnlet.reconcile.scopes.pod_notices import notices, renamed
from ovnlet.reconcile.state import Owner, State
from ovnlet.reconcile.status import Status


class PodScope:
    """Keeps every recorded attachment.

    ``subnet`` returns the facts of a Subnet by its name, as text, or None while no Subnet of that
    name is known. ``awaiting`` has the first ADDs that wait for annotations: each makes its first
    pass itself.
    """

    def __init__(  # noqa: PLR0913 - the parts, named at the one place that wires them
        self,
        host: PodHost,
        state: State,
        records: Records,
        passes: Passes,
        status: Status,
        *,
        owners: OwnerIndex,
        watch: Follower,
        repair: Repair = "fix",
        subnet: Callable[[str], Mapping[str, str] | None] = lambda _: None,
    ) -> None:
        self.host, self.status, self._announcements = host, status, Announcements(host)
        self._state, self._records, self._passes = state, records, passes
        self._owners, self._watch, self._repair = owners, watch, repair
        self._deleted: dict[AttachmentKey, Attachment] = {}
        self.awaiting: set[AttachmentKey] = set()
        # When the first change that no pass has seen arrived.
        self._changed: dict[AttachmentKey, float] = {}
        self._inputs = PodInputs(state, records, subnet)

    def every_key(self) -> Iterator[AttachmentKey]:
        """Yield the key of each recorded attachment."""
        return (record.attachment.key for record in self._records)

    def remember(self, record: Record) -> None:
        """Write a record, and register the names of its attachment."""
        self._records.put(record)
        self.register(record.attachment)

    def claim(self, record: Record) -> None:
        """Keep a record that the first pass writes, and register the names of its attachment."""
        self._records.claim(record)
        self.register(record.attachment)

    def register(self, attachment: Attachment) -> None:
        """Register the names of an attachment: notifications about them are hints for it."""
        names = (("port", attachment.host_link), ("mark", attachment.mark))
        self._owners.register(self._passes.key(attachment.key), names)

    def mark_deleted(self, attachment: Attachment) -> None:
        """Desire nothing of this attachment from now on, whether it has a record or not."""
        self._deleted[attachment.key] = attachment

    def is_deleted(self, key: AttachmentKey) -> bool:
        """Return whether it was marked deleted and is not removed yet."""
        return key in self._deleted

    def pod_changed(self, owner: Owner) -> None:
        """Ask for a pass of each attachment of a pod, besides those in ``awaiting``."""
        now = asyncio.get_running_loop().time()
        for record in self._records.of(owner):
            if (key := record.attachment.key) not in self.awaiting:
                self._changed.setdefault(key, now)
                self._passes.add(key)

    def subnet_changed(self, name: str) -> None:
        """Ask for a pass of each attachment in a Subnet."""
        for record in self._records.in_subnet(name):
            self._passes.add(record.attachment.key)

    def target(self, key: AttachmentKey, /) -> Target | None:
        """Return what is desired: nothing once the attachment is deleted, dead or superseded."""
        record = self._records.get(key)
        attachment = self._deleted.get(key) or (record.attachment if record else None)
        if attachment is None:
            return None
        if record is None or key in self._deleted or self.host.life(attachment) is Life.DEAD:
            return Target(attachment, ABSENT, final=True)
        if record.good is None and self.missing_inputs(key):
            return None
        if self.superseded(attachment):
            return Target(attachment, ABSENT)
        return self._present(record)

    def desired(self, record: Record) -> tuple[Network, Allocation]:
        """Return the desired network and its allocation. Raise NotReady or Invalid."""
        attachment, allocation = record.attachment, self.in_force(record)
        lent = self.host.pod_end(attachment) if record.good and attachment.machine else None
        return network(attachment, allocation, self.host.node, lent), allocation

    def in_force(self, record: Record) -> Allocation:
        """Return the allocation of a record. Raise NotReady or Invalid without a usable one."""
        attachment = record.attachment
        allocation = settled_annotations.settle(
            record.good, self._inputs.now(record), attachment.provider, attachment.ifname
        )
        if attachment.mtu:
            allocation = replace(allocation, mtu=attachment.mtu)
        if allocation.default_route and self._inputs.gives_way(record):
            allocation = replace(allocation, default_route=False)
        return allocation

    def wanted(self, key: AttachmentKey, /) -> Network:
        """Return the desired network of a recorded attachment. Raise NotReady or Invalid."""
        record = self._records.get(key)
        return self.desired(record)[0] if record else ABSENT

    def identity_of(self, key: AttachmentKey, /) -> Attachment:
        """Return the attachment of a record. Raise NotReady without one."""
        record = self._records.get(key)
        if record is None:
            raise NotReady("no such attachment")
        return record.attachment

    def addresses(self, key: AttachmentKey, /) -> str:
        """Return the addresses in the last good annotations, separated by commas."""
        record = self._records.get(key)
        if record is None or record.good is None:
            return ""
        name = annotations.key(record.attachment.provider, "ip_address")
        return ",".join(split(record.good.get(name, "")))

    def loop_key(self, key: AttachmentKey) -> Key:
        """Return the key by which the loop knows an attachment."""
        return self._passes.key(key)

    def missing_inputs(self, key: AttachmentKey, /) -> str | None:
        """Return in words what a recorded attachment waits for; None if it waits for nothing."""
        record = self._records.get(key)
        return self.missing_inputs_of(record.attachment) if record else "no such attachment"

    def missing_inputs_of(self, attachment: Attachment, *, alone: bool = False) -> str | None:
        """Return in words what it waits for, ``alone`` for its addresses; None for nothing."""
        text = self.text(attachment)
        if text is None:
            return "the pod is not known: the API server has not sent it"
        return annotations.wait_reason(text, attachment.provider, addresses_only=alone)

    def allocation(self, attachment: Attachment) -> Allocation:
        """Return the allocation of an interface that has no record. Raise NotReady or Invalid."""
        text = self._inputs.now(Record(attachment))
        return annotations.parse(text, attachment.provider, attachment.ifname)

    def text(self, attachment: Attachment) -> Mapping[str, str] | None:
        """Return the annotations of the pod, by its UID; None while it is not known."""
        return self._inputs.text(attachment)

    def superseded(self, attachment: Attachment) -> bool:
        """Return whether a newer sandbox of this interface is alive: OVN binds a port only once.

        Sandboxes of one virtual machine may be of several pods.
        """
        return any(
            other.attachment.ifname == attachment.ifname
            and other.attachment.provider == attachment.provider
            and self._rank(other.attachment) > self._rank(attachment)
            and not self.is_deleted(other.attachment.key)
            and self.host.life(other.attachment) is not Life.DEAD
            for other in self.siblings(attachment)
        )

    def siblings(self, attachment: Attachment) -> list[Record]:
        """Return the records of its pod, and of others that launch its virtual machine."""
        found = {each.attachment.key: each for each in self._records.of(attachment.owner)}
        if attachment.machine:
            claiming = self._records.claiming(attachment.iface_id)
            found |= {each.attachment.key: each for each in claiming}
        return list(found.values())

    async def settled(self, key: AttachmentKey, outcome: Outcome, /) -> None:
        """Follow and announce what was attached, report the outcome, forget what is gone."""
        loop_key = self._passes.key(key)
        if not outcome.desired:
            self._watch.forget(loop_key)
            await self._announcements.forget(key)
        elif outcome.steps or not self._watch.follows(loop_key):
            # A veth pair that was made again has another index, and its namespace another id.
            attachment = self.identity_of(key)
            self._watch.follow(loop_key, attachment.host_link, netns=attachment.netns)
            self._announce(key, outcome)
        if outcome.final:
            self._forget(key)
        changed = self._changed.pop(key, None)
        if changed is not None and outcome.action == "updated":
            self.status.edited(asyncio.get_running_loop().time() - changed)
        self.status.settled(key, outcome)

    def failed(self, key: AttachmentKey, error: OvnletError, /, *, awaited: bool) -> None:
        """Report a failed pass that no caller waits for."""
        if (record := self._records.get(key)) is not None and not awaited:
            self.status.failed(record.attachment, error)

    def throttled(self, key: AttachmentKey, reason: Reason, /) -> None:
        """Report that hints wait for the budget."""
        if (record := self._records.get(key)) is not None:
            self.status.throttled(key, record.attachment, reason)

    def _announce(self, key: AttachmentKey, outcome: Outcome) -> None:
        """Announce the addresses if the pass made the port or the link."""
        record = self._records.get(key)
        good = (record.good if record else None) or {}
        if makes_presence(outcome) and virtual_machines.may_announce(good, first=outcome.first):
            self._announcements.add(self.identity_of(key), outcome.desired)

    def _present(self, record: Record) -> Target:
        """Return the target of an attachment that is to exist, and record new input."""
        attachment = record.attachment
        try:
            desired, allocation = self.desired(record)
        except Invalid as problem:
            self.status.problem(attachment, problem)
            raise
        now = self._inputs.now(record)
        good = settled_annotations.usable(record.good, now, attachment.provider, attachment.ifname)
        edited = good != record.good
        if edited:
            self.remember(replace(record, good=good))
            self._passes.force(attachment.key)
        return Target(
            attachment,
            desired,
            allocation.repair or self._repair,
            edited=edited,
            first=record.good is None,
            leaving=self._is_leaving(attachment),
            problems=allocation.problems,
            notices=(
                *notices(allocation, self.host.node, attachment.host_link),
                *renamed(attachment, self._annotations(attachment)),
            ),
        )

    def _annotations(self, attachment: Attachment) -> Mapping[str, str]:
        """Return all annotations of its pod as they are; none while the pod is not known."""
        pod = self._state.get(attachment.owner)
        known = pod is not None and attachment.uid in (None, pod.uid)
        return pod.annotations if pod is not None and known else {}

    def _is_leaving(self, attachment: Attachment) -> bool:
        """Return whether it is being deleted, or its network withdrawn: its port may be gone."""
        pod = self._state.get(attachment.owner)
        if pod is None or attachment.uid not in (None, pod.uid):
            return False
        return pod.deleting or is_withdrawn(pod.annotations, attachment.provider)

    def _rank(self, attachment: Attachment) -> tuple[bool, int]:
        """Return the order of precedence: the pod of this UID first, then the last ADD received."""
        pod = self._state.get(attachment.owner)
        return pod is None or attachment.uid in (None, pod.uid), attachment.sequence

    def _forget(self, key: AttachmentKey) -> None:
        """Remove the record and the names of an attachment that is gone."""
        record = self._records.get(key)
        if record is not None:
            self._inputs.departed(record)
        self._records.remove(key)
        self._deleted.pop(key, None)
        self._changed.pop(key, None)
        self._owners.forget(self._passes.key(key))
        self.status.forget(key)
