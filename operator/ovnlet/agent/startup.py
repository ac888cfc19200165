"""Start-up and resync, each a sequence of named steps; resync never overlaps start-up."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import AbstractContextManager

import structlog

from ovnlet.core.identity import Attachment
from ovnlet.drivers.ovs.health import Verdict
from ovnlet.drivers.store.cni_files import CniFiles
from ovnlet.drivers.store.sandboxes import Sandboxes
from ovnlet.reconcile.attaching import Attaching
from ovnlet.reconcile.loop import Loop
from ovnlet.reconcile.resync import resync
from ovnlet.reconcile.scopes.cni_files import CniFilesScope
from ovnlet.reconcile.state import State
from ovnlet.reconcile.sweep import Sweep
from ovnlet_cni.pending_deletes import PendingDeletes

log = structlog.get_logger("agent")


class Startup:
    """Repairs existing pods first; only then lets the runtime send new ones.

    ``verdict`` says why the node takes no pods yet; None once start-up is over.
    """

    def __init__(  # noqa: PLR0913 - the parts, named at the one place that wires them
        self,
        *,
        ovs_ready: Callable[[], Awaitable[None]],
        state: State,
        records: Sandboxes,
        loop: Loop,
        attaching: Attaching,
        sweep: Sweep,
        cni_files: CniFiles,
        cni_scope: CniFilesScope,
        pending: PendingDeletes,
        restores: Iterable[Callable[[], None]],
        timed: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._ovs_ready, self._state, self._records, self._loop = ovs_ready, state, records, loop
        self._attaching, self._sweep, self._pending = attaching, sweep, pending
        self._cni_files, self._cni_scope = cni_files, cni_scope
        self._timed, self._restores = timed, tuple(restores)
        self.verdict: Verdict | None = Verdict("the agent is starting")

    async def run(self) -> None:
        """Run the steps in order. Wait without a bound, for example for the first list of pods.

        Raise what a step raises. Every step may be repeated, so another call starts over.
        """
        steps: tuple[tuple[str, Callable[[], Awaitable[None]]], ...] = (
            ("has not read OVSDB yet", self._ovs_ready),
            ("has not looked at this node's pods yet", self._settle),
            ("waits for the API server's list of this node's pods", self._state.listed),
            ("compares this node's pods with the API server's list", self._settle),
            ("looks for what dead sandboxes left", self._sweep.round),
            ("installs the CNI configuration", self._install),
        )
        for doing, step in steps:
            self.verdict = Verdict(f"the agent is starting: it {doing}")
            try:
                await step()
            except Exception as error:
                self.verdict = Verdict(
                    f"the agent is starting: it {doing}, but that failed: {error}"
                )
                raise
        self.verdict = None
        log.info("serving", attachments=len(list(self._records)))

    async def keep(self, every: float, soon: float) -> None:
        """Start up, then resync every ``every`` seconds for ever; the first time after ``soon``.

        Raise what start-up or a resync raises. Another call goes on where this one ended: a resync
        that failed comes again after the usual interval.
        """
        if self.verdict is not None:
            await self.run()
        else:
            soon = every
        await resync(every, self.resync, soon=soon)

    async def resync(self) -> None:
        """Run a pass for every key, and remove what dead sandboxes left.

        The API server is asked only if something is suspect. A step that fails keeps none from its
        turn. Raise ExceptionGroup with what they raised.
        """
        steps = (self._restore, self._cni_files.prepare, self._settle, self._sweep.round)
        errors: list[Exception] = []
        with self._timed():
            for step in steps:
                try:
                    await step()
                except Exception as error:  # noqa: BLE001 - raised below, together with others
                    errors.append(error)
        if errors:
            raise ExceptionGroup("resync", errors)

    async def _restore(self) -> None:
        """Write again the files of ours that somebody removed, or that a full disk did not take."""
        for restore in self._restores:
            restore()

    async def _install(self) -> None:
        """Write the plugin, then the configuration: its appearance is what makes the node Ready."""
        await self._cni_files.prepare()
        self._cni_scope.open()
        for own in self._cni_scope.every_key():
            await self._loop.passes("cni").run(own)

    async def _settle(self) -> None:
        """Run a pass for every key, and the deletions recorded while no agent answered."""
        deletions = self._deletions()
        await asyncio.gather(self._loop.settle(), *deletions, return_exceptions=True)

    def _deletions(self) -> list[Coroutine[None, None, None]]:
        """Return one coroutine for each DEL that the plugin left as a file.

        A directory that cannot be read, as without a free descriptor, is read by the next resync.
        """
        try:
            found = self._pending.read()
        except OSError as error:
            log.warning("pending deletions cannot be read yet", error=str(error))
            return []
        if found.skipped:
            log.warning("not notes of deletions, skipped", files=found.skipped)

        async def delete(container_id: str, ifname: str) -> None:
            boot_id = self._records.boot_id
            await self._attaching.delete(Attachment.of_deletion(container_id, ifname, boot_id))
            self._pending.remove(container_id, ifname)

        return [delete(note.container_id, note.ifname) for note in found.deletes]
