"""The loop: desired, observed, plan, apply, and look again; for every key of every scope.

ADD, DEL, an edited annotation, drift, a restart and a reboot all end here. CHECK is its first half.
"""

import asyncio
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace

from ovnlet.core.errors import NodeFault, NotConverged, OvnletError
from ovnlet.core.identity import Identity
from ovnlet.core.plan import Step, diff
from ovnlet.core.resources import Network
from ovnlet.reconcile.budget import Reason
from ovnlet.reconcile.interruptible import Turn
from ovnlet.reconcile.outcome import Outcome, Target
from ovnlet.reconcile.queue import Queue
from ovnlet.reconcile.scope import Host, Key, Scope

# Law 2: from any state, an empty plan after at most three rounds. One is not enough: the kernel
# flushes what depends on a removed thing.
PASSES = 3
# Passes at once where every key has one. Those of 500 attachments at once take 5 MB more, and what
# was needed once stays with the process.
AT_ONCE = 50
NO_REMEDY = "the budget for asking ovn-controller is spent; it is asked again in a minute at most"


class Loop:
    """Runs one pass for a key. Its only state is which keys a caller has forced, and the turns."""

    def __init__(self) -> None:
        self.queue: Queue[Key, Outcome | None] = Queue(
            self.reconcile, self._failed, self._throttled
        )
        self._scopes: dict[str, Scope] = {}
        self._forced: set[Key] = set()
        self._proved_later: set[Key] = set()
        self._turns: dict[Key, Turn] = {}

    def keep(self, name: str, scope: Scope) -> None:
        """Add a scope, whose keys the loop keeps from then on."""
        self._scopes[name] = scope

    def passes(self, name: str) -> "Passes":
        """Return the loop as seen by one scope, which need not be there yet."""
        return Passes(self, name)

    def every_key(self) -> Iterator[Key]:
        """Yield the keys of all scopes, in the order in which these were added."""
        for name, scope in self._scopes.items():
            yield from (Key(name, own) for own in scope.every_key())

    def scope_of(self, key: Key) -> Scope:
        """Return the scope that keeps this key."""
        return self._scopes[key.scope]

    async def settle(self) -> None:
        """Run one pass for every key. Failed passes are repeated later.

        The scope that was added first comes before the others, which depend on it.
        """
        first = next(iter(self._scopes))
        for leads in (True, False):
            await self._run_each([key for key in self.every_key() if (key.scope == first) is leads])

    async def _run_each(self, keys: Sequence[Key]) -> None:
        """Run a pass of each key. One begins in a turn of asyncio's loop: ADDs come between."""
        free = asyncio.Semaphore(AT_ONCE)

        async def run(key: Key) -> None:
            try:
                with suppress(Exception):  # the queue reports it and tries again
                    await self.queue.run(key)
            finally:
                free.release()

        async with asyncio.TaskGroup() as passes:
            for key in keys:
                await free.acquire()
                passes.create_task(run(key))
                await asyncio.sleep(0)

    def add_all(self) -> None:
        """Ask for a pass of every key, after a change that concerns all or that is unknown."""
        for key in self.every_key():
            self.queue.add(key)

    def hint_all(self) -> None:
        """Hint every key, after notifications of the node were dropped."""
        for key in self.every_key():
            self.queue.hint(key)

    def force(self, key: Key) -> None:
        """Make passes of this key act, whatever the settings say of drift, until one succeeds."""
        self._forced.add(key)

    def prove_later(self, key: Key) -> None:
        """Let the next pass of this key end with its steps, if it only makes what is missing.

        The caller looks by itself once the node had its time, and runs another pass for what
        differs.
        """
        self._proved_later.add(key)

    def cut_short(self, key: Key) -> None:
        """End what the running pass of this key only waits for; the pass fails with NotReady."""
        if (turn := self._turns.get(key)) is not None:
            turn.cut_short()

    async def reconcile(self, key: Key) -> Outcome | None:
        """Run one pass; return None where the scope has no such key or still waits for inputs.

        Raise NotReady, NodeFault, Invalid, Taken, UnknownSandbox or NotConverged. Repeated passes
        converge: whatever a failed one left is drift for the next.
        """
        turn = self._turns[key] = Turn()
        turn.begin()
        try:
            return await self._reconcile(key)
        except OSError as error:  # a full disk, or no descriptor left: the node's matter
            raise NodeFault(f"{type(error).__name__}: {error}") from error
        finally:
            self._turns.pop(key, None)
            turn.end()
            self._proved_later.discard(key)

    async def _reconcile(self, key: Key) -> Outcome | None:
        scope, hinted = self._scopes[key.scope], self.queue.take_hint(key)
        await scope.host.ready()
        target = scope.target(key.own)
        if target is None:
            return None
        forced = key in self._forced or target.edited
        outcome = await self._pass(key, scope.host, target, forced=forced)
        outcome = replace(
            outcome,
            forced=forced,
            hinted=hinted,
            edited=target.edited,
            first=target.first,
            final=target.final,
            problems=target.problems,
            notices=target.notices,
        )
        self._forced.discard(key)
        if outcome.final:
            self.queue.forget(key)
        await scope.settled(key.own, outcome)
        return outcome

    async def _pass(self, key: Key, host: Host, target: Target, *, forced: bool) -> Outcome:
        """Repair, report or ignore the difference. A repair of drift spends from the budget."""
        acts, now = forced or not target.desired, asyncio.get_running_loop().time
        if target.repair == "off" and not acts:
            return Outcome(target.identity, target.desired, target.desired)
        if target.repair == "report" and not acts:
            outcome = await report(host, target.identity, target.desired, "as set")
            return _without_remedies(outcome) if target.leaving else outcome
        budget = self.queue.budget(key)
        outcome = await converge(
            host,
            target.identity,
            target.desired,
            lambda: not target.leaving and (acts or budget.remedy(now())),
            proved_later=key in self._proved_later,
        )
        if outcome.steps and not acts:
            budget.repairs.spend(now())
        return _without_remedies(outcome) if target.leaving else outcome

    def _failed(self, key: Key, error: OvnletError, /, *, awaited: bool) -> None:
        self._scopes[key.scope].failed(key.own, error, awaited=awaited)

    def _throttled(self, key: Key, reason: Reason, /) -> None:
        self._scopes[key.scope].throttled(key.own, reason)


