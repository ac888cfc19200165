"""The faults of single pods carried out.

Each is injected alone into several pods; those that only the resync finds, all at once; and random
pairs.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from proofs.drift.environment import SENTINEL_POD, Environment
from proofs.drift.faults import Fault
from proofs.drift.guard import recording_failures
from proofs.drift.observe import Target
from proofs.drift.report import Outcome, Report, Row
from proofs.drift.tables import PAIR
from testbed import progress

FAST_TIMEOUT = 10
CLEANUP_SECONDS = 2
RESYNC = "class resync"
RESYNC_TIMEOUT = 200  # seconds; three intervals of the agent's default
# `ip address flush` lists addresses again after each round and gives up after ten rounds: the agent
# has put back what it removed.
_FLUSH_GAVE_UP = "Flush remains incomplete"
_BUDGET_REFILLED = 125.0  # seconds, see ovnlet.reconcile.budget: two recomputes, then one a minute


def still_wrong(env: Environment, targets: Sequence[Target]) -> dict[str, list[str]]:
    """Return what is wrong in the end.

    A cleanup may be a fault too, so the repair gets some time.
    """
    end = time.monotonic() + CLEANUP_SECONDS * env.patience
    while (wrong := env.wrong(targets)) and time.monotonic() < end:
        time.sleep(0.1)
    return wrong


def candidates(env: Environment, *faults: Fault) -> list[Target]:
    """Return the pods that these faults may hit.

    The sentinel pod has foreign objects inside, so only faults that leave its inside alone may hit
    it.
    """
    untouched = {SENTINEL_POD} if any(fault.where in ("pod", "link") for fault in faults) else set()
    fit = [
        target
        for target in env.targets
        if target.limited or not any(fault.limited for fault in faults)
    ]
    return [target for target in fit if target.pod not in untouched | env.unreachable] or fit


def choice(env: Environment, seed: int, *faults: Fault) -> Target:
    """Return a random pod that these faults may hit.

    A repair that may take a recompute is tried on a pod that has all of its budget for them.
    """
    fit = candidates(env, *faults)
    if any(fault.recomputes for fault in faults):
        since = time.monotonic() - _BUDGET_REFILLED
        fit = [target for target in fit if _recomputed.get(target.pod, since) <= since] or fit
    return random.Random(seed).choice(fit)


def item(target: Target, *faults: Fault) -> dict[str, Any]:
    """Return the exec agent's work item for these faults of a pod."""
    lines = [line for fault in faults for line in fault.tools(target)]
    return {
        "target": asdict(target),
        "tools": lines,
        "allow_extra": any(fault.allow_extra for fault in faults),
    }


def fast(
    env: Environment, report: Report, faults: Sequence[Fault], repeats: int, seed: int
) -> None:
    """Inject each fault of class event into one pod at a time, on several pods."""
    wanted = [fault for fault in faults if fault.fast]
    with progress.step(
        f"class event: {len(wanted)} kinds, {repeats} times each, seed {seed}"
    ) as step:
        for number, fault in enumerate(wanted):
            for repeat in range(repeats):
                step.note(f"{number + 1}/{len(wanted)} {fault.name}")
                own = seed + 1000 * number + repeat
                target = choice(env, own, fault)
                if report.is_pending(fault.name, own):
                    _run(env, report, (fault.name, target, (fault,)), own)


def pairs(
    env: Environment, report: Report, chosen: Sequence[tuple[Fault, Fault]], seed: int
) -> None:
    """Inject two faults at once into one pod.

    The second often hits during the first one's repair.
    """
    with progress.step(f"{len(chosen)} random pairs of the fast kinds, seed {seed}") as step:
        for number, pair in enumerate(chosen):
            step.note(f"{number + 1}/{len(chosen)}")
            target = choice(env, seed + number, *pair)
            if report.is_pending(pair_name(pair), seed + number):
                _run(env, report, (pair_name(pair), target, pair), seed + number)


