"""ovs-vswitchd's pace: how far it has taken in what the database says (`next_cfg`, `cur_cfg`).

A port that is made anew under its old name before ovs-vswitchd saw the old one go keeps the socket on the old link:
everything looks right, and no packet passes. So the removal asks for an answer, in the database itself: whoever
makes a port, be it a restarted agent, finds there that the answer is still owed.
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

ASK: Op = {
    "op": "mutate",
    "table": "Open_vSwitch",
    "where": [],
    "mutations": [["next_cfg", "+=", 1]],
}
_PATIENCE = 2.0


def made_anew(steps: Sequence[Step]) -> bool:
    """Whether a port goes and comes back by these steps."""
    verbs = [(step.verb, step.resource.name) for step in steps if isinstance(step.resource, Port)]
    return any((Verb.REMOVE, name) in verbs for verb, name in verbs if verb is Verb.ENSURE)


class ConfigBarrier:
    """``hint(mark, name)`` asks for a look at a port that could wait no longer, once ovs-vswitchd has caught up."""

    def __init__(
        self, switch: VswitchIndex, commits: TransactionBatcher, hint: Callable[[str, str], None]
    ) -> None:
        self._switch, self._commits, self._hint = switch, commits, hint
        self._moved = asyncio.Event()
        self._late: set[str] = set()

    @property
    def behind(self) -> bool:
        root = self._switch.root()
        return root is not None and bool(root[1]["cur_cfg"] < root[1]["next_cfg"])

    def changed(self) -> None:
        """The row of Open_vSwitch is another one, or all rows are."""
        if self.behind:
            return
        self._moved.set()
        late, self._late = self._late, set()
        for name in late:
            self._hint("", name)

    async def ask(self) -> None:
        """Return once ovs-vswitchd has taken in all that is in the database now."""
        await self._commits.commit(lambda: [ASK])
        await self._caught_up(())

    async def commit(self, steps: Sequence[Step]) -> None:
        """In one transaction, or in two where a port goes and comes back; before a new port nothing is owed."""
        if made_anew(steps):
            removals = [step for step in steps if step.verb is Verb.REMOVE]
            await self._commits.commit(lambda: [*operations.ops(removals, self._switch), ASK])
            steps = [step for step in steps if step.verb is Verb.ENSURE]
        new = {step.resource.name for step in steps if isinstance(step.resource, Port)} - set(
            self._switch.ports
        )
        if new:
            await self._caught_up(new)
        await self._commits.commit(lambda: operations.ops(steps, self._switch))

    async def _caught_up(self, names: Collection[str]) -> None:
        """Return once nothing is owed; NotReady if that takes too long."""
        try:
            async with asyncio.timeout(_PATIENCE):
                while self.behind:
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            self._late.update(names)
            late = ", ".join(sorted(names)) or "a port's limits"
            raise NotReady(
                f"ovs-vswitchd has taken in nothing for {_PATIENCE:g} s; {late} must wait for it"
            ) from None
