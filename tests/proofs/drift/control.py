"""The control run: the same faults without an agent.

A row that is right again without one does not count.

Then the agent starts, and must repair everything by its start alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from proofs.drift.environment import Environment
from proofs.drift.faults import Fault
from proofs.drift.guard import recording_failures
from proofs.drift.observe import Target
from proofs.drift.report import Report
from proofs.drift.trials import candidates, item, pair_name
from testbed import progress

CONTROL_WAIT = 8.0  # seconds; the slowest repair of class event takes a tenth of it
PATIENT = 2.0  # on a slower node it is at most that many times as long
START_SECONDS = 60
Named = tuple[str, tuple[Fault, ...]]


def run(
    env: Environment, report: Report, faults: Sequence[Fault], chosen: Sequence[tuple[Fault, Fault]]
) -> None:
    """Inject each fault and each pair into a pod of its own, as many at a time as fit the pods."""
    waiting: list[Named] = [(fault.name, (fault,)) for fault in faults]
    waiting += [(pair_name(pair), pair) for pair in chosen]
    waiting = [named for named in waiting if report.is_pending(_title(named[0]))]
    # Those with limits first: fewer pods fit them.
    waiting.sort(key=lambda named: not any(fault.limited for fault in named[1]))
    with progress.step(f"control run without an agent: {len(waiting)} kinds and pairs") as step:
        while waiting:
            step.note(f"{len(waiting)} to go")
            faulted = _assign(env, waiting)
            with recording_failures(
                env, report, f"control: {', '.join(name for name, *_ in faulted)}"
            ):
                report.record_control(broken := _batch(env, report, faulted))
                for name in broken:
                    report.mark_done(_title(name))


def _title(name: str) -> str:
    return f"control run without an agent: {name}"


def _assign(env: Environment, waiting: list[Named]) -> list[tuple[str, Target, tuple[Fault, ...]]]:
    """Take from `waiting` what fits the pods, at most one for each pod."""
    faulted = []
    for target in env.targets:
        fits = (
            number
            for number, (_, faults) in enumerate(waiting)
            if target in candidates(env, *faults)
        )
        if (number := next(fits, None)) is not None:
            name, faults = waiting.pop(number)
            faulted.append((name, target, faults))
    return faulted


def _batch(
    env: Environment, report: Report, faulted: Sequence[tuple[str, Target, tuple[Fault, ...]]]
) -> dict[str, bool]:
    """Inject the faults without an agent. Return for each name whether its pod stayed broken."""
    env.remove_agent()
    for _, target, faults in faulted:
        env.exec_agent.ask("tools", tools=item(target, *faults)["tools"])
    time.sleep(CONTROL_WAIT * min(env.patience, PATIENT))
    broken = {}
    for name, target, faults in faulted:
        allow_extra = any(fault.allow_extra for fault in faults)
        wrong = env.wrong([target], allow_extra=allow_extra).get(target.pod, [])
        broken[name] = bool(wrong)
        report.dump("control", kind=name, pod=target.pod, wrong=wrong)
    verify_agent_start(
        env, report, faulted, f"control: {len(faulted)} broken pods repaired by the agent's start"
    )
    return broken


def verify_agent_start(
    env: Environment,
    report: Report,
    faulted: Sequence[tuple[str, Target, tuple[Fault, ...]]],
    title: str,
) -> None:
    """Start the agent, and record as a proof whether its start alone repairs all these pods."""
    began = time.monotonic()
    env.restore_agent()
    since = time.monotonic()
    given = {"tools": [], "ago": time.monotonic() - since}
    items = [item(target, *faults) | given for _, target, faults in faulted]
    results = env.watch(items, START_SECONDS)
    for _, target, faults in faulted:
        env.exec_agent.ask(
            "tools", tools=[line for fault in faults for line in fault.cleanup(target)]
        )
    targets = [target for _, target, _ in faulted]
    unrepaired = {
        t.pod: r["wrong"]
        for (_, t, _), r in zip(faulted, results, strict=True)
        if r["repaired_ms"] is None
    }
    unreachable, failed = env.traffic(targets), env.cni_check(targets)
    slowest = max(
        (r["repaired_ms"] for r in results if r["repaired_ms"] is not None), default=float("nan")
    )
    figures = f"{slowest:.0f} ms after the process began, {time.monotonic() - began:.1f} s in all"
    failures = {"wrong": unrepaired, "unreachable": unreachable, "CHECK": failed}
    holds = not (unrepaired or unreachable or failed)
    if not holds:
        progress.say(f"    not right after the agent's start: {str(failures)[:1500]}")
    report.prove(title, holds, figures if holds else str(failures)[:300])
