"""What ovnlet must not do: repair an exempted pod, and repair without end what is undone at
once.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

from proofs.drift import restarts, trials
from proofs.drift.control import CONTROL_WAIT
from proofs.drift.environment import SENTINEL_POD, Environment
from proofs.drift.observe import Target
from proofs.drift.report import Outcome, Report, Row
from proofs.drift.table import BY_NAME
from testbed.service import BedError, wait_for
from testbed.space import Inside

EXEMPTION = "pod exempted by ovnlet.io/repair, then no more"
BACKOFF = "repairs undone at once, for 15 s"
KEY = "ovnlet.io/repair"
BROKEN = ("pod MTU changed", "iface-id removed", "host qdisc deleted")
PROPAGATION_SECONDS = 3.0  # until an annotation has reached the agent
EXEMPT_SECONDS, UNDO_SECONDS = 5.0, 15.0
# Fifteen repairs are free, then one in 2.5 s: the budget in operator/ovnlet/reconcile/budget.py.
# A pass writes again where its write was undone before it looked a second time: one in ten may.
FREE_REPAIRS, REPAIR_EVERY, WRITTEN_AGAIN = 15, 2.5, 1.1
LONGEST_BACKOFF = 60.0


def _victim(env: Environment, seed: int) -> Target:
    pods = [each for each in env.targets if each.pod != SENTINEL_POD and each.limited]
    return pods[seed % len(pods)]


def _has_event(env: Environment, victim: Target, reason: str, words: str) -> bool:
    return any(
        e["reason"] == reason and words in e["message"] for e in env.cluster.events(victim.pod)
    )


def _exempt(env: Environment, victim: Target, mode: str) -> None:
    env.bed.kubectl("annotate", "--overwrite", "pod", victim.pod, f"{KEY}={mode}")
    time.sleep(PROPAGATION_SECONDS)


def _lift(env: Environment, victim: Target) -> float:
    env.bed.kubectl("annotate", "pod", victim.pod, f"{KEY}-")
    return time.monotonic()


def _break(env: Environment, victim: Target) -> None:
    env.tools([line for name in BROKEN for line in BY_NAME[name].tools(victim)])


def _is_still_broken(env: Environment, victim: Target, seconds: float) -> bool:
    """Return whether all differences of the pod stay for so many seconds."""
    before = env.wrong([victim])
    time.sleep(seconds)
    return bool(before) and env.wrong([victim]) == before


def exemption(env: Environment, report: Report, seed: int) -> list[Row]:
    """Verify that an exempted pod is not repaired until the annotation is removed.

    The mode `report` posts an Event, the mode `off` does not.
    """
    rows = []
    for number, mode in enumerate(("report", "off")):
        victim, name = _victim(env, seed + number), f"{EXEMPTION}: {mode}"
        _exempt(env, victim, mode)
        _break(env, victim)
        kept = _is_still_broken(env, victim, EXEMPT_SECONDS)
        has_event = _has_event(env, victim, "NetworkDrifted", "eth0") or _has_event(
            env, victim, "NetworkDrifted", victim.port
        )
        since = _lift(env, victim)
        result = env.right(victim, since, trials.FAST_TIMEOUT)
        unreachable, failed = env.traffic([victim]), env.cni_check([victim])
        changed, found = env.changed_sentinels(2), {"unreachable": unreachable, "check": failed}
        report.dump("rules", kind=name, kept=kept, has_event=has_event, result=result, **found)
        title = f"{name}: drift stayed for {EXEMPT_SECONDS:g} s"
        report.prove(title, kept, "yes" if kept else "it was repaired")
        if mode == "report":
            report.prove(f"{name}: an Event names what is left", has_event, "NetworkDrifted")
        done = kept and result["repaired_ms"] is not None and not failed
        outcome = Outcome(result["repaired_ms"], done, unreachable, changed)
        rows.append(outcome.row(name, "rule", seed))
    return rows


def exemption_control(env: Environment, _report: Report, seed: int) -> dict[str, bool]:
    """Return whether the pods stay broken without an agent."""
    broken = {}
    for number, mode in enumerate(("report", "off")):
        victim = _victim(env, seed + number)
        env.remove_agent()
        _exempt(env, victim, mode)
        _break(env, victim)
        _lift(env, victim)
        broken[f"{EXEMPTION}: {mode}"] = _is_still_broken(env, victim, CONTROL_WAIT)
        env.restore_agent()
        restarts.wait_repaired(env, time.monotonic())
    return broken


@contextmanager
def _undoing(env: Environment, victim: Target) -> Iterator[Inside]:
    """Set the pod's MTU again and again during the block.

    Yield a monitor that prints every change of it.
    """
    node, name = env.bed.node(), victim.netns.rpartition("/")[2]
    monitor = node.popen(["ip", "-n", name, "-o", "monitor", "link"])
    loop = node.popen(
        ["sh", "-c", f"while :; do ip -n {name} link set eth0 mtu 1300; sleep 0.05; done"]
    )
    try:
        yield monitor
    finally:
        for process in (loop, monitor):
            process.kill()
            process.wait(timeout=10)


def _repairs(text: str) -> int:
    """Return how often the MTU changed from the foreign value to another."""
    seen = re.findall(r" mtu (\d+) ", text)
    return sum(one == "1300" != other for one, other in pairwise(seen))


def backoff(env: Environment, report: Report, seed: int) -> list[Row]:
    """Verify that a repair that is undone at once is repeated only a limited number of times.

    The time is measured from the last foreign change: at most the delay that had begun then.
    """
    victim = _victim(env, seed + 2)
    began = time.monotonic()
    with _undoing(env, victim) as monitor:
        time.sleep(UNDO_SECONDS)
    since = time.monotonic()
    most = int((FREE_REPAIRS + (since - began) / REPAIR_EVERY) * WRITTEN_AGAIN)
    env.tools(BY_NAME["pod MTU changed"].tools(victim))
    repairs = _repairs(monitor.communicate(timeout=10)[0])
    result = env.right(victim, since, LONGEST_BACKOFF)
    try:
        has_event = wait_for(
            lambda: _has_event(env, victim, "NetworkDrifted", "undone at once"),
            "the Event",
            timeout=5,
        )
    except BedError:
        has_event = False
    unreachable, failed = env.traffic([victim]), env.cni_check([victim])
    changed, found = env.changed_sentinels(2), {"unreachable": unreachable, "check": failed}
    report.dump("rules", kind=BACKOFF, repairs=repairs, has_event=has_event, result=result, **found)
    report.prove(
        f"{BACKOFF}: not more than {most} repairs in {since - began:.1f} s, but some",
        5 <= repairs <= most,
        f"{repairs} repairs",
    )
    report.prove(
        f"{BACKOFF}: an Event says so", has_event, "NetworkDrifted: undone at once again and again"
    )
    done = result["repaired_ms"] is not None and not failed
    return [
        Row(BACKOFF, "rule", seed, None, result["repaired_ms"], done, not unreachable, not changed)
    ]


def backoff_control(env: Environment, _report: Report, seed: int) -> dict[str, bool]:
    """Return whether the pod stays broken without an agent."""
    victim = _victim(env, seed + 2)
    env.remove_agent()
    with _undoing(env, victim):
        time.sleep(1)
    broken = _is_still_broken(env, victim, CONTROL_WAIT)
    env.restore_agent()
    restarts.wait_repaired(env, time.monotonic())
    return {BACKOFF: broken}
