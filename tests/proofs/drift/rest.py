"""A node at rest: for minutes nothing may write anywhere.

The agent's share of a processor is a figure.
"""

from __future__ import annotations

import os
import time
from typing import Any

from kit.report import write_summary
from proofs.drift import trials
from proofs.drift.environment import SENTINEL_POD, Environment
from proofs.drift.report import Report
from proofs.drift.table import BY_NAME
from proofs.drift.writes import Writes
from testbed import progress

QUIET_SECONDS = 20.0  # without a write by any process, before rest begins
AIM = 0.5  # percent of a core


def run(env: Environment, report: Report, minutes: float) -> None:
    """Count all writes for so many minutes, and write ``build/drift-rest.json``."""
    pods, (pid,) = len(env.targets), env.agent_pids()
    # Until then Events are posted and addresses checked for duplicates.
    with progress.step(f"waiting for {QUIET_SECONDS:g} s without a write"):
        writes = Writes.from_rest(env, QUIET_SECONDS, 180)
    used, began = _seconds(env, pid), time.monotonic()
    with progress.step(f"{pods} pods at rest for {minutes:g} minutes") as step:
        while (gone := time.monotonic() - began) < minutes * 60:
            step.note(f"{gone:.0f} s")
            time.sleep(min(5.0, minutes * 60 - gone) + 0.01)
    written, gone = writes.so_far(), time.monotonic() - began
    same = env.agent_pids() == [pid]
    share = 100 * (_seconds(env, pid) - used) / gone if same else float("nan")
    body: dict[str, Any] = {
        "pods": pods,
        "seconds": round(gone, 1),
        "agent_cpu_percent": round(share, 3),
    }
    body |= {
        "api": written.api,
        "ovsdb_commits": written.commits,
        "ovsdb_rows": written.rows,
        "kernel": written.kernel,
    }
    write_summary("drift-rest", body)
    report.dump("rest", **body)
    report.prove(
        f"{pods} pods, {gone / 60:.1f} minutes at rest: no write", written.none, str(written)
    )
    _counters_count(env, report)
    report.prove(
        "the agent was not restarted", same, f"{share:.2f} % of a core (aim: under {AIM} %)"
    )


def _counters_count(env: Environment, report: Report) -> None:
    """Prove that a repair moves each counter: one that never moves would prove nothing."""
    writes, faults = (
        Writes(env),
        [BY_NAME[name] for name in ("port removed from br-int", "pod MTU changed")],
    )
    victim = next(each for each in env.targets if each.pod != SENTINEL_POD)
    env.watch([trials.item(victim, *faults)], 10)
    time.sleep(5)  # until the Event has been posted
    written = writes.so_far()
    report.prove("the same counters see a repair", written.all, str(written))


def _seconds(env: Environment, pid: int) -> float:
    """Return the processor time in seconds of a process of the node."""
    fields = env.bed.node().path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
