"""What was written: to the API server, to OVSDB and to the kernel.

The sources are the audit log, OVSDB's log and the kernel's notifications.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proofs.drift.environment import Environment
from proofs.drift.notifications import IN_A_POD
from testbed import progress
from testbed.service import BedError, wait_for

AGENT = "system:serviceaccount:ovnlet-system:ovnlet"
DATABASE = "/etc/openvswitch/conf.db"
_READS = ("get", "list", "watch")
_RECORD = b"OVSDB JSON "


@dataclass(frozen=True, slots=True)
class Written:
    """Counts of writes.

    ``api`` counts those of the agent's account; OVSDB ``commits`` and ``rows``, and ``kernel``
    changes, those of any process. ``origins`` counts the kernel's changes by place and process.
    """

    api: int
    commits: int
    rows: int
    kernel: int
    origins: Mapping[str, int] = field(default_factory=dict)

    @property
    def none(self) -> bool:
        """Whether nothing was written."""
        return not (self.api or self.commits or self.rows or self.kernel)

    @property
    def all(self) -> bool:
        """Whether each counter has moved.

        The kernel's must have moved by a change in a pod, where ovs-vswitchd does nothing.
        """
        in_netns = any(name.startswith(f"{IN_A_POD}:") for name in self.origins)
        return bool(self.api and self.commits and self.rows and in_netns)

    def __str__(self) -> str:
        counts = f"api {self.api}, commits {self.commits}, rows {self.rows}, kernel {self.kernel}"
        by = ", ".join(f"{name} {count}" for name, count in self.origins.items())
        return f"{counts} ({by})" if by else counts


class Writes:
    """Counters of all writes from its creation on."""

    def __init__(self, env: Environment) -> None:
        self._stage = env
        self._audit = self._log.stat().st_size
        self._commits = self._records()
        self._rows = 0
        self.notifications: list[dict[str, Any]] = []
        env.exec_agent.ask("notifications")

    def so_far(self) -> Written:
        """Return what has been written so far."""
        answer = self._stage.exec_agent.ask("notifications")
        self.notifications += answer["kernel"]
        self._rows += answer["ovsdb"]
        origins = Counter(f"{each['origin']}: {each['what']}" for each in self.notifications)
        return Written(
            self._patches(),
            self._records() - self._commits,
            self._rows,
            len(self.notifications),
            origins,
        )

    @classmethod
    def from_rest(cls, env: Environment, seconds: float, timeout: float) -> Writes:
        """Return counters that start after ``seconds`` in which no process wrote anything.

        Changes of the node cause further writes for a while: ovs-vswitchd sets the limits of every
        port again when one goes. If there is no such time within ``timeout``, the counters start
        anyway, and what they count shows it.
        """

        def quiet() -> bool:
            writes = cls(env)
            time.sleep(seconds)
            return writes.so_far().none

        try:
            wait_for(quiet, f"{seconds:g} s without a write", timeout=timeout)
        except BedError as error:
            progress.say(f"    {error}")
        return cls(env)

    @property
    def _log(self) -> Path:
        return self._stage.bed.audit_log

    def _records(self) -> int:
        """Return the number of OVSDB log records. ovs-vswitchd's statistics are not stored and
        make none.
        """
        return self._stage.bed.node().path(DATABASE).read_bytes().count(_RECORD)

    def _patches(self) -> int:
        """Return the number of writing requests of the agent's account in the audit log."""
        with self._log.open() as log:
            log.seek(self._audit)
            events = [json.loads(line) for line in log if line.endswith("\n")]
        mine = [
            event
            for event in events
            if event["user"]["username"] == AGENT and event["verb"] not in _READS
        ]
        return sum(event["stage"] == "ResponseComplete" for event in mine)
