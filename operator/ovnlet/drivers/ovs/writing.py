"""Steps on rows: committed with those of other callers, and what has to follow them."""

from collections.abc import Awaitable, Callable, Sequence

from ovnlet.core.errors import NodeFault
from ovnlet.core.plan import Step
from ovnlet.drivers.ovs import operations
from ovnlet.drivers.ovs.config_barrier import ConfigBarrier
from ovnlet.drivers.ovs.forwarding import Forwarding
from ovnlet.drivers.ovs.installed import InstalledTracker
from ovnlet.drivers.ovsdb.transaction_batcher import Submitted
from ovnlet.reconcile.interruptible import interruptible


class Writing:
    """Steps that joined the next transaction.

    The caller awaits ``committed``, or calls ``withdraw``.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        submitted: Submitted,
        follow_up: Callable[[Sequence[Step]], Awaitable[None]],
    ) -> None:
        self._steps, self._submitted, self._follow_up = steps, submitted, follow_up

    @property
    def is_sent(self) -> bool:
        """Whether the transaction is on its way, as far as is known."""
        end = self._submitted.end
        failed = end.done() and (end.cancelled() or end.exception() is not None)
        return self._submitted.is_sent and not failed

    async def sent(self) -> None:
        """Send the transaction, at once if none is in flight; return when it is sent.

        Raise what ``committed`` would raise where it cannot be sent.
        """
        await self._submitted.sent()
        if self._submitted.end.done() and self._submitted.end.exception() is not None:
            await self.committed()

    async def committed(self) -> None:
        """Send the transaction, and wait for the answer. Raise as ``Writer.apply`` does."""
        await self._submitted.sent()
        try:
            await self._submitted.end
        except NodeFault as error:
            raise _named(self._steps, error) from error
        await self._follow_up(self._steps)

    def withdraw(self) -> None:
        """Write nothing if it is not sent yet, and wait for nothing."""
        self._submitted.end.cancel()


class Writer:
    """Writes the rows of ports.

    ``recompute`` asks ovn-controller to install again what ``tracker`` says is lost.
    """

    def __init__(
        self,
        barrier: ConfigBarrier,
        tracker: InstalledTracker,
        recompute: Callable[[], Awaitable[None]],
        forwarding: Forwarding | None,
    ) -> None:
        self._barrier, self._tracker = barrier, tracker
        self._recompute, self._forwarding = recompute, forwarding

    async def begin(self, steps: Sequence[Step]) -> Writing:
        """Have the steps join the next transaction, as soon as ovs-vswitchd is ready for them.

        They may not recreate a port. Raise NotReady if ovs-vswitchd is not ready in time.
        """
        return Writing(steps, await self._barrier.begin(steps), self._follow_up)

    async def apply(self, steps: Sequence[Step]) -> None:
        """Commit steps, in one transaction with those of other callers, and wait for the answer.

        To repair a lost `ovn-installed`, request a recompute. Do not wait for OVN then: a port that
        is not installed two seconds later counts as lost again. Raise NodeFault with the server's
        text: none of these steps was done, unless they recreate a port, whose removal may be
        committed. After NotReady or a cancelled wait the outcome is unknown.
        """
        try:
            await self._barrier.commit(steps)
        except NodeFault as error:
            raise _named(steps, error) from error
        await self._follow_up(steps)

    async def _follow_up(self, steps: Sequence[Step]) -> None:
        if lost := set(operations.uninstalled(steps)):
            async with interruptible():
                await self._recompute()
            self._tracker.requested(lost)
        blocked = list(operations.blocked(steps))
        if self._forwarding and blocked:
            await self._forwarding.clear_flags(blocked)


def _named(steps: Sequence[Step], error: NodeFault) -> NodeFault:
    """Return the server's error with the steps that it is about."""
    return NodeFault(f"OVS: {'; '.join(map(str, steps))}: {error}")
