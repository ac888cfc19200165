"""The ADDs under way: what each waits for, what ends it early, and the wait for annotations."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from ovnlet.core import annotations, ids
from ovnlet.core.errors import NotReady, OvnletError, UnknownSandbox
from ovnlet.core.identity import Attachment, AttachmentKey
from ovnlet.reconcile.hopeless import Waits
from ovnlet.reconcile.scopes.pod import PodScope
from ovnlet.reconcile.stages import Clock
from ovnlet.reconcile.state import Owner, State

R = TypeVar("R")
# Seconds that a second interface of a network waits for an allocation of its own.
OWN_NAME = 10.0


class Adding:
    """An ADD under way.

    ``waits_for`` says in words what it waits for, ``overtaken`` what cancelled it, ``seen`` whether
    its pod was in the list at least once, ``first`` whether the attachment was never whole before.
    ``addresses_only`` means that another plugin makes the
    interface. ``refused`` returns why a pod that is known will never have what the ADD waits for.
    """

    def __init__(
        self,
        attachment: Attachment,
        *,
        addresses_only: bool = False,
        refused: Callable[[], Exception | None] = lambda: None,
    ) -> None:
        self.attachment, self.addresses_only = attachment, addresses_only
        self.refused = refused
        self.waits_for = "nothing yet"
        self.overtaken: str | None = None
        self.seen = self.first = False
        self.finished = asyncio.Event()
        self.task: asyncio.Task[Any] | None = None

    def overtake(self, reason: str) -> None:
        """Cancel it for this reason."""
        if self.task is not None and self.overtaken is None:
            self.overtaken = reason
            self.task.cancel()

    async def within(self, seconds: float, work: Coroutine[Any, Any, R]) -> R:
        """Return the result of its work, which runs in the current task.

        Raise NotReady after that time, and UnknownSandbox where it was overtaken.
        """
        self.task = task = asyncio.current_task()
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                return await work
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise NotReady(f"gave up after {seconds:g} s: {self.waits_for}") from error
        except asyncio.CancelledError as error:
            if not self.overtaken:
                raise
            raise UnknownSandbox(self.overtaken) from error
        finally:
            self.task = None
            if task is not None and self.overtaken:
                task.uncancel()


class Adds:
    """The ADDs under way, one for each interface of a sandbox at most.

    ``refresh`` returns when a complete list of pods that began after the call is in ``state``.
    """

    def __init__(
        self,
        scope: PodScope,
        state: State,
        refresh: Callable[[], Coroutine[None, None, None]],
        waits: Waits,
        clock: Clock,
    ) -> None:
        self._scope, self._state, self._refresh = scope, state, refresh
        self._waits, self._clock = waits, clock
        self._running: dict[AttachmentKey, Adding] = {}

    async def run(self, adding: Adding, work: Callable[[Adding], Coroutine[Any, Any, R]]) -> R:
        """Return what ``work`` returns. An earlier ADD of the same interface is undone first."""
        key = adding.attachment.key
        await self.overtake(key, "the same ADD came again")
        self._running[key] = adding
        try:
            return await work(adding)
        finally:
            del self._running[key]
            adding.finished.set()

    async def overtake(self, key: AttachmentKey, reason: str) -> None:
        """Cancel an ADD of this key and wait until it is undone."""
        while adding := self._running.get(key):
            adding.overtake(reason)
            await adding.finished.wait()

    def get(self, key: AttachmentKey) -> Adding | None:
        """Return the ADD of this key that is under way."""
        return self._running.get(key)

    def pod_changed(self, owner: Owner) -> None:
        """End the ADDs whose pod was deleted or replaced."""
        pod = self._state.get(owner)
        for adding in self._running.values():
            attachment = adding.attachment
            if (
                attachment.owner == owner
                and adding.seen
                and (pod is None or attachment.uid not in (None, pod.uid))
            ):
                adding.overtake("the pod was deleted while its sandbox was being attached")

    async def named(self, adding: Adding, shares: Callable[[Attachment], bool]) -> None:
        """Wait a while for a provider of its own where another interface has its port.

        A network may be plugged into a running pod a second time: its ADD then races with the
        controller, and the pod has only the first interface's annotations. ``shares`` returns
        whether another interface of the sandbox has the port.
        """
        if not shares(named := self._named(adding.attachment)):
            adding.attachment = named
            return
        with suppress(TimeoutError), self._state.watching(adding.attachment.owner) as changed:
            async with asyncio.timeout(OWN_NAME):
                while shares(named := self._named(adding.attachment)):
                    adding.waits_for = "this network has no allocation for this interface alone"
                    await changed.wait()
                    changed.clear()
                adding.attachment = named

    async def annotated(self, adding: Adding) -> None:
        """Wait without polling until the pod, by its UID, has its annotations.

        Raise UnknownSandbox where a fresh list has no such pod, and what ``refused`` returns.
        """
        attachment = adding.attachment
        proving: asyncio.Task[None] | None = None
        with self._clock("annotation"), self._state.watching(attachment.owner) as changed:
            if adding.first:
                self._scope.awaiting.add(attachment.key)
            try:
                while reason := self._reason_to_wait(adding):
                    adding.waits_for = reason
                    if adding.seen and (refusal := adding.refused()):
                        raise refusal
                    if not adding.seen and proving is None:
                        proving = asyncio.create_task(self._prove_deleted(attachment, changed))
                    await self._changed(adding, changed)
                    changed.clear()
                    if proving is not None and proving.done() and not adding.seen:
                        proving.result()
            finally:
                self._scope.awaiting.discard(attachment.key)
                if proving is not None:
                    proving.cancel()
                    with suppress(asyncio.CancelledError, OvnletError):
                        await proving

    async def _changed(self, adding: Adding, changed: asyncio.Event) -> None:
        """Wait for a change of the pod. The wait for its routes alone is a stage of its own."""
        attachment = adding.attachment
        if annotations.key(attachment.provider, "routed") in adding.waits_for:
            with self._clock("routed"):
                await self._waits.changed(attachment, changed)
        else:
            await self._waits.changed(attachment, changed)

    def _named(self, attachment: Attachment) -> Attachment:
        """Return it with the provider that the controller gave to this interface alone, if it did.

        Kube-OVN 1.16 and later do so for a network that a pod names twice, with interface names.
        Without a prefix such an allocation has no address, but is complete with its first write.
        The logical port of a virtual machine has the machine's name, whichever pod launches it.
        """
        provider = f"{attachment.provider}.{attachment.ifname}"
        own = replace(attachment, provider=provider, iface_id="")
        text = self._scope.text(own) or {}
        given = annotations.keys(provider, ("ip_address", "allocated"))
        found = own if any(text.get(name) for name in given) else attachment
        machine = annotations.machine(self._scope.text(found) or {}, found.provider)
        if not machine:
            return found
        return replace(found, iface_id=ids.iface_id(found.namespace, machine, found.provider))

    def _reason_to_wait(self, adding: Adding) -> str | None:
        attachment = adding.attachment = self._named(adding.attachment)
        adding.seen = adding.seen or self._scope.text(attachment) is not None
        return self._scope.missing_inputs_of(attachment, alone=adding.addresses_only)

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
