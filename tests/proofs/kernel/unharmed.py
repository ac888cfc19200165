"""What happens to the kernel's datapath and needs no repair: flows and connections flushed.

ovs-vswitchd installs a datapath flow again with the next packet of it. So there is nothing that an
agent could repair: it must write nothing, and every pod must reach its gateways.
"""

from __future__ import annotations

from proofs.drift.environment import Environment
from proofs.drift.guard import recording_failures
from proofs.drift.report import Report
from proofs.drift.writes import Writes

QUIET_SECONDS = 2.0
FLUSHES = {
    "datapath flows flushed": "ovs-dpctl del-flows",
    "conntrack zones flushed": "ovs-appctl dpctl/flush-conntrack",
}


def flush(env: Environment, report: Report) -> None:
    """Flush each; record whether all pods reach their gateways and whether anything was written."""
    for name, line in FLUSHES.items():
        if not report.is_pending(name):
            continue
        with recording_failures(env, report, name):
            writes = Writes.from_rest(env, QUIET_SECONDS * env.patience, 60)
            env.tools([line.split()])
            unreachable, wrong = env.traffic(env.targets, 10), env.wrong()
            written = writes.so_far()
            holds = not unreachable and not wrong and written.none
            figures = f"{written}" if holds else f"{unreachable} {wrong} {written}"
            report.prove(f"{name}: all pods reach their gateways, no write", holds, figures[:300])
