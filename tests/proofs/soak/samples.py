"""What must not grow, sampled: the agent's memory, descriptors and threads, and OVSDB's file."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field

from kit import slope
from proofs.soak.stage import Stage

HOUR = 3600.0
KIB = 1024.0


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with the growth per hour that fails a run, why that much is none, and its bound."""

    name: str
    unit: str
    limit: float
    most: float
    why: str
    agents: bool = True  # it is the agent's: the next one begins at another level


# An hour of a soak has the ADDs, DELs and faults of weeks on an ordinary node.
FIGURES = (
    Figure("RSS", "MiB/h", 6.0, 100, "400 MiB to its limit of memory: 66 h of this"),
    Figure("descriptors", "1/h", 4.0, 100, "900 to the usual limit of 1,024: 9 days of this"),
    Figure("threads", "1/h", 1.0, 10, "a thread is never made for a pod"),
    Figure("conf.db, compacted", "KiB/h", 20.0, 200, "under 20 rows left of 1,000 pods", False),
)


@dataclass
class Samples:
    """The figures over time, each in lives of the process that has it."""

    stage: Stage
    began: float = field(default_factory=time.monotonic)
    rows: list[dict[str, float]] = field(default_factory=list)

    def take(self) -> None:
        """Take one sample of everything; none while no agent runs."""
        pid = self.stage.agent
        with suppress(OSError):
            proc = self.stage.node.path(f"/proc/{pid}")
            status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
            self.rows.append(
                {
                    "at": time.monotonic() - self.began,
                    "life": float(pid),
                    "RSS": float(status["VmRSS"].split()[0]) / KIB,
                    "descriptors": float(len(list((proc / "fd").iterdir()))),
                    "threads": float(status["Threads"]),
                    "conf.db, compacted": self.stage.compact() / KIB,
                }
            )

    def growth(self, figure: Figure) -> slope.Slope | None:
        """Return the figure's growth per hour, or None if there are too few samples.

        The first half of a life does not count. Meanwhile bounded caches fill, and the allocator's
        arenas reach their size: with seed 41 the memory grew by 11 MiB in 43 minutes of faults, of
        which 0.1 MiB were in the last eight.
        """
        lives: dict[float, list[dict[str, float]]] = {}
        for row in self.rows:
            lives.setdefault(row["life"] if figure.agents else 0.0, []).append(row)
        return slope.fit(
            [
                [
                    (row["at"] / HOUR, row[figure.name])
                    for row in life
                    if row["at"] >= (life[0]["at"] + life[-1]["at"]) / 2
                ]
                for life in lives.values()
            ]
        )

    @property
    def lives(self) -> list[float]:
        """The PIDs of the agents that were seen, in their order."""
        return list(dict.fromkeys(row["life"] for row in self.rows))
