"""What became of each attachment, and who is told: one log line and, where a person should know, an Event."""

from typing import Literal, Protocol

import structlog

from ovnlet.core.annotations import REPAIR
from ovnlet.core.errors import Invalid, NotReady, OvnletError
from ovnlet.core.identity import NODE_NIC, Attachment, AttachmentKey
from ovnlet.reconcile.loop import Outcome

log = structlog.get_logger("reconcile")


class Record(Protocol):
    """Makes an Event on a pod, or on the Node; returns at once."""

    def __call__(
        self,
        attachment: Attachment,
        kind: Literal["Normal", "Warning"],
        reason: str,
        message: str,
        /,
    ) -> None: ...


class Status:
    """Remembers the last outcome of each attachment, so that nothing is told twice."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._last: dict[AttachmentKey, Outcome] = {}

    def __call__(self, outcome: Outcome) -> None:
        attachment = outcome.attachment
        before = self._last.get(attachment.key)
        self._tell_problems(outcome, before.problems if before else ())
        self._tell_new(
            outcome, "AnnotationRounded", outcome.notices, before.notices if before else ()
        )
        lacking = "NatNotDone" if attachment.is_node else "RateNotEnforced"
        self._tell_new(outcome, lacking, outcome.unenforced, before.unenforced if before else ())
        if outcome.left and outcome.left != (before.left if before else ()):
            self._tell_left(outcome)
        if outcome.steps:
            self._tell_steps(outcome)
        if outcome.desired:
            self._last[attachment.key] = outcome
        else:
            self._last.pop(attachment.key, None)

    def failed(self, attachment: Attachment, error: OvnletError) -> None:
        """A pass that nobody waits for failed; what only takes time is not told."""
        if not isinstance(error, NotReady):
            self._record(
                attachment,
                "Warning",
                "NetworkRepairFailed",
                f"{type(error).__name__}: {error}; tried again",
            )

    def states(self) -> list[str]:
        """Of every pod's attachment that has a network."""
        return [self.state(key)[0] for key in self._last if key != NODE_NIC]

    def unenforced(self) -> int:
        """How many limits this node cannot enforce."""
        return sum(
            len(outcome.unenforced) for key, outcome in self._last.items() if key != NODE_NIC
        )

    def state(self, key: AttachmentKey) -> tuple[str, list[str]]:
        """In a word, and the annotations that could not be used or are not in force to the letter."""
        last = self._last.get(key)
        if last is None:
            return "not looked at yet", []
        told = [*(str(problem) for problem in last.problems), *last.notices, *last.unenforced]
        return ("drifted" if last.left else "attached"), told

    def _tell_problems(self, outcome: Outcome, before: tuple[Invalid, ...]) -> None:
        told = {str(problem) for problem in before}
        for problem in outcome.problems:
            if str(problem) not in told:
                log.warning(
                    "annotation not used",
                    pod="/".join(outcome.attachment.called),
                    reason=str(problem),
                )
                self._record(outcome.attachment, "Warning", "InvalidAnnotation", str(problem))

    def _tell_new(
        self, outcome: Outcome, reason: str, texts: tuple[str, ...], before: tuple[str, ...]
    ) -> None:
        for text in texts:
            if text not in before:
                log.warning(text, pod="/".join(outcome.attachment.called), reason=reason)
                self._record(outcome.attachment, "Warning", reason, text)

    def _tell_left(self, outcome: Outcome) -> None:
        steps = [str(step) for step in outcome.left]
        log.warning(
            "drift is left",
            pod="/".join(outcome.attachment.called),
            why=outcome.why_left,
            steps=steps,
        )
        message = f"not repaired ({outcome.why_left}): {'; '.join(steps)}"
        self._record(outcome.attachment, "Warning", "NetworkDrifted", message)

    def _tell_steps(self, outcome: Outcome) -> None:
        attachment = outcome.attachment
        steps = [str(step) for step in outcome.steps]
        what = outcome.what
        log.info(
            what,
            pod="/".join(attachment.called),
            container=attachment.container_id[:12],
            steps=steps,
        )
        if what == "repaired":
            hint = "" if attachment.is_node else f" (annotation {REPAIR}: off exempts this pod)"
            told = f"drift was found and repaired: {'; '.join(steps)}{hint}"
            self._record(attachment, "Warning", "NetworkRepaired", told)
        elif what == "updated":
            self._record(
                attachment, "Normal", "NetworkUpdated", "edits were applied: " + "; ".join(steps)
            )