def slow(
    env: Environment, report: Report, faults: Sequence[Fault], repeats: int, seed: int
) -> None:
    """Inject the faults that no notification reports, all at once, as each waits for a resync."""
    wanted = [fault for fault in faults if fault.klass == "resync"]
    if not wanted or not report.is_pending(RESYNC, seed):
        return
    pods = [target for target in env.targets if target.pod != SENTINEL_POD]
    random.Random(seed).shuffle(pods)
    repeats = max(1, min(repeats, len(pods) // len(wanted)))
    faulted = list(zip([fault for fault in wanted for _ in range(repeats)], pods, strict=False))
    title = f"class resync: {len(wanted)} kinds, {repeats} times each, seed {seed}"
    with progress.step(title), recording_failures(env, report, RESYNC, "resync", seed):
        for row in _trial_rows(
            env, report, [(k.name, t, (k,)) for k, t in faulted], seed, RESYNC_TIMEOUT
        ):
            report.add(row)


def draw(faults: Sequence[Fault], count: int, seed: int) -> list[tuple[Fault, Fault]]:
    """Return random pairs of different fast faults."""
    rng, wanted = random.Random(seed), [fault for fault in faults if fault.fast]
    return (
        [(one, other) for one, other in (rng.sample(wanted, 2) for _ in range(count))]
        if len(wanted) > 1
        else []
    )


def pair_name(pair: tuple[Fault, Fault]) -> str:
    """Return the name of the pair's row."""
    return PAIR + " + ".join(fault.name for fault in pair)


def space_out(faults: Iterable[Fault]) -> None:
    """Wait until the last trial of each budget of these faults is `min_interval` seconds ago."""
    for fault in faults:
        budget = fault.budget or fault.name
        time.sleep(max(0.0, _last.get(budget, 0.0) + fault.min_interval - time.monotonic()))
        _last[budget] = time.monotonic()


_last: dict[str, float] = {}
_recomputed: dict[str, float] = {}
Faulted = tuple[str, Target, tuple[Fault, ...]]


def _run(env: Environment, report: Report, faulted: Faulted, seed: int) -> None:
    with recording_failures(env, report, faulted[0], faulted[2][0].klass, seed):
        for row in _trial_rows(env, report, [faulted], seed, FAST_TIMEOUT):
            report.add(row)


def _trial_rows(
    env: Environment, report: Report, faulted: Sequence[Faulted], seed: int, timeout: float
) -> Iterator[Row]:
    """Break the pods and observe them.

    Then verify traffic, CHECK, the facts again, and the sentinels.
    """
    space_out(fault for _, _, faults in faulted for fault in faults)
    now = time.monotonic()
    _recomputed.update(
        {target.pod: now for _, target, faults in faulted if any(f.recomputes for f in faults)}
    )
    items = [item(target, *faults) for _, target, faults in faulted]
    env.take_floor()
    results = env.watch(items, timeout)
    targets = [target for _, target, _ in faulted]
    unreachable, failed = env.traffic(targets), env.cni_check(targets)
    env.replug(unreachable, targets)
    for _, target, faults in faulted:
        env.exec_agent.ask(
            "tools", tools=[line for fault in faults for line in fault.cleanup(target)]
        )
    left, changed = still_wrong(env, targets), env.changed_sentinels(2)
    for each, result in zip(faulted, results, strict=True):
        pod = each[1].pod
        done = is_repaired(each, result) and pod not in failed and pod not in left
        row = Outcome(
            result["repaired_ms"],
            done,
            pod in unreachable,
            changed,
            result["detected_ms"],
            env.floor_ms,
        ).row(each[0], each[2][0].klass, seed)
        found = {"unreachable": unreachable, "check": failed, "left": left, "changed": changed}
        report.dump("trials", pod=pod, **row.as_json(), result=result, **found)
        if not (row.repaired and row.traffic_ok and row.sentinels_ok):
            why = [*result["wrong"], *left.get(pod, []), *unreachable.get(pod, [])]
            why += [failed.get(pod, ""), *changed]
            progress.say(f"    {each[0]} on {pod}: {'; '.join(filter(None, why))[:400]}")
        yield row


def is_repaired(faulted: Faulted, result: dict[str, Any]) -> bool:
    """Return whether the pod became right in time, and a single fault's tools succeeded."""
    failures = [
        answer
        for answer in result["exits"]
        if answer["status"] and _FLUSH_GAVE_UP not in answer["said"]
    ]
    tool_failed = len(faulted[2]) == 1 and bool(failures)
    return result["repaired_ms"] is not None and not tool_failed
