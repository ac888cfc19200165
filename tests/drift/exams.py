"""The kinds that need a play of their own: a deletion nobody told of, an agent that cannot see the pods, a reboot."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from drift import parts, reboot
from drift.kinds import Class
from drift.look import Target
from drift.pings import Pings, summary
from drift.report import Book, Row
from drift.stage import KEEPER, NS, Stage, body, target
from drift.writes import Writes
from testbed import deploy, progress
from testbed.service import BedError, wait_for

INVISIBLE = "/run/nothing-here"
VISIBLE = "/run/netns"
CUT = ("add table inet cut", "add chain inet cut output { type filter hook output priority 10; }")
REFUSE = "add rule inet cut output tcp dport 6443 reject with tcp reset"
GC_SECONDS = 200.0


@dataclass(frozen=True, slots=True)
class Exam:
    name: str
    klass: Class
    play: Callable[[Stage, Book, int], Row]
    without: Callable[[Stage, Book, int], bool]  # the same without an agent: whether all stays broken


def run(stage: Stage, book: Book, exams: Sequence[Exam], seed: int) -> None:
    for exam in exams:
        with progress.step(f"class {exam.klass}: {exam.name}"):
            try:
                row = exam.play(stage, book, seed)
            except BedError as error:
                progress.say(f"    {exam.name}: {error}")
                row = Row(exam.name, exam.klass, seed, None, None, repaired=False, traffic_ok=False, witnesses_ok=False)
        book.rows.append(row)
        book.dump("exams", **row.told())


def control(stage: Stage, book: Book, exams: Sequence[Exam], seed: int) -> None:
    for exam in exams:
        with progress.step(f"control run without an agent: {exam.name}"):
            try:
                book.broken_without({exam.name: exam.without(stage, book, seed)})
            except BedError as error:
                progress.say(f"    {exam.name}: {error}")


# --- a deletion that nobody tells of ----------------------------------------------------------------------------------


@contextmanager
def _unheard(stage: Stage) -> Iterator[None]:
    """The node cannot speak to the API server, and kubelet calls no DEL."""
    kubelet = stage.bed.node().service("kubelet")
    kubelet.send(signal.SIGSTOP)
    stage.tools([["nft", line] for line in (*CUT, REFUSE)])
    try:
        yield
    finally:
        stage.tools([["nft", "delete table inet cut"]])


def _delete_and_forget(stage: Stage, victim: Target) -> None:
    """The pod's object goes, and with it every revision that could tell of it."""
    stage.bed.kubectl("delete", "pod", victim.pod, "--force", "--grace-period=0")
    control = stage.bed.control
    assert control
    etcdctl = ["etcdctl", f"--endpoints={stage.bed.control_plane.etcd_url}"]
    status = json.loads(control.run([*etcdctl, "endpoint", "status", "--write-out=json"]))
    control.run([*etcdctl, "compact", str(status[0]["Status"]["header"]["revision"])])


def _victim(stage: Stage, seed: int) -> Target:
    pods = [each for each in stage.targets if each.pod != KEEPER]
    return pods[seed % len(pods)]


def _traces(stage: Stage, victim: Target) -> bool:
    """Whether anything of that sandbox is left: a port, a link, a record."""
    node = stage.bed.node()
    linked = node.result(["ip", "link", "show", victim.port]).returncode == 0
    return linked or victim.port in stage.names() or node.path(victim.record).exists()


def _replace(stage: Stage, victim: Target) -> None:
    """kubelet goes on; a new pod of the same name takes the victim's place."""
    stage.bed.node().service("kubelet").send(signal.SIGCONT)
    wait_for(lambda: not _traces(stage, victim), "the deleted pod's traces to go", timeout=90, every=0.2)
    stage.cluster.apply(body(victim.pod))
    count = len(stage.targets)
    stage.targets = [target(pod) for pod in stage.cluster.running(count, timeout=90)]
    stage.traffic(stage.targets, 20)
    stage.facts()


