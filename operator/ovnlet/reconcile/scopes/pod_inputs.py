"""What is known of a pod's network: annotations and facts of its Subnet, or the last good ones.

A record holds the last good input, so that a network is kept while the API server is away.
"""

from collections.abc import Callable, Mapping

from ovnlet.core import annotations, settled_annotations
from ovnlet.core.errors import NotReady
from ovnlet.core.identity import Attachment, Record
from ovnlet.reconcile.records import Records
from ovnlet.reconcile.state import Owner, State


class PodInputs:
    """The input of each attachment. ``subnet`` as ``PodScope``."""

    def __init__(
        self, state: State, records: Records, subnet: Callable[[str], Mapping[str, str] | None]
    ) -> None:
        self._state, self._records, self._subnet = state, records, subnet
        self._departed: dict[tuple[Owner, str | None, str, str], Mapping[str, str]] = {}

    def text(self, attachment: Attachment) -> Mapping[str, str] | None:
        """Return the annotations of the pod, by its UID; None while it is not known.

        Before the first complete list, return those in a record of that pod, even one that a DEL
        has removed: with the API server away, a dead sandbox is still replaced.
        """
        pod = self._state.get(attachment.owner)
        if pod is not None and attachment.uid in (None, pod.uid):
            return annotations.relevant(pod.annotations, attachment.provider)
        if self._state.complete:
            self._departed.clear()
            return None
        remembered = [
            record
            for record in self._records.of(attachment.owner)
            if record.good and _interface(record.attachment) == _interface(attachment)
        ]
        newest = max(remembered, key=lambda record: record.attachment.sequence, default=None)
        return newest.good if newest else self._departed.get(_interface(attachment))

    def now(self, record: Record) -> Mapping[str, str]:
        """Return the annotations with the Subnet's facts, or the last good facts."""
        now = self.text(record.attachment)
        provider = record.attachment.provider
        now = record.good if now is None else settled_annotations.kept(record.good, now, provider)
        if now is None:
            raise NotReady(f"pod {'/'.join(record.attachment.owner)} is not known yet")
        # The Subnet is fixed at ADD, whatever `logical_switch` is edited to.
        facts = self._subnet(annotations.switch(record.good or now, provider))
        if facts is None:
            facts = annotations.of_subnet(record.good or now)
        return annotations.with_subnet(now, facts)

    def gives_way(self, record: Record) -> bool:
        """Return whether another interface of the sandbox asks for the default route.

        `eth0` has it where none does, and keeps it where it asks itself.
        """
        attachment = record.attachment
        if attachment.ifname != "eth0" or self._asks_for_default(record):
            return False
        return any(
            self._asks_for_default(each)
            for each in self._records.of(attachment.owner)
            if _share_sandbox(each.attachment, attachment)
        )

    def _asks_for_default(self, record: Record) -> bool:
        """Return whether the annotations at its ADD, or of one under way, ask for it."""
        text = record.good if record.good is not None else self.text(record.attachment)
        return (text or {}).get(
            annotations.key(record.attachment.provider, "default_route")
        ) == "true"

    def departed(self, record: Record) -> None:
        """Keep the input of a removed record until the first list of pods is complete."""
        if record.good and not self._state.complete:
            self._departed[_interface(record.attachment)] = record.good


def _interface(attachment: Attachment) -> tuple[Owner, str | None, str, str]:
    """Return what two sandboxes of one pod's interface have in common."""
    return attachment.owner, attachment.uid, attachment.ifname, attachment.provider


def _share_sandbox(one: Attachment, other: Attachment) -> bool:
    """Return whether both are of one container; an adopted one has a part of its ID."""
    shorter, longer = sorted((one.container_id, other.container_id), key=len)
    return longer.startswith(shorter)
