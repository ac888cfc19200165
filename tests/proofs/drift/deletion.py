"""A deletion that causes no notification.

The watch is cut, the history is compacted, and kubelet calls no DEL.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from proofs.drift.control import CONTROL_WAIT
from proofs.drift.environment import SENTINEL_POD, Environment
from proofs.drift.observe import Target
from proofs.drift.pods import pod_body, target_of
from proofs.drift.report import Outcome, Report, Row
from testbed.service import BedError, wait_for

NAME = "pod deleted while the watch is cut and history compacted"
CUT = ("add table inet cut", "add chain inet cut output { type filter hook output priority 10; }")
REFUSE = "add rule inet cut output tcp dport 6443 reject with tcp reset"
GC_SECONDS = 200.0


@contextmanager
def _disconnected(env: Environment) -> Iterator[None]:
    """Cut the node off from the API server and freeze kubelet, so that it calls no DEL."""
    kubelet = env.bed.node().service("kubelet")
    kubelet.send(signal.SIGSTOP)
    env.tools([["nft", line] for line in (*CUT, REFUSE)])
    try:
        yield
    finally:
        env.tools([["nft", "delete table inet cut"]])


def _delete_and_forget(env: Environment, victim: Target) -> None:
    """Delete the pod's object, then compact every revision from which a watch could learn of it."""
    env.bed.kubectl("delete", "pod", victim.pod, "--force", "--grace-period=0")
    control = env.bed.control
    assert control
    etcdctl = ["etcdctl", f"--endpoints={env.bed.control_plane.etcd_url}"]
    status = json.loads(control.run([*etcdctl, "endpoint", "status", "--write-out=json"]))
    control.run([*etcdctl, "compact", str(status[0]["Status"]["header"]["revision"])])


def victim_of(env: Environment, seed: int) -> Target:
    """Return the pod that this seed selects, never the sentinel pod."""
    pods = [each for each in env.targets if each.pod != SENTINEL_POD]
    return pods[seed % len(pods)]


def traces(env: Environment, victim: Target) -> bool:
    """Return whether anything of that sandbox is left: a port, a link, a record."""
    node = env.bed.node()
    linked = node.result(["ip", "link", "show", victim.port]).returncode == 0
    return linked or victim.port in env.names() or node.path(victim.record).exists()


def replace(env: Environment, victim: Target) -> None:
    """Continue kubelet, and start a new pod in place of the victim once its traces are gone.

    The new set of pods becomes the baseline. Raise BedError if the traces are still there after 90
    s.
    """
    env.bed.node().service("kubelet").send(signal.SIGCONT)
    wait_for(
        lambda: not traces(env, victim), "the deleted pod's traces to go", timeout=90, every=0.2
    )
    env.cluster.apply(pod_body(victim.pod))
    count = len(env.targets)
    env.targets = [target_of(pod) for pod in env.cluster.running(count, timeout=90)]
    env.traffic(env.targets, 20)
    env.facts()


def run(env: Environment, report: Report, seed: int) -> list[Row]:
    """Time garbage collection of a pod whose deletion the agent was never notified of."""
    victim = victim_of(env, seed)
    with _disconnected(env):
        _delete_and_forget(env, victim)
    since = beat = time.monotonic()

    def collected() -> bool:
        nonlocal beat
        if time.monotonic() - beat > 10:
            beat = time.monotonic()
            env.heartbeat()
        return not traces(env, victim)

    try:
        wait_for(collected, "garbage collection", timeout=GC_SECONDS, every=0.05)
        repaired: float | None = round((time.monotonic() - since) * 1000, 2)
    except BedError:
        repaired = None
    changed = env.changed_sentinels(2)
    replace(env, victim)
    unreachable = env.traffic(env.targets)
    report.dump(
        "deletion",
        victim=victim.pod,
        repaired_ms=repaired,
        changed=changed,
        unreachable=unreachable,
    )
    outcome = Outcome(repaired, repaired is not None, unreachable, changed, repaired)
    return [outcome.row(NAME, "resync", seed)]


def control_run(env: Environment, _report: Report, seed: int) -> dict[str, bool]:
    """Return whether the deleted pod's traces stay without an agent."""
    victim = victim_of(env, seed)
    env.remove_agent()
    with _disconnected(env):
        _delete_and_forget(env, victim)
    time.sleep(CONTROL_WAIT)
    broken = traces(env, victim)
    env.bed.node().service("kubelet").send(signal.SIGCONT)
    env.restore_agent()
    replace(env, victim)
    return {NAME: broken}
