"""Whether this node's OVS and OVN answer: a verdict that STATUS reads without waiting."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import structlog

from ovnlet.drivers.ovs.ports import Ovs
from ovnlet.drivers.ovsdb import unixctl

log = structlog.get_logger("health")
EVERY = 2.0
# One late answer of a busy switch is no outage: the same part must complain twice in a row.
DEBOUNCE = 2
# Without it nothing is forwarded, or nothing new: the pods that run feel it too.
_FORWARDS = "ovs-vswitchd"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why no pod can be attached now. ``limited``: those attached before may have lost connectivity."""

    reason: str
    limited: bool = False


class Health:
    """``verdict`` is None while all is well; refreshed every two seconds."""

    def __init__(self, ovs: Ovs, ovs_run_dir: Path, ovn_run_dir: Path) -> None:
        self._ovs, self._ovs_run_dir, self._ovn_run_dir = ovs, ovs_run_dir, ovn_run_dir
        self._complaining: dict[str, int] = {}
        self.verdict: Verdict | None = None

    async def run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(EVERY)

    async def look(self) -> None:
        database = self._ovs.health()
        complaints = {"OVSDB": database} if database else {}
        for complaint in await unixctl.part_health(self._ovs_run_dir, self._ovn_run_dir):
            complaints[complaint.partition(":")[0]] = complaint
        self._complaining = {part: self._complaining.get(part, 0) + 1 for part in complaints}
        lasting = [part for part, times in self._complaining.items() if times >= DEBOUNCE]
        now = (
            Verdict("; ".join(complaints[part] for part in lasting), _FORWARDS in lasting)
            if lasting
            else None
        )
        self._tell(now)
        self.verdict = now

    def _tell(self, now: Verdict | None) -> None:
        if now and not self.verdict:
            log.warning("the node cannot attach pods", reason=now.reason)
        elif self.verdict and not now:
            log.info("the node can attach pods again")
