"""Start-up and resync, each a sequence of named steps; resync never overlaps start-up."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import AbstractContextManager
from typing import Any

import structlog

from ovnlet.core.identity import Attachment
from ovnlet.drivers.ovs.health import Verdict
from ovnlet.drivers.store.cni_files import CniFiles
from ovnlet.drivers.store.sandboxes import Sandboxes
from ovnlet.kube.relist import Relist
from ovnlet.reconcile.attaching import Attaching
from ovnlet.reconcile.loop import Loop
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
        relists: Iterable[Relist[Any]],
        timed: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._ovs_ready, self._state, self._records, self._loop = ovs_ready, state, records, loop
        self._attaching, self._sweep, self._pending = attaching, sweep, pending
        self._cni_files, self._cni_scope = cni_files, cni_scope
        self._relists, self._timed = tuple(relists), timed
        self.verdict: Verdict | None = Verdict("the agent is starting")

    async def run(self) -> None:
        """Run the steps in order. Wait without a bound, for example for the first list of pods."""
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
            await step()
        self.verdict = None
        log.info("serving", attachments=len(list(self._records)))

    async def resync(self) -> None:
        """Run a pass for every key, and remove what dead sandboxes left."""
        with self._timed():
            for relist in self._relists:
                relist.request()
            self._records.restore()
            await self._cni_files.prepare()
            await self._settle()
            await self._sweep.round()

    async def _install(self) -> None:
        """Write the plugin, then the configuration: its appearance is what makes the node Ready."""
        await self._cni_files.prepare()
        self._cni_scope.open()
        for own in self._cni_scope.every_key():
            await self._loop.passes("cni").run(own)

    async def _settle(self) -> None:
        """Run a pass for every key, and the deletions recorded while no agent answered."""
        await asyncio.gather(self._loop.settle(), *self._deletions(), return_exceptions=True)

    def _deletions(self) -> list[Coroutine[None, None, None]]:
        """Return one coroutine for each DEL that the plugin left as a file."""
        found = self._pending.read()
        if found.skipped:
            log.warning("not notes of deletions, skipped", files=found.skipped)

        async def delete(container_id: str, ifname: str) -> None:
            boot_id = self._records.boot_id
            await self._attaching.delete(Attachment.of_deletion(container_id, ifname, boot_id))
            self._pending.remove(container_id, ifname)

        return [delete(note.container_id, note.ifname) for note in found.deletes]
