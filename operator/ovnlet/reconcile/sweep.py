"""The search for attachments that only marks on the node show: rebuild records, remove garbage.

Garbage belongs to sandboxes or pods that are gone, identified by container ID and UID, never by
name. What the watch of pods makes suspect is judged by a complete list of the round's own, which
began after the node was read, and removed only when seen in two rounds. A round without suspects
asks nobody.
"""

from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from typing import Protocol

import structlog

from ovnlet.core import annotations
from ovnlet.core.errors import NodeFault, NotReady
from ovnlet.core.fixed import Found, restored
from ovnlet.core.identity import Attachment, AttachmentKey, Life, Pod, Record
from ovnlet.reconcile.loop import Passes
from ovnlet.reconcile.records import Records
from ovnlet.reconcile.scopes.pod import PodScope
from ovnlet.reconcile.state import State

log = structlog.get_logger("sweep")

# Removals of one round. A wrong judgement must not clear a whole node at once.
CAP = 50


class Marked(Protocol):
    """The attachments that marks on the node show. ``drivers.host`` implements it."""

    def found(self) -> Iterable[Found]:
        """Return each attachment.

        ``netns``, ``pod`` and ``uid`` are empty where the marks do not have them. An attachment
        without our mark was made by kube-ovn-cni: it is adopted while its pod exists, and never
        removed. Raise NotReady without OVSDB.
        """
        ...


class Sweep:
    """Rebuilds lost records, and removes garbage that two rounds found.

    ``refresh`` returns when a complete list of pods that began after the call is in ``state``.
    """

    def __init__(  # noqa: PLR0913 - the parts, named at the one place that wires them
        self,
        *,
        marked: Marked,
        scope: PodScope,
        passes: Passes,
        state: State,
        records: Records,
        refresh: Callable[[], Coroutine[None, None, None]],
    ) -> None:
        self._marked, self._scope, self._host, self._passes = marked, scope, scope.host, passes
        self._state, self._records, self._refresh = state, records, refresh
        self._suspects: set[AttachmentKey] = set()

    async def round(self) -> None:
        """Search once. Where a look fails, judge nothing and forget all suspects.

        It fails with OVSDB or the API server away, or with the agent out of descriptors.
        """
        try:
            suspects = await self._judge()
        except (NotReady, NodeFault, OSError) as reason:
            self._suspects.clear()
            log.info("nothing is removed", reason=str(reason))
            return
        for key in sorted(suspects.keys() & self._suspects)[:CAP]:
            log.warning("garbage removed", pod="/".join(suspects[key].owner), container=key[0])
            self._scope.mark_deleted(suspects[key])
            self._passes.add(key)
        self._suspects = set(suspects)

    async def _judge(self) -> dict[AttachmentKey, Attachment]:
        """Return what is garbage; list the pods for that only if something is suspect."""
        found = [each for each in self._marked.found() if self._is_unknown(each.attachment)]
        known = [record.attachment for record in self._records]
        if not self._judged(found, known):
            return {}
        await self._refresh()
        return self._judged(found, known)

    def _judged(
        self, found: Iterable[Found], known: Iterable[Attachment]
    ) -> dict[AttachmentKey, Attachment]:
        """Rebuild what can be rebuilt; return what is garbage by the pods as they are known."""
        every = list(found)
        owned = (self._of_launcher(each, every) for each in every)
        left = [
            each for each in owned if self._is_unknown(each.attachment) and not self._rebuild(each)
        ]
        garbage = [
            each.attachment for each in left if each.ours and self._is_garbage(each.attachment)
        ]
        garbage += [each for each in known if self._missed_its_del(each)]
        return {attachment.key: attachment for attachment in garbage}

    def _of_launcher(self, found: Found, every: Iterable[Found]) -> Found:
        """Return what kube-ovn-cni made for a virtual machine as its launcher's.

        Its labels name the machine alone. With several launchers on the node, or several ports of
        the machine, nothing says which is whose: they are left alone.
        """
        attachment = found.attachment
        if found.ours or self._state.get(attachment.owner) is not None:
            return found
        ports = [each for each in every if each.attachment.iface_id == attachment.iface_id]
        pods = [
            pod
            for pod in self._state
            if pod.namespace == attachment.namespace
            and annotations.machine(pod.annotations, attachment.provider) == attachment.pod
        ]
        if (len(ports), len(pods)) != (1, 1):
            return found
        return found._replace(attachment=replace(attachment, pod=pods[0].name))

    def _is_unknown(self, attachment: Attachment) -> bool:
        """Return whether it has no record and is not being deleted."""
        return self._records.get(attachment.key) is None and not self._scope.is_deleted(
            attachment.key
        )

    def _has_record(self, attachment: Attachment) -> bool:
        """Return whether the pod has a record of an interface of that name."""
        records = self._records.of(attachment.owner)
        return any(each.attachment.ifname == attachment.ifname for each in records)

    def _rebuild(self, found: Found) -> bool:
        """Rebuild a lost record, or adopt what kube-ovn-cni made, and return whether it was done.

        Only if the sandbox is alive and its pod is known. A pod whose interface has a record adopts
        no other: the newest sandbox would be the adopted one. After a restart of the node another
        sandbox may be at the path of one of before, such as Docker's `/proc/PID/ns/net`.
        """
        attachment = found.attachment
        pod = self._state.get(attachment.owner)
        if (
            pod is None
            or (not found.ours and self._has_record(attachment))
            or attachment.uid not in (None, pod.uid)
            or self._records.is_of_earlier_boot(attachment.sequence)
            or self._host.life(attachment) is not Life.ALIVE
        ):
            return False
        log.warning(
            "record rebuilt", pod="/".join(attachment.owner), container=attachment.container_id
        )
        rebuilt = replace(
            attachment,
            uid=pod.uid,
            boot_id=self._records.boot_id,
            sequence=attachment.sequence or self._records.next_sequence(),
        )
        good = restored(found.fixed, pod.annotations, rebuilt.provider, rebuilt.ifname)
        if good is None and rebuilt.machine:
            good = self._settled(pod, rebuilt.provider)
        self._scope.remember(Record(rebuilt, good))
        self._passes.add(rebuilt.key)
        return True

    @staticmethod
    def _settled(pod: Pod, provider: str) -> dict[str, str] | None:
        """Return a launcher's annotations if they are complete.

        Its interface is KubeVirt's since the ADD, so no pass of it may be a first one.
        """
        waits = annotations.wait_reason(pod.annotations, provider)
        return None if waits else annotations.relevant(pod.annotations, provider)

    def _is_garbage(self, attachment: Attachment) -> bool:
        """Return whether its sandbox is proved dead or its pod gone; False where it is HIDDEN."""
        match self._host.life(attachment):
            case Life.DEAD:
                return True
            case Life.ALIVE:
                return self._is_gone(attachment)
            case Life.HIDDEN:
                log.warning(
                    "a sandbox cannot be seen and is left alone",
                    container=attachment.container_id,
                )
                return False

    def _missed_its_del(self, attachment: Attachment) -> bool:
        """Return whether a recorded sandbox is garbage: the runtime's DEL never came."""
        record = self._records.get(attachment.key)
        if record is None or record.good is None or self._scope.is_deleted(attachment.key):
            return False
        return self._is_garbage(attachment)

    def _is_gone(self, attachment: Attachment) -> bool:
        """Return whether its pod is deleted; False without a UID to judge by.

        A static pod's UID has no dashes: it may run while its mirror is deleted.
        """
        if not attachment.uid or "-" not in attachment.uid:
            return False
        pod = self._state.get(attachment.owner)
        return pod is None or pod.uid != attachment.uid
