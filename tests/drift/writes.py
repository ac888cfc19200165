"""What was written: to the API server by its audit log, to OVSDB by its log, to the kernel by its own monitors."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from drift.stage import Stage

AGENT = "system:serviceaccount:ovnlet-system:ovnlet"
DATABASE = "/etc/openvswitch/conf.db"
_READS = ("get", "list", "watch")
_RECORD = b"OVSDB JSON "


@dataclass(frozen=True, slots=True)
class Written:
    """``api`` by the agent's account; ``commits`` and ``rows`` of OVSDB, ``kernel`` notifications: by anybody."""

    api: int
    commits: int
    rows: int
    kernel: int

    @property
    def none(self) -> bool:
        return not (self.api or self.commits or self.rows or self.kernel)

    def __str__(self) -> str:
        return ", ".join(f"{key} {value}" for key, value in asdict(self).items())


class Writes:
    """Counts from now on."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._audit = self._log.stat().st_size
        self._commits = self._records()
        stage.hand.ask("heard")

    def so_far(self) -> Written:
        heard = self._stage.hand.ask("heard")
        return Written(self._patches(), self._records() - self._commits, heard["ovsdb"], heard["kernel"])

    @property
    def _log(self) -> Path:
        return self._stage.bed.audit_log

    def _records(self) -> int:
        """Those that change a column that is kept; what vswitchd counts is not."""
        return self._stage.bed.node().path(DATABASE).read_bytes().count(_RECORD)

    def _patches(self) -> int:
        with self._log.open() as log:
            log.seek(self._audit)
            events = [json.loads(line) for line in log if line.endswith("\n")]
        mine = [event for event in events if event["user"]["username"] == AGENT and event["verb"] not in _READS]
        return sum(event["stage"] == "ResponseComplete" for event in mine)
