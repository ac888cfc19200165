"""The kinds that need a play of their own: here an agent that cannot see the pods, or that is replaced."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from proofs.drift import adoption, deletion, garbage, parts, reboot, rules
from proofs.drift.guard import surviving
from proofs.drift.kinds import Class
from proofs.drift.pings import Pings, summary
from proofs.drift.report import Book, Row
from proofs.drift.stage import NS, Stage
from proofs.drift.writes import Writes
from testbed import deploy, progress
from testbed.service import wait_for

INVISIBLE = "/run/nothing-here"
VISIBLE = "/run/netns"
RESTART = "agent restart under a 20 ms ping"
QUIET = 2.0  # seconds without a write by anybody, before a count begins
TOLD = 5.0  # seconds in which an Event is posted


@dataclass(frozen=True, slots=True)
class Exam:
    name: str
    klass: Class
    play: Callable[[Stage, Book, int], list[Row]]
    without: Callable[
        [Stage, Book, int], dict[str, bool]
    ]  # the same without an agent: what stays broken


def run(stage: Stage, book: Book, exams: Sequence[Exam], seed: int) -> None:
    for exam in exams:
        title = f"class {exam.klass}: {exam.name}"
        if not book.lacks(exam.name, seed):
            continue
        with progress.step(title), surviving(stage, book, exam.name, exam.klass, seed):
            for row in exam.play(stage, book, seed):
                book.add(row)
                book.dump("exams", **row.told())


def control(stage: Stage, book: Book, exams: Sequence[Exam], seed: int) -> None:
    for exam in exams:
        title = f"control run without an agent: {exam.name}"
        if not book.lacks(title):
            continue
        with progress.step(title), surviving(stage, book, title):
            book.broken_without(exam.without(stage, book, seed))


# --- an agent that cannot see the pods --------------------------------------------------------------------------------


def _mount(stage: Stage, path: str) -> None:
    """Where the agent's pod finds its /run/netns from its next start on."""
    shown = json.loads(stage.bed.kubectl(*NS, "get", deploy.DAEMONSET, "-o", "json"))
    volumes = [volume["name"] for volume in shown["spec"]["template"]["spec"]["volumes"]]
    where = f"/spec/template/spec/volumes/{volumes.index('netns')}/hostPath/path"
    change = json.dumps([{"op": "replace", "path": where, "value": path}])
    stage.bed.kubectl(*NS, "patch", deploy.DAEMONSET, "--type=json", "-p", change)


@contextmanager
def _blind(stage: Stage) -> Iterator[None]:
    """The agent runs with an empty directory in the place of /run/netns."""
    _mount(stage, INVISIBLE)
    try:
        stage.agent_back()
        yield
    finally:
        stage.agent_away()
        _mount(stage, VISIBLE)


def _part() -> parts.Part:
    return parts.Part(UNSEEN, parts.nothing, (*parts.UNPLUGGED, "pod MTU changed"))


def invisible(stage: Stage, book: Book, seed: int) -> list[Row]:
    """It writes nothing, wounds or not, and says clearly why; once it can see, all is repaired.

    ovs-vswitchd echoes the wounds, so that the count begins when that is over. The repairs are the proof that what
    the agent writes is counted.
    """
    stage.agent_away()
    parts.inflict(stage, parts.wounded(stage, _part(), seed))
    writes, since = Writes.from_rest(stage, QUIET, parts.RIGHT_WITHIN), time.monotonic()
    with _blind(stage):
        wait_for(
            lambda: "mount propagation" in stage.agent_log(),
            "the agent's complaint",
            timeout=30,
            every=0.2,
        )
        told = round((time.monotonic() - since) * 1000, 2)
        time.sleep(parts.GENEROUS)
        written = writes.so_far()
        book.dump(
            "invisible", written=str(written), log=stage.agent_log()[-4000:], notices=writes.notices
        )
    book.prove(f"{UNSEEN}: {len(stage.targets)} pods, no write", written.none, str(written))
    writes = Writes(stage)
    stage.agent_back()
    results = parts.watched(stage, time.monotonic())
    ill = [result["wrong"] for result in results if result["repaired_ms"] is None]
    silent, harmed = stage.traffic(stage.targets, 10), stage.harmed(2)
    time.sleep(TOLD)
    mended = writes.so_far()
    book.dump("invisible", mended=str(mended), notices=writes.notices)
    book.prove(
        f"{UNSEEN}: the same counters see the repairs once it can see", mended.all, str(mended)
    )
    slowest = max(result["repaired_ms"] or 0 for result in results)
    done = not ill and written.none
    return [
        Row(UNSEEN, "restart", seed, told, slowest if done else None, done, not silent, not harmed)
    ]


def still_blind(stage: Stage, _book: Book, seed: int) -> dict[str, bool]:
    struck = parts.wounded(stage, _part(), seed)
    stage.agent_away()
    parts.inflict(stage, struck)
    time.sleep(parts.GENEROUS)
    wrong = stage.wrong()
    stage.agent_back()
    parts.watched(stage, time.monotonic())
    return {UNSEEN: all(hurt.pod in wrong for hurt, _ in struck)}


# --- an agent that is replaced ----------------------------------------------------------------------------------------


def restart(stage: Stage, book: Book) -> None:
    """Under a 20 ms ping on a sample: nothing is lost, and nothing is written."""
    if not book.lacks(RESTART):
        return
    with progress.step(RESTART), surviving(stage, book, RESTART):
        pings = Pings(
            stage.bed, stage.targets[: 2 * parts.SAMPLE], stage.evidence / "pings" / "agent-restart"
        )
        writes = Writes.from_rest(stage, QUIET, parts.RIGHT_WITHIN)
        old = set(stage.agent_pids())
        stage.bed.kubectl(*NS, "delete", "pod", *deploy.agent_pods(stage.bed), timeout=90)
        wait_for(lambda: set(stage.agent_pids()) - old, "another agent", timeout=60, every=0.05)
        stage.bed.kubectl(*NS, "rollout", "status", deploy.DAEMONSET, "--timeout=60s", timeout=70)
        time.sleep(5)
        written, windows = writes.so_far(), pings.stop()
        lost = sum(window.lost for window in windows)
        book.prove("agent restart: no packet lost", lost == 0, summary(windows))
        book.prove("agent restart: no write", written.none, str(written))


UNSEEN = "/run/netns invisible to the agent at its start"
EXAMS = [
    Exam(UNSEEN, "restart", invisible, still_blind),
    Exam(rules.EXEMPTION, "rule", rules.exemption, rules.never_lifted),
    Exam(rules.PATIENCE, "rule", rules.patience, rules.undone),
    Exam(garbage.NAME, "resync", garbage.laid_under, garbage.stays),
    Exam(garbage.AT_START, "restart", garbage.laid_before, garbage.stays_before),
    Exam(adoption.NAME, "restart", adoption.play, adoption.without),
    Exam(deletion.NAME, "resync", deletion.play, deletion.without),
    Exam(reboot.NAME, "restart", reboot.play, reboot.without),
]