def deletion(stage: Stage, book: Book, seed: int) -> Row:
    victim = _victim(stage, seed)
    with _unheard(stage):
        _delete_and_forget(stage, victim)
    since = beat = time.monotonic()

    def collected() -> bool:
        nonlocal beat
        if time.monotonic() - beat > 10:
            beat = time.monotonic()
            stage.heartbeat()
        return not _traces(stage, victim)

    try:
        wait_for(collected, "garbage collection", timeout=GC_SECONDS, every=0.05)
        repaired: float | None = round((time.monotonic() - since) * 1000, 2)
    except BedError:
        repaired = None
    harmed = stage.harmed(2)
    _replace(stage, victim)
    silent = stage.traffic(stage.targets)
    book.dump("deletion", victim=victim.pod, repaired_ms=repaired, harmed=harmed, silent=silent)
    return Row(DELETION, "resync", seed, repaired, repaired, repaired is not None, not silent, not harmed)


def no_deletion(stage: Stage, _book: Book, seed: int) -> bool:
    victim = _victim(stage, seed)
    stage.agent_away()
    with _unheard(stage):
        _delete_and_forget(stage, victim)
    time.sleep(parts.GENEROUS)
    broken = _traces(stage, victim)
    stage.bed.node().service("kubelet").send(signal.SIGCONT)
    stage.agent_back()
    _replace(stage, victim)
    return broken


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


def invisible(stage: Stage, book: Book, seed: int) -> Row:
    """It writes nothing, wounds or not, and says clearly why; once it can see, all is repaired."""
    stage.agent_away()
    struck = parts.wounded(stage, parts.Part(UNSEEN, parts.nothing, parts.UNPLUGGED), seed)
    parts.inflict(stage, struck)
    writes, since = Writes(stage), time.monotonic()
    with _blind(stage):
        wait_for(lambda: "mount propagation" in stage.agent_log(), "the agent's complaint", timeout=30, every=0.2)
        told = round((time.monotonic() - since) * 1000, 2)
        time.sleep(parts.GENEROUS)
        written = writes.so_far()
        book.dump("invisible", written=str(written), log=stage.agent_log()[-4000:])
    stage.agent_back()
    results = parts.watched(stage, time.monotonic())
    ill = [result["wrong"] for result in results if result["repaired_ms"] is None]
    silent, harmed = stage.traffic(stage.targets, 10), stage.harmed(2)
    quiet = not (written.commits or written.rows or written.kernel)
    book.prove(f"{UNSEEN}: {len(stage.targets)} pods, no write to the node", quiet, str(written))
    slowest = max(result["repaired_ms"] or 0 for result in results)
    done = not ill and quiet
    return Row(UNSEEN, "restart", seed, told, slowest if done else None, done, not silent, not harmed)


def still_blind(stage: Stage, _book: Book, seed: int) -> bool:
    struck = parts.wounded(stage, parts.Part(UNSEEN, parts.nothing, parts.UNPLUGGED), seed)
    stage.agent_away()
    parts.inflict(stage, struck)
    time.sleep(parts.GENEROUS)
    wrong = stage.wrong()
    stage.agent_back()
    parts.watched(stage, time.monotonic())
    return all(hurt.pod in wrong for hurt, _ in struck)


# --- an agent that is replaced ----------------------------------------------------------------------------------------


def restart(stage: Stage, book: Book) -> None:
    """Under a 20 ms ping on a sample: nothing is lost, and nothing is written."""
    with progress.step("agent restart under a 20 ms ping"):
        pings = Pings(stage.bed, stage.targets[: 2 * parts.SAMPLE], stage.evidence / "pings" / "agent-restart")
        writes = Writes(stage)
        old = set(stage.agent_pids())
        stage.bed.kubectl(*NS, "delete", "pod", *deploy.agent_pods(stage.bed), timeout=90)
        wait_for(lambda: set(stage.agent_pids()) - old, "another agent", timeout=60, every=0.05)
        stage.bed.kubectl(*NS, "rollout", "status", deploy.DAEMONSET, "--timeout=60s", timeout=70)
        time.sleep(5)
        written, windows = writes.so_far(), pings.stop()
    lost = sum(window.lost for window in windows)
    book.prove("agent restart: no packet lost", lost == 0, summary(windows))
    book.prove("agent restart: no write", written.none, str(written))


DELETION = "pod deleted while the watch is cut and history compacted"
UNSEEN = "/run/netns invisible to the agent at its start"
EXAMS = [
    Exam(UNSEEN, "restart", invisible, still_blind),
    Exam(DELETION, "resync", deletion, no_deletion),
    Exam(reboot.NAME, "restart", reboot.play, reboot.without),
]
