"""The last outcome of each key of a scope, and its reports: log lines, Events and counts."""

import asyncio
from collections.abc import Hashable
from typing import Literal, Protocol

import structlog

from ovnlet.core.errors import Invalid, NotReady, OvnletError
from ovnlet.core.identity import Identity
from ovnlet.core.resources import ABSENT
from ovnlet.reconcile.budget import Reason
from ovnlet.reconcile.outcome import Notice, Outcome

log = structlog.get_logger("reconcile")

# Seconds between two Events that say a key is throttled.
_AGAIN = 60.0
# Without the number of repairs: Events with the same text become one with a count.
_THROTTLED: dict[Reason, tuple[str, str]] = {
    "repairs": (
        "NetworkDrifted",
        "undone at once again and again: repairs are limited to one in 2.5 s until it stops",
    ),
    "looks": (
        "NetworkChangesThrottled",
        "something changes this network many times a second: looks are limited to five a second",
    ),
    "remedies": (
        "NetworkDrifted",
        "OVN does not install again what is lost: it is asked at most once a minute",
    ),
}


class Record(Protocol):
    """The callback that makes an Event. ``agent.reporting`` implements it."""

    def __call__(
        self, identity: Identity, kind: Literal["Normal", "Warning"], reason: str, message: str, /
    ) -> None:
        """Make an Event on the identity's object, and an entry of the event log. Never wait."""
        ...


class Count(Protocol):
    """The counters of outcomes and throttled hints. ``agent.metrics`` implements it."""

    def outcome(self, outcome: Outcome, /) -> None:
        """Count an outcome."""
        ...

    def throttled(self, scope: str, reason: Reason, /) -> None:
        """Count a throttled hint."""
        ...

    def edited(self, seconds: float, /) -> None:
        """Count an edit that is in force ``seconds`` after it arrived."""
        ...


class Status:
    """Keeps the last outcome of each key, so that nothing is reported twice.

    ``hint`` is appended to the Event of a repair, and says how a user can prevent repairs.
    """

    def __init__(self, scope: str, record: Record, count: Count, hint: str = "") -> None:
        self._scope, self._record, self._count, self._hint = scope, record, count, hint
        self._last: dict[Hashable, Outcome] = {}
        self._throttled_at: dict[tuple[Hashable, Reason], float] = {}

    def settled(self, own: Hashable, outcome: Outcome) -> None:
        """Report what is new in this outcome, and keep it."""
        before = self._last.get(own)
        self._report_problems(outcome, before.problems if before else ())
        self._report_notices(outcome, before.notices if before else ())
        if outcome.remaining and outcome.remaining != (before.remaining if before else ()):
            self._report_remaining(outcome)
        if outcome.steps:
            self._report_steps(outcome)
        if outcome.desired:
            # Without its networks and steps, which nobody asks for: 5 KB for each key.
            self._last[own] = Outcome(
                outcome.identity,
                ABSENT,
                ABSENT,
                problems=outcome.problems,
                notices=outcome.notices,
                remaining=outcome.remaining,
            )
        else:
            self._last.pop(own, None)
        self._count.outcome(outcome)

    def problem(self, identity: Identity, problem: Invalid) -> None:
        """Report input that cannot be used at all."""
        log.warning("annotation not used", pod="/".join(identity.called), reason=str(problem))
        self._record(identity, "Warning", "InvalidAnnotation", str(problem))

    def notice(self, identity: Identity, notice: Notice) -> None:
        """Report a fact that a user should know."""
        log.warning(notice.text, pod="/".join(identity.called), reason=notice.reason)
        self._record(identity, "Warning", notice.reason, notice.text)

    def failed(self, identity: Identity, error: OvnletError) -> None:
        """Report a failed pass that no caller waits for, unless it is only not ready yet."""
        if not isinstance(error, NotReady):
            message = f"{type(error).__name__}: {error}; tried again"
            self._record(identity, "Warning", "NetworkRepairFailed", message)

    def throttled(self, own: Hashable, identity: Identity, reason: Reason) -> None:
        """Count a hint that waits for the budget; make an Event once a minute at most."""
        self._count.throttled(self._scope, reason)
        now = asyncio.get_running_loop().time()
        if now - self._throttled_at.get((own, reason), float("-inf")) < _AGAIN:
            return
        self._throttled_at[own, reason] = now
        event, text = _THROTTLED[reason]
        log.warning("throttled", pod="/".join(identity.called), reason=reason)
        self._record(identity, "Warning", event, text)

    def edited(self, seconds: float) -> None:
        """Count an edit that is in force ``seconds`` after it arrived."""
        self._count.edited(seconds)

    def forget(self, own: Hashable) -> None:
        """Drop what is kept of a key that is gone."""
        self._last.pop(own, None)
        for each in [kept for kept in self._throttled_at if kept[0] == own]:
            del self._throttled_at[each]

    def states(self) -> list[str]:
        """Return the state of each key that has a network, in a word."""
        return [self.state(own)[0] for own in self._last]

    def count(self, reason: str) -> int:
        """Return the number of current notices with this reason."""
        last = self._last.values()
        return sum(notice.reason == reason for outcome in last for notice in outcome.notices)

    def state(self, own: Hashable) -> tuple[str, list[str]]:
        """Return the state in a word, and the problems and notices of the last outcome."""
        last = self._last.get(own)
        if last is None:
            return "not looked at yet", []
        texts = [*map(str, last.problems), *(notice.text for notice in last.notices)]
        return ("drifted" if last.remaining else "attached"), texts

    def _report_problems(self, outcome: Outcome, before: tuple[Invalid, ...]) -> None:
        known = {str(problem) for problem in before}
        for problem in outcome.problems:
            if str(problem) not in known:
                self.problem(outcome.identity, problem)

    def _report_notices(self, outcome: Outcome, before: tuple[Notice, ...]) -> None:
        for notice in outcome.notices:
            if notice not in before:
                self.notice(outcome.identity, notice)

    def _report_remaining(self, outcome: Outcome) -> None:
        steps, why = [str(step) for step in outcome.remaining], outcome.why_remaining
        log.warning("drift is left", pod="/".join(outcome.identity.called), why=why, steps=steps)
        message = f"not repaired ({why}): {'; '.join(steps)}"
        self._record(outcome.identity, "Warning", "NetworkDrifted", message)

    def _report_steps(self, outcome: Outcome) -> None:
        identity, action = outcome.identity, outcome.action
        steps = [str(step) for step in outcome.steps]
        container = identity.key[0][:12]
        log.info(action, pod="/".join(identity.called), container=container, steps=steps)
        if action == "repaired":
            message = f"drift was found and repaired: {'; '.join(steps)}{self._hint}"
            self._record(identity, "Warning", "NetworkRepaired", message)
        elif action == "updated":
            message = "edits were applied: " + "; ".join(steps)
            self._record(identity, "Normal", "NetworkUpdated", message)