class Passes:
    """The loop for one scope: the same calls, with the scope's own keys."""

    def __init__(self, loop: Loop, scope: str) -> None:
        self._loop, self._scope = loop, scope

    def key(self, own: Hashable) -> Key:
        """Return the loop's key for the scope's own."""
        return Key(self._scope, own)

    def add(self, own: Hashable) -> None:
        """Ask for a pass. Return at once."""
        self._loop.queue.add(self.key(own))

    def force(self, own: Hashable) -> None:
        """Make passes of this key act, whatever the settings say of drift, until one succeeds."""
        self._loop.force(self.key(own))

    def cut_short(self, own: Hashable) -> None:
        """End what the running pass of this key only waits for, see ``Loop.cut_short``."""
        self._loop.cut_short(self.key(own))

    def prove_later(self, own: Hashable) -> None:
        """Let the next pass of this key end with its steps, see ``Loop.prove_later``."""
        self._loop.prove_later(self.key(own))

    async def run(self, own: Hashable) -> Outcome | None:
        """Return the outcome of a pass that begins after this call, or raise its error."""
        return await self._loop.queue.run(self.key(own))

    def defer_hints(self, own: Hashable) -> AbstractContextManager[None]:
        """Defer hints of the node within the context, see ``Queue.defer_hints``."""
        return self._loop.queue.defer_hints(self.key(own))

    def acknowledge(self, own: Hashable) -> None:
        """Count every deferred hint as answered by the look that begins now."""
        self._loop.queue.acknowledge(self.key(own))


async def converge(
    host: Host,
    identity: Identity,
    desired: Network,
    may_remedy: Callable[[], bool] = lambda: True,
    *,
    proved_later: bool = False,
) -> Outcome:
    """Make the network equal to the desired one, and observe that it is.

    With ``proved_later``, steps that only make what is missing are not followed by a look: the
    outcome has what they were to make, and the caller looks.

    ``may_remedy`` is called once before the first step that costs the whole node something; if it
    returns False, such steps remain. Raise NotConverged with the plan that is left after three
    rounds, and whatever the host raises.
    """
    began = asyncio.get_running_loop().time()
    steps: list[Step] = []
    allowed: bool | None = None
    observed = await host.observe(identity, desired)
    for _ in range(PASSES):
        plan = diff(desired, observed)
        if any(map(_is_remedy, plan)):
            allowed = may_remedy() if allowed is None else allowed
            plan = plan if allowed else tuple(step for step in plan if not _is_remedy(step))
        if not plan:
            break
        await host.apply(identity, plan)
        steps += plan
        if proved_later and not observed:
            observed = desired
            break
        observed = await host.observe(identity, desired)
    seconds = asyncio.get_running_loop().time() - began
    outcome = Outcome(identity, desired, observed, tuple(steps), seconds=seconds)
    if not (plan := diff(desired, observed)):
        return outcome
    if allowed is False and all(map(_is_remedy, plan)):
        return replace(outcome, remaining=plan, why_remaining=NO_REMEDY)
    raise NotConverged(plan)


async def report(host: Host, identity: Identity, desired: Network, why: str) -> Outcome:
    """Observe, and return the difference in ``remaining``; change nothing."""
    observed = await host.observe(identity, desired)
    left = diff(desired, observed)
    return Outcome(identity, desired, observed, remaining=left, why_remaining=why)


def _without_remedies(outcome: Outcome) -> Outcome:
    """Return the outcome without the remedies that are left, which are not to be reported."""
    left = tuple(step for step in outcome.remaining if not _is_remedy(step))
    return replace(outcome, remaining=left)


def _is_remedy(step: Step) -> bool:
    """Return whether the step costs the whole node something: what was observed says so itself."""
    return bool(getattr(step.was, "needs_remedy", False))
