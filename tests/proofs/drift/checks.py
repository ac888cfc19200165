"""The checks that need a sequence of their own.

Those of the agent itself are here: without its netns mount, and replaced.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from proofs.drift import (
    adoption,
    deletion,
    garbage,
    networks,
    outages,
    overriding,
    reboot,
    restarts,
    rules,
)
from proofs.drift.control import CONTROL_WAIT
from proofs.drift.environment import NS, Environment
from proofs.drift.faults import FaultClass
from proofs.drift.guard import recording_failures
from proofs.drift.outages import Outage
from proofs.drift.pings import Pings, summary
from proofs.drift.report import Outcome, Report, Row
from proofs.drift.writes import Writes, Written
from testbed import deploy, progress
from testbed.service import wait_for

INVISIBLE = "/run/nothing-here"
VISIBLE = "/run/netns"
RESTART = "agent restart under a 20 ms ping"
QUIET_SECONDS = 2.0  # without a write by any process, before counting starts
EVENT_SECONDS = 5.0  # until an Event has been posted


@dataclass(frozen=True, slots=True)
class Check:
    """A check, and the same without an agent.

    ``control_run`` returns for each row whether it stays broken.
    """

    name: str
    klass: FaultClass
    run: Callable[[Environment, Report, int], list[Row]]
    control_run: Callable[[Environment, Report, int], dict[str, bool]]


def run(env: Environment, report: Report, checks: Sequence[Check], seed: int) -> None:
    """Run the checks that this run has not done yet, and add their rows to the report."""
    for check in checks:
        title = f"class {check.klass}: {check.name}"
        if not report.is_pending(check.name, seed):
            continue
        with progress.step(title), recording_failures(env, report, check.name, check.klass, seed):
            for row in check.run(env, report, seed):
                report.add(row)
                report.dump("checks", **row.as_json())


def control(env: Environment, report: Report, checks: Sequence[Check], seed: int) -> None:
    """Run the checks' control runs that this run has not done yet."""
    for check in checks:
        title = f"control run without an agent: {check.name}"
        if not report.is_pending(title):
            continue
        with progress.step(title), recording_failures(env, report, title):
            report.record_control(check.control_run(env, report, seed))


# --- the agent without /run/netns


def _mount(env: Environment, path: str) -> None:
    """Mount this path as /run/netns into the agent's pod from its next start on."""
    shown = json.loads(env.bed.kubectl(*NS, "get", deploy.DAEMONSET, "-o", "json"))
    volumes = [volume["name"] for volume in shown["spec"]["template"]["spec"]["volumes"]]
    where = f"/spec/template/spec/volumes/{volumes.index('netns')}/hostPath/path"
    change = json.dumps([{"op": "replace", "path": where, "value": path}])
    env.bed.kubectl(*NS, "patch", deploy.DAEMONSET, "--type=json", "-p", change)


@contextmanager
def _agent_without_netns(env: Environment) -> Iterator[None]:
    """Run the agent with an empty directory in place of /run/netns."""
    _mount(env, INVISIBLE)
    try:
        env.restore_agent()
        yield
    finally:
        env.remove_agent()
        _mount(env, VISIBLE)


def _outage() -> Outage:
    return Outage(NETNS_INVISIBLE, outages.nothing, (*outages.UNPLUGGED, "pod MTU changed"))


def _run_without_netns(
    env: Environment, report: Report, writes: Writes, since: float
) -> tuple[float, Written]:
    """Return when the agent reported the missing mount, in ms, and what it wrote meanwhile."""
    with _agent_without_netns(env):
        wait_for(
            lambda: "mount propagation" in env.agent_log(),
            "the agent to report it",
            timeout=30,
            every=0.2,
        )
        reported_ms = round((time.monotonic() - since) * 1000, 2)
        time.sleep(CONTROL_WAIT)
        written = writes.so_far()
        report.dump(
            "invisible",
            written=str(written),
            log=env.agent_log()[-4000:],
            notifications=writes.notifications,
        )
    report.prove(
        f"{NETNS_INVISIBLE}: {len(env.targets)} pods, no write", written.none, str(written)
    )
    return reported_ms, written


