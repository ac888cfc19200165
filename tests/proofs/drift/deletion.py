"""A deletion that nobody told of: the watch was cut, history is compacted, kubelet called no DEL."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from proofs.drift import parts
from proofs.drift.look import Target
from proofs.drift.report import Book, Row
from proofs.drift.stage import KEEPER, Stage, body, target
from testbed.service import BedError, wait_for

NAME = "pod deleted while the watch is cut and history compacted"
CUT = ("add table inet cut", "add chain inet cut output { type filter hook output priority 10; }")
REFUSE = "add rule inet cut output tcp dport 6443 reject with tcp reset"
GC_SECONDS = 200.0


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


def victim_of(stage: Stage, seed: int) -> Target:
    pods = [each for each in stage.targets if each.pod != KEEPER]
    return pods[seed % len(pods)]


def traces(stage: Stage, victim: Target) -> bool:
    """Whether anything of that sandbox is left: a port, a link, a record."""
    node = stage.bed.node()
    linked = node.result(["ip", "link", "show", victim.port]).returncode == 0
    return linked or victim.port in stage.names() or node.path(victim.record).exists()


def replace(stage: Stage, victim: Target) -> None:
    """kubelet goes on; a new pod of the same name takes the victim's place."""
    stage.bed.node().service("kubelet").send(signal.SIGCONT)
    wait_for(
        lambda: not traces(stage, victim), "the deleted pod's traces to go", timeout=90, every=0.2
    )
    stage.cluster.apply(body(victim.pod))
    count = len(stage.targets)
    stage.targets = [target(pod) for pod in stage.cluster.running(count, timeout=90)]
    stage.traffic(stage.targets, 20)
    stage.facts()


def play(stage: Stage, book: Book, seed: int) -> list[Row]:
    victim = victim_of(stage, seed)
    with _unheard(stage):
        _delete_and_forget(stage, victim)
    since = beat = time.monotonic()

    def collected() -> bool:
        nonlocal beat
        if time.monotonic() - beat > 10:
            beat = time.monotonic()
            stage.heartbeat()
        return not traces(stage, victim)

    try:
        wait_for(collected, "garbage collection", timeout=GC_SECONDS, every=0.05)
        repaired: float | None = round((time.monotonic() - since) * 1000, 2)
    except BedError:
        repaired = None
    harmed = stage.harmed(2)
    replace(stage, victim)
    silent = stage.traffic(stage.targets)
    book.dump("deletion", victim=victim.pod, repaired_ms=repaired, harmed=harmed, silent=silent)
    return [
        Row(NAME, "resync", seed, repaired, repaired, repaired is not None, not silent, not harmed)
    ]


def without(stage: Stage, _book: Book, seed: int) -> dict[str, bool]:
    victim = victim_of(stage, seed)
    stage.agent_away()
    with _unheard(stage):
        _delete_and_forget(stage, victim)
    time.sleep(parts.GENEROUS)
    broken = traces(stage, victim)
    stage.bed.node().service("kubelet").send(signal.SIGCONT)
    stage.agent_back()
    replace(stage, victim)
    return {NAME: broken}
