"""The outages carried out.

A component goes down, pods are broken meanwhile, the component comes back. OVS, OVN and kubelet
restore much by themselves, which would prove nothing of ovnlet. The injected faults are what
ovnlet has to find when the component is back.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from proofs.drift import trials
from proofs.drift.control import CONTROL_WAIT, PATIENT
from proofs.drift.environment import SENTINEL_POD, Environment
from proofs.drift.faults import Fault
from proofs.drift.guard import recording_failures
from proofs.drift.observe import Target
from proofs.drift.outages import Outage
from proofs.drift.pings import Pings, summary
from proofs.drift.report import Outcome, Report, Row
from proofs.drift.table import BY_NAME
from testbed import progress

REPAIR_TIMEOUT = 60.0
SAMPLE = 6


def run(env: Environment, report: Report, outages: Sequence[Outage], seed: int) -> None:
    """Carry out the outages that this run has not done yet, and add their rows to the report."""
    for number, outage in enumerate(outages):
        if not report.is_pending(outage.name, seed + number):
            continue
        with (
            progress.step(f"class restart: {outage.name}"),
            recording_failures(env, report, outage.name, "restart", seed + number),
        ):
            report.add(_row(env, report, outage, seed + number))


def assign_faults(env: Environment, outage: Outage, seed: int) -> list[tuple[Target, Fault]]:
    """Return which pods are broken during the outage, and how."""
    pods = [target for target in env.targets if target.pod != SENTINEL_POD]
    start = seed % len(pods)
    return list(
        zip((pods[start:] + pods[:start]), (BY_NAME[name] for name in outage.faults), strict=False)
    )


def _row(env: Environment, report: Report, outage: Outage, seed: int) -> Row:
    faulted = assign_faults(env, outage, seed)
    broken = [target for target, _ in faulted]
    untouched = [target for target in env.targets if target not in broken]
    env.take_floor()
    # ovs-vswitchd answers each of these pings; a slower one would have no time for the checks'.
    sample = untouched[: round(SAMPLE / env.patience)]
    pings = Pings(env.bed, sample, env.evidence / "pings" / outage.name.replace(" ", "-"))
    time.sleep(1)
    results = _run_outage(env, outage, faulted)
    unreachable, failed = env.traffic(env.targets, 10), env.cni_check(env.targets)
    windows = pings.stop()
    left = env.wrong()
    if not outage.preserves_ovsdb:
        env.recreate_ovs_sentinels()
    changed = env.changed_sentinels(5)
    unrepaired = {
        t.pod: result["wrong"]
        for t, result in zip(env.targets, results, strict=True)
        if result["wrong"]
    }
    repaired = not (unrepaired or left or failed)
    slowest = max((result["repaired_ms"] or 0 for result in results), default=0.0)
    seen = [result["detected_ms"] for result in results if result["detected_ms"] is not None]
    row = Outcome(
        slowest, repaired, unreachable, changed, min(seen, default=None), env.floor_ms
    ).row(outage.name, "restart", seed)
    report.outage_windows[outage.name] = summary(windows)
    found = {
        "results": results,
        "left": left,
        "unreachable": unreachable,
        "check": failed,
        "changed": changed,
    }
    report.dump(
        "restarts", **row.as_json(), **found, pings=[window.as_json() for window in windows]
    )
    if not (row.repaired and row.traffic_ok and row.sentinels_ok):
        wrong = f"wrong {unrepaired or left}, unreachable {unreachable}"
        progress.say(f"    {outage.name}: {wrong}, CHECK {failed}, {changed}"[:1500])
    return row


def _run_outage(
    env: Environment, outage: Outage, faulted: list[tuple[Target, Fault]]
) -> list[dict[str, Any]]:
    """Run the outage with its faults. Return the results of waiting for every pod of the node."""
    results: list[dict[str, Any]] = []
    with outage.take_down(env, outage.seconds):
        inject(env, faulted)
        if outage.repaired_during:
            results = wait_repaired(env, time.monotonic())
    return results or wait_repaired(env, time.monotonic())


def inject(env: Environment, faulted: list[tuple[Target, Fault]]) -> None:
    """Inject the faults, without waiting for an ovs-vswitchd that may be down."""
    for target, fault in faulted:
        lines = fault.tools(target)
        env.tools([[word, *["--no-wait"] * (word == "ovs-vsctl"), *rest] for word, *rest in lines])


def wait_repaired(env: Environment, since: float) -> list[dict[str, Any]]:
    """Wait until all pods are right. Return the exec agent's result for each pod."""
    ago = time.monotonic() - since
    items = [trials.item(target) | {"ago": ago} for target in env.targets]
    return env.watch(items, REPAIR_TIMEOUT)


def control(env: Environment, report: Report, outages: Sequence[Outage], seed: int) -> None:
    """Run the outages without an agent, at most 3 s each: broken pods must stay broken.

    Then start the agent.
    """
    for number, outage in enumerate(outages):
        title = f"control run without an agent: {outage.name}"
        if not report.is_pending(title):
            continue
        with progress.step(title), recording_failures(env, report, title):
            faulted = assign_faults(env, outage, seed + number)
            env.remove_agent()
            with outage.take_down(env, min(outage.seconds, 3)):
                inject(env, faulted)
            time.sleep(CONTROL_WAIT * min(env.patience, PATIENT))
            wrong = env.wrong()
            report.dump(
                "control",
                kind=outage.name,
                wrong=wrong,
                faulted=[target.pod for target, _ in faulted],
            )
            report.record_control({outage.name: all(target.pod in wrong for target, _ in faulted)})
            _verify_agent_start(env, report, outage)


def _verify_agent_start(env: Environment, report: Report, outage: Outage) -> None:
    env.restore_agent()
    results = wait_repaired(env, time.monotonic())
    if not outage.preserves_ovsdb:
        env.recreate_ovs_sentinels()
    unrepaired = [
        t.pod
        for t, result in zip(env.targets, results, strict=True)
        if result["repaired_ms"] is None
    ]
    unreachable = env.traffic(env.targets, 10)
    slowest = max((result["repaired_ms"] or 0 for result in results), default=0.0)
    figures = (
        f"not repaired {unrepaired}, unreachable {unreachable}"
        if unrepaired or unreachable
        else f"{slowest:.0f} ms after its process began"
    )
    report.prove(
        f"control: the agent's start repairs all after {outage.name}",
        not (unrepaired or unreachable),
        figures[:200],
    )
