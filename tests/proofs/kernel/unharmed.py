"""What happens to the kernel's datapath and needs no repair, because Open vSwitch makes it good.

ovs-vswitchd installs a datapath flow again with the next packet of it, and adds a port again that
somebody deleted from the datapath alone. So there is nothing that an agent could repair: all must
be right and all pods reach their gateways, and where the rows are not concerned nobody may write
anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from proofs.drift.environment import Environment
from proofs.drift.faults import Tools, tools
from proofs.drift.guard import recording_failures
from proofs.drift.observe import Target
from proofs.drift.report import Report
from proofs.drift.trials import still_wrong
from proofs.drift.writes import Writes

QUIET_SECONDS, SETTLE_SECONDS = 2.0, 60.0


@dataclass(frozen=True, slots=True)
class Change:
    """A change by foreign tools. ``silent`` is whether it may cause no write at all."""

    name: str
    tools: Callable[[Target], Tools]
    silent: bool = True


CHANGES = (
    Change("datapath flows flushed", tools("ovs-dpctl del-flows")),
    Change("conntrack zones flushed", tools("ovs-appctl dpctl/flush-conntrack")),
    Change(
        "port deleted from the kernel's datapath",
        tools("ovs-dpctl del-if ovs-system {port}"),
        silent=False,
    ),
)


def run(env: Environment, report: Report) -> None:
    """Make each change, and record whether all is right and what was written."""
    for change in CHANGES:
        if report.is_pending(change.name):
            with recording_failures(env, report, change.name):
                _run(env, report, change)


def _run(env: Environment, report: Report, change: Change) -> None:
    writes = Writes.from_rest(env, QUIET_SECONDS, SETTLE_SECONDS)
    env.tools(change.tools(env.targets[-1]))
    unreachable, wrong = env.traffic(env.targets, 10), still_wrong(env, env.targets)
    written = writes.so_far()
    holds = not unreachable and not wrong and (written.none or not change.silent)
    title = f"{change.name}: all right" + ", no write" * change.silent
    figures = str(written) if holds else f"{unreachable} {wrong} {written}"
    report.prove(title, holds, figures[:300])
