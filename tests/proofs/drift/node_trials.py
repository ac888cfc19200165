"""The faults of the node as a whole carried out, while the node's condition Ready is watched."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from proofs.drift import trials
from proofs.drift.control import CONTROL_WAIT, PATIENT, START_SECONDS
from proofs.drift.environment import Environment
from proofs.drift.faults import Fault
from proofs.drift.guard import recording_failures
from proofs.drift.node_facts import NODE
from proofs.drift.node_faults import FILES, REMOVED
from proofs.drift.readiness import Readiness
from proofs.drift.report import Outcome, Report, Row
from testbed import progress
from testbed.service import BedError, wait_for

READY = "node never NotReady for more than 1 s meanwhile"
NOT_READY_SECONDS = 1.0
MAX_REPEATS = 3
SAMPLE = 6  # pods whose traffic and CHECK are tried after each fault
# Seconds until kubelet has reported the node NotReady or Ready: it looks at the runtime every 5 s,
# and posts its status every 10 s.
REPORTED_SECONDS = 60.0


def run(env: Environment, report: Report, faults: Sequence[Fault], repeats: int, seed: int) -> None:
    """Inject each fault a few times, one after another.

    kubelet that looks just while the conflist is away reports the node NotReady for ten seconds:
    with a repair of 20 ms, that is one fault in 500.
    """
    planned = [
        (fault, seed + 1000 * number + repeat)
        for number, fault in enumerate(faults)
        for repeat in range(min(repeats, MAX_REPEATS))
    ]
    title = f"class event: {len(faults)} kinds of the node, seed {seed}"
    with progress.step(title) as step, _readiness(env) as readiness:
        for fault, own in planned:
            step.note(fault.name)
            if report.is_pending(fault.name, own):
                with recording_failures(env, report, fault.name, fault.klass, own):
                    report.add(_trial(env, report, fault, own))
    if readiness and set(faults) & set(FILES) and report.is_pending(READY, seed):
        longest = round(readiness.longest * 1000, 2)
        report.dump("ready", longest_ms=longest, samples=readiness.samples)
        done = readiness.samples > 0 and readiness.longest <= NOT_READY_SECONDS
        report.add(Outcome(longest, done, False, []).row(READY, "rule", seed))
        report.mark_done(READY, seed)


def _readiness(env: Environment) -> AbstractContextManager[Readiness | None]:
    """Sample the node's condition Ready, which a node without a kubelet does not have."""
    return Readiness(env.bed.api.get) if env.kubelet else nullcontext()


def _trial(env: Environment, report: Report, fault: Fault, seed: int) -> Row:
    """Break the node and observe it; then verify some pods, all facts, and the sentinels."""
    trials.space_out((fault,))
    items = [trials.item(NODE, fault)]
    env.take_floor()
    (result,) = env.watch(items, trials.FAST_TIMEOUT)
    env.tools(fault.cleanup(NODE))
    # What OVN lost by the fault has to be back too.
    pods = env.targets[:SAMPLE]
    unreachable, failed = env.traffic(pods), env.cni_check(pods)
    left, changed = trials.still_wrong(env, [NODE, *env.targets]), env.changed_sentinels(2)
    done = trials.is_repaired((fault.name, NODE, (fault,)), result) and not (failed or left)
    row = Outcome(
        result["repaired_ms"], done, unreachable, changed, result["detected_ms"], env.floor_ms
    ).row(fault.name, fault.klass, seed)
    found = {"unreachable": unreachable, "check": failed, "left": left, "changed": changed}
    report.dump("node", **row.as_json(), result=result, **found)
    if not (row.repaired and row.traffic_ok and row.sentinels_ok):
        progress.say(f"    {fault.name}: {result} {found}"[:600])
    return row


def control(env: Environment, report: Report, faults: Sequence[Fault]) -> None:
    """Inject the faults without an agent, as many at a time as break different facts."""
    waiting = list(faults)
    while waiting:
        batch: list[Fault] = []
        for fault in waiting:
            if not any(_overlap(fault, each) for each in batch):
                batch.append(fault)
        waiting = [fault for fault in waiting if fault not in batch]
        title = f"control run without an agent: {', '.join(fault.name for fault in batch)}"
        if report.is_pending(title):
            with progress.step(title), recording_failures(env, report, title):
                report.record_control(_batch(env, report, batch))


def _overlap(one: Fault, other: Fault) -> bool:
    """Return whether one of them hides that the other breaks something."""
    return any(
        a.breaks.startswith(b.breaks) or (b.restores and a.breaks.startswith(b.restores))
        for a, b in ((one, other), (other, one))
    )


def _batch(env: Environment, report: Report, batch: Sequence[Fault]) -> dict[str, bool]:
    """Return for each fault whether its facts stayed broken. Then start the agent."""
    env.remove_agent()
    env.tools([line for fault in batch for line in fault.tools(NODE)])
    time.sleep(CONTROL_WAIT * min(env.patience, PATIENT))
    wrong = env.wrong([NODE]).get(NODE.pod, [])
    broken = {fault.name: any(line.startswith(fault.breaks) for line in wrong) for fault in batch}
    if REMOVED in broken and env.kubelet:
        broken[READY] = _reported(env, ready=False)
    report.dump("control", kind=list(broken), wrong=wrong, broken=broken)
    env.restore_agent()
    result = env.right(NODE, time.monotonic(), START_SECONDS)
    env.tools([line for fault in batch for line in fault.cleanup(NODE)])
    ready = not env.kubelet or _reported(env, ready=True)
    left = trials.still_wrong(env, [NODE, *env.targets])
    unreachable = env.traffic(env.targets[:SAMPLE], 10)
    holds = result["repaired_ms"] is not None and ready and not (unreachable or left)
    figures = f"{result['repaired_ms']} ms after the process began"
    found = f"{result['wrong']}, Ready {ready}, unreachable {unreachable}, left {left}"
    title = f"control: the agent's start repairs {len(batch)} faults of the node"
    report.prove(title, holds, figures if holds else found[:300])
    return broken


def _reported(env: Environment, *, ready: bool) -> bool:
    """Wait until the node's condition Ready is as given; return whether it became so."""
    with Readiness(env.bed.api.get) as readiness:
        try:
            wait_for(
                lambda: readiness.samples and readiness.ready is ready,
                "the node's condition Ready",
                timeout=REPORTED_SECONDS,
            )
        except BedError:
            return False
    return True