def invisible(env: Environment, report: Report, seed: int) -> list[Row]:
    """Verify that an agent without its netns mount writes nothing, and repairs all pods once it
    has it.

    It must log the reason. ovs-vswitchd reacts to the faults with writes of its own, so counting
    starts when those are over. The repairs prove that the counters see what the agent writes.
    """
    env.remove_agent()
    restarts.inject(env, restarts.assign_faults(env, _outage(), seed))
    writes, since = Writes.from_rest(env, QUIET_SECONDS, restarts.REPAIR_TIMEOUT), time.monotonic()
    reported_ms, written = _run_without_netns(env, report, writes, since)
    writes = Writes(env)
    env.restore_agent()
    results = restarts.wait_repaired(env, time.monotonic())
    unrepaired = [result["wrong"] for result in results if result["repaired_ms"] is None]
    unreachable, changed = env.traffic(env.targets, 10), env.changed_sentinels(2)
    time.sleep(EVENT_SECONDS)
    repaired = writes.so_far()
    report.dump("invisible", repaired=str(repaired), notifications=writes.notifications)
    report.prove(
        f"{NETNS_INVISIBLE}: the same counters see the repairs afterwards",
        repaired.all,
        str(repaired),
    )
    slowest = max(result["repaired_ms"] or 0 for result in results)
    done = not unrepaired and written.none
    outcome = Outcome(slowest, done, unreachable, changed, reported_ms)
    return [outcome.row(NETNS_INVISIBLE, "restart", seed)]


def invisible_control(env: Environment, _report: Report, seed: int) -> dict[str, bool]:
    """Return whether the pods stay broken without an agent."""
    faulted = restarts.assign_faults(env, _outage(), seed)
    env.remove_agent()
    restarts.inject(env, faulted)
    time.sleep(CONTROL_WAIT)
    wrong = env.wrong()
    env.restore_agent()
    restarts.wait_repaired(env, time.monotonic())
    return {NETNS_INVISIBLE: all(target.pod in wrong for target, _ in faulted)}


# --- the agent replaced


def restart(env: Environment, report: Report) -> None:
    """Replace the agent under a 20 ms ping on a sample of pods.

    No packet may be lost, and nothing may be written.
    """
    if not report.is_pending(RESTART):
        return
    with progress.step(RESTART), recording_failures(env, report, RESTART):
        pings = Pings(
            env.bed, env.targets[: 2 * restarts.SAMPLE], env.evidence / "pings" / "agent-restart"
        )
        writes = Writes.from_rest(env, QUIET_SECONDS, restarts.REPAIR_TIMEOUT)
        old = set(env.agent_pids())
        env.bed.kubectl(*NS, "delete", "pod", *deploy.agent_pods(env.bed), timeout=90)
        wait_for(lambda: set(env.agent_pids()) - old, "another agent", timeout=60, every=0.05)
        deploy.rolled_out(env.bed, deploy.DAEMONSET)
        time.sleep(5)
        written, windows = writes.so_far(), pings.stop()
        lost = sum(window.lost for window in windows)
        report.prove("agent restart: no packet lost", lost == 0, summary(windows))
        report.prove("agent restart: no write", written.none, str(written))


NETNS_INVISIBLE = "/run/netns invisible to the agent at its start"
CHECKS = [
    Check(NETNS_INVISIBLE, "restart", invisible, invisible_control),
    Check(rules.EXEMPTION, "rule", rules.exemption, rules.exemption_control),
    Check(rules.BACKOFF, "rule", rules.backoff, rules.backoff_control),
    Check(overriding.NAME, "rule", overriding.run, overriding.control_run),
    Check(networks.NAME, "event", networks.run, networks.control_run),
    Check(garbage.NAME, "resync", garbage.run_with_agent, garbage.control_with_agent),
    Check(garbage.AT_START, "restart", garbage.run_before_start, garbage.control_before_start),
    Check(adoption.NAME, "restart", adoption.run, adoption.control_run),
    Check(deletion.NAME, "resync", deletion.run, deletion.control_run),
    Check(reboot.NAME, "restart", reboot.run, reboot.control_run),
]
