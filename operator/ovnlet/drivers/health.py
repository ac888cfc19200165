"""Whether this node's OVS and OVN answer: a verdict that STATUS reads without waiting."""

import asyncio
from pathlib import Path

import structlog

from ovnlet.drivers import unixctl
from ovnlet.drivers.ovs import Ovs

log = structlog.get_logger("health")
EVERY = 2.0
# One late answer of a busy switch is no outage: the same part must complain twice in a row.
DEBOUNCE = 2


class Health:
    """``verdict`` is what is wrong, or None; refreshed every two seconds."""

    def __init__(self, ovs: Ovs, ovs_run_dir: Path, ovn_run_dir: Path) -> None:
        self._ovs, self._ovs_run_dir, self._ovn_run_dir = ovs, ovs_run_dir, ovn_run_dir
        self._complaining = 0
        self.verdict: str | None = None

    async def run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(EVERY)

    async def look(self) -> None:
        database = self._ovs.health()
        complaints = [database] if database else []
        complaints += await unixctl.part_health(self._ovs_run_dir, self._ovn_run_dir)
        self._complaining = self._complaining + 1 if complaints else 0
        now = "; ".join(complaints) if self._complaining >= DEBOUNCE else None
        if now != self.verdict:
            log.warning("the node cannot attach pods", reason=now) if now else log.info("the node can attach pods")
        self.verdict = now
