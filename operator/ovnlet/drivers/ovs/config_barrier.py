"""A barrier on ovs-vswitchd's configuration: `next_cfg` asks for it, `cur_cfg` reports progress.

It closes one race. If a port is recreated under its old name before ovs-vswitchd saw the old one
go, ovs-vswitchd keeps the socket on the old link: all rows look right, and no packet passes. So the
removal increments `next_cfg` in its own transaction. That request is in the database itself: any
later writer that adds a port, even a restarted agent, sees that it is still open.

A wait is for a number: the one that the own increment has set, or the one that was asked for before
a new port. It never waits for `cur_cfg == next_cfg`, which may not come while others write.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

from ovnlet.core.errors import NotReady, OvnletError
from ovnlet.core.plan import Step, Verb
from ovnlet.core.resources import Port
from ovnlet.drivers.ovs import operations
from ovnlet.drivers.ovs.vswitch_index import VswitchIndex
from ovnlet.drivers.ovsdb.replica import Op
from ovnlet.drivers.ovsdb.transaction_batcher import Submitted, TransactionBatcher
from ovnlet.reconcile.interruptible import interruptible

INCREMENT_NEXT_CFG: Op = {
    "op": "mutate",
    "table": "Open_vSwitch",
    "where": [],
    "mutations": [["next_cfg", "+=", 1]],
}
# In the same transaction, this returns the number that the increment has set.
_SELECT_NEXT_CFG: Op = {
    "op": "select",
    "table": "Open_vSwitch",
    "where": [],
    "columns": ["next_cfg"],
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
        self._timed_out: dict[str, int] = {}

    def root_changed(self) -> None:
        """Wake the waits, and hint at ports that timed out and whose number has come meanwhile.

        The caller runs this after each change of the Open_vSwitch row, and for each new session.
        """
        self._advanced.set()
        for name, number in tuple(self._timed_out.items()):
            if self._is_applied(number):
                del self._timed_out[name]
                self._hint("", name)

    async def sync(self) -> None:
        """Wait until ovs-vswitchd has applied all that is in the database now.

        Raise NotReady if that takes more than two seconds.
        """
        *_, selected = await self._batcher.commit(lambda: [INCREMENT_NEXT_CFG, _SELECT_NEXT_CFG])
        if rows := selected["rows"]:
            await self._wait(int(rows[0]["next_cfg"]), ())

    async def commit(self, steps: Sequence[Step]) -> None:
        """Commit the steps in one transaction, or in two if they recreate a port.

        Before a new port, wait as ``begin`` does. If that fails, the removals are committed and the
        rest is not.
        """
        if recreates_port(steps):
            removals = [step for step in steps if step.verb is Verb.REMOVE]
            await self._batcher.commit(
                lambda: [*operations.ops(removals, self._index), INCREMENT_NEXT_CFG]
            )
            steps = [step for step in steps if step.verb is Verb.ENSURE]
        await self._ready_for(steps)
        await self._batcher.commit(lambda: operations.ops(steps, self._index))

    async def begin(self, steps: Sequence[Step]) -> Submitted:
        """Have steps that recreate no port join the next transaction.

        Before a new port, wait until ovs-vswitchd has applied what was asked for until then,
        whatever client incremented `next_cfg`. Raise NotReady if that takes more than two seconds.
        """
        await self._ready_for(steps)
        return self._batcher.submit(lambda: operations.ops(steps, self._index))

    async def _ready_for(self, steps: Sequence[Step]) -> None:
        ports = {step.resource.name for step in steps if isinstance(step.resource, Port)}
        if new := {name for name in ports if not self._index.ports[name]}:
            # ovsdb-server reports a change before it answers the transaction that made it.
            await self._wait(self._root("next_cfg"), new)

    def _root(self, column: str) -> int:
        """Return a number of the Open_vSwitch row; 0 in an empty database."""
        root = self._index.root()
        return int(root[1][column]) if root else 0

    def _is_applied(self, number: int) -> bool:
        """Return whether ovs-vswitchd has applied it; also if a new database counts from 0."""
        return self._root("cur_cfg") >= number or self._root("next_cfg") < number

    async def _wait(self, number: int, names: Collection[str]) -> None:
        if self._is_applied(number):
            return
        try:
            async with interruptible(), asyncio.timeout(_APPLY_TIMEOUT):
                while not self._is_applied(number):
                    self._advanced.clear()
                    await self._advanced.wait()
        except TimeoutError:
            self._timed_out.update(dict.fromkeys(names, number))
            # ovs-vswitchd reports a number once. If that write was lost, as on a full disk, only
            # another number makes it report again.
            with suppress(OvnletError):
                await self._batcher.commit(lambda: [INCREMENT_NEXT_CFG])
            waiting = ", ".join(sorted(names)) or "a port's limits"
            raise NotReady(
                f"ovs-vswitchd has not applied its configuration for {_APPLY_TIMEOUT:g} s;"
                f" {waiting} must wait for it"
            ) from None
