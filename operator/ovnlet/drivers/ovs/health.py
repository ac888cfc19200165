"""The health of this node's OVS and OVN: a verdict that CNI STATUS reads without waiting."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import structlog

from ovnlet.drivers.ovs.ports import Ovs
from ovnlet.drivers.ovsdb import unixctl

log = structlog.get_logger("health")
EVERY = 2.0  # seconds
# One late answer of a busy daemon is no outage: the same part must fail twice in a row.
DEBOUNCE = 2
# Without it nothing is forwarded, or no new flow is: running pods are affected too.
_FORWARDS = "ovs-vswitchd"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why no pod can be attached now.

    ``limited`` says that pods attached earlier may have lost connectivity too.
    """

    reason: str
    limited: bool = False


class Health:
    """A check of OVSDB, ovs-vswitchd and ovn-controller, repeated every two seconds.

    ``verdict`` is None while all three answer.
    """

    def __init__(self, ovs: Ovs, ovs_run_dir: Path, ovn_run_dir: Path) -> None:
        self._ovs, self._ovs_run_dir, self._ovn_run_dir = ovs, ovs_run_dir, ovn_run_dir
        self._failures: dict[str, int] = {}
        self.verdict: Verdict | None = None

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            await self.check()
            await asyncio.sleep(EVERY)

    async def check(self) -> None:
        """Check once and update ``verdict``. A daemon that hangs delays this by a second."""
        database = self._ovs.health()
        complaints = {"OVSDB": database} if database else {}
        for complaint in await unixctl.part_health(self._ovs_run_dir, self._ovn_run_dir):
            complaints[complaint.partition(":")[0]] = complaint
        self._failures = {part: self._failures.get(part, 0) + 1 for part in complaints}
        lasting = [part for part, times in self._failures.items() if times >= DEBOUNCE]
        now = (
            Verdict("; ".join(complaints[part] for part in lasting), _FORWARDS in lasting)
            if lasting
            else None
        )
        self._log_change(now)
        self.verdict = now

    def _log_change(self, now: Verdict | None) -> None:
        if now and not self.verdict:
            log.warning("the node cannot attach pods", reason=now.reason)
        elif self.verdict and not now:
            log.info("the node can attach pods again")
