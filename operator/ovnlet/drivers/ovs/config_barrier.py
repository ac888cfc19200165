"""A barrier on ovs-vswitchd's configuration: `next_cfg` asks for it, `cur_cfg` reports progress.

It closes one race. If a port is recreated under its old name before ovs-vswitchd saw the old one
go, ovs-vswitchd keeps the socket on the old link: all rows look right, and no packet passes. So the
removal increments `next_cfg` in its own transaction. That request is in the database itself: any
later writer that adds a port, even a restarted agent, sees that it is still open.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence

from ovnlet.core.errors import NotReady
from ovnlet.core.plan import Step, Verb
from ovnlet.core.resources import Port
from ovnlet.drivers.ovs import operations
from ovnlet.drivers.ovs.vswitch_index import VswitchIndex
from ovnlet.drivers.ovsdb.replica import Op
from ovnlet.drivers.ovsdb.transaction_batcher import TransactionBatcher

INCREMENT_NEXT_CFG: Op = {
    "op": "mutate",
    "table": "Open_vSwitch",
    "where": [],
    "mutations": [["next_cfg", "+=", 1]],
}
_APPLY_TIMEOUT = 2.0  # seconds


def recreates_port(steps: Sequence[Step]) -> bool:
    """Return whether the steps remove a port and ensure one of the same name."""
    verbs = [(step.verb, step.resource.name) for step in steps if isinstance(step.resource, Port)]
    return any((Verb.REMOVE, name) in verbs for verb, name in verbs if verb is Verb.ENSURE)


class ConfigBarrier:
    """The wait until ovs-vswitchd has applied what is in the database.

    ``hint(mark, name)`` reports a port whose wait timed out, once ovs-vswitchd has caught up.
    """

    def __init__(
        self,
        index: VswitchIndex,
        batcher: TransactionBatcher,
        hint: Callable[[str, str], None],
    ) -> None:
        self._index, self._batcher, self._hint = index, batcher, hint
        self._advanced = asyncio.Event()
        self._timed_out: set[str] = set()

    @property
    def behind(self) -> bool:
        """Whether ovs-vswitchd has yet to apply a configuration that was asked for."""
        root = self._index.root()
        return root is not None and bool(root[1]["cur_cfg"] < root[1]["next_cfg"])

    def root_changed(self) -> None:
        """Wake the waits, and hint at ports that timed out, if ovs-vswitchd has caught up.

        The caller runs this after each change of the Open_vSwitch row, and for each new session.
        """
        if self.behind:
            return
        self._advanced.set()
        timed_out, self._timed_out = self._timed_out, set()
        for name in timed_out:
            self._hint("", name)

    async def sync(self) -> None:
        """Wait until ovs-vswitchd has applied all that is in the database now.

        Raise NotReady if that takes more than two seconds.
        """
        await self._batcher.commit(lambda: [INCREMENT_NEXT_CFG])
        await self._wait(())

    async def commit(self, steps: Sequence[Step]) -> None:
        """Commit the steps in one transaction, or in two if they recreate a port.

        Before a new port, wait until ovs-vswitchd is not behind, whatever client
        incremented `next_cfg`. Raise NotReady if that takes more than two seconds: the removals are
        committed then, the rest is not.
        """
        if recreates_port(steps):
            removals = [step for step in steps if step.verb is Verb.REMOVE]
            await self._batcher.commit(
                lambda: [*operations.ops(removals, self._index), INCREMENT_NEXT_CFG]
            )
            steps = [step for step in steps if step.verb is Verb.ENSURE]
        ports = {step.resource.name for step in steps if isinstance(step.resource, Port)}
        if new := ports - set(self._index.ports):
            await self._wait(new)
        await self._batcher.commit(lambda: operations.ops(steps, self._index))

    async def _wait(self, names: Collection[str]) -> None:
        try:
            async with asyncio.timeout(_APPLY_TIMEOUT):
                while self.behind:
                    self._advanced.clear()
                    await self._advanced.wait()
        except TimeoutError:
            self._timed_out.update(names)
            waiting = ", ".join(sorted(names)) or "a port's limits"
            raise NotReady(
                f"ovs-vswitchd has not applied its configuration for {_APPLY_TIMEOUT:g} s;"
                f" {waiting} must wait for it"
            ) from None
