"""What restarts of Open vSwitch cost, as rows: build/restart.json and a table."""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kit.report import markdown_table, write_page, write_rows
from proofs.kernel.outage import EVERY

SLACK = 1.1
SHUFFLES = 2000
Found = Sequence[dict[str, Any]]
Cell = tuple[str, str]  # the daemon, and how it is restarted


@dataclass(frozen=True, slots=True)
class Row:
    """All restarts of a cell with, or without, an agent; gaps in ms, of the flow that lost most.

    A gap is a run of lost packets; ``longest_pause_ms`` is the longest time between two replies.
    ``adds_asked_again`` were answered "try again" first, as kubelet does then.
    """

    datapath: str
    daemon: str
    way: str
    agent: bool
    restarts: int
    sent: int
    lost: int
    lost_while_away: int
    median_gap_ms: float
    longest_gap_ms: float
    longest_pause_ms: float
    adds_tried: int
    adds_succeeded: int
    adds_asked_again: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """The median gaps of a cell. ``chance`` is that of so large a ratio if an agent has no part."""

    cell: Cell
    gap: float
    alone: float
    chance: float

    @property
    def holds(self) -> bool:
        """A gap is known to the time between two packets, and no better."""
        return self.gap <= SLACK * self.alone + EVERY * 1000

    @property
    def words(self) -> tuple[str, ...]:
        """The line of the table."""
        ratio = f"{self.gap / self.alone:.2f}" if self.alone else "-"
        figures = f"{self.gap:.0f} / {self.alone:.0f} ms = {ratio}"
        return ", ".join(self.cell), figures, f"{self.chance:.2f}", "yes" if self.holds else "NO"


def write(found: Found, cells: Sequence[Cell]) -> tuple[str, bool]:
    """Write the report. Return its page, and whether all of it holds."""
    rows = [row for cell in cells for agent in (True, False) for row in _rows(found, cell, agent)]
    write_rows("restart", rows)
    verdicts = [verdict for cell in cells for verdict in _verdicts(found, cell)]
    columns = [name.replace("_", " ") for name in Row.__slots__]
    lines = [[str(getattr(row, name)) for name in Row.__slots__] for row in rows]
    page = markdown_table(columns, lines)
    header = ("restart", "gap with agent / without", "chance", "holds")
    page += "\n" + markdown_table(header, [verdict.words for verdict in verdicts])
    write_page("restart", page)
    adds = all(row.adds_succeeded == row.adds_tried for row in rows)
    tried = sum(row.adds_tried for row in rows)
    good = bool(verdicts and tried) and adds and all(verdict.holds for verdict in verdicts)
    return page, good


def _of(found: Found, cell: Cell, agent: bool) -> list[dict[str, Any]]:
    return [
        each for each in found if (each["daemon"], each["way"], each["agent"]) == (*cell, agent)
    ]


def _gaps(found: Found, cell: Cell, agent: bool) -> list[float]:
    """Return the longest gap of each restart without ADDs."""
    plain = [each for each in _of(found, cell, agent) if not each["with_adds"]]
    return [max(flow["gap_ms"] for flow in each["flows"]) for each in plain]


def _rows(found: Found, cell: Cell, agent: bool) -> Iterator[Row]:
    mine = _of(found, cell, agent)
    gaps = _gaps(found, cell, agent)
    flows = [flow for each in mine if not each["with_adds"] for flow in each["flows"]]
    if not gaps:
        return
    sent, lost, away = (sum(flow[key] for flow in flows) for key in ("sent", "lost", "lost_away"))
    yield Row(
        "system",
        *cell,
        agent,
        len(gaps),
        sent,
        lost,
        away,
        round(statistics.median(gaps), 1),
        max(gaps),
        max(flow["pause_ms"] for flow in flows),
        *(sum(each["adds"][key] for each in mine) for key in ("tried", "succeeded", "asked_again")),
    )


def _verdicts(found: Found, cell: Cell) -> Iterator[Verdict]:
    having, alone = (_gaps(found, cell, agent) for agent in (True, False))
    if having and alone:
        medians = statistics.median(having), statistics.median(alone)
        yield Verdict(cell, *medians, chance(having, alone))


def chance(having: Sequence[float], alone: Sequence[float]) -> float:
    """Return how often gaps dealt out by chance have a difference of medians at least as large.

    A gap is mostly a wait of ovn-controller's, of 1, 2, 4 or 8 s, so that medians scatter.
    """
    draw, pool, size = random.Random(0), [*having, *alone], len(having)
    least = statistics.median(having) - statistics.median(alone)
    hits = 0
    for _ in range(SHUFFLES):
        draw.shuffle(pool)
        hits += statistics.median(pool[:size]) - statistics.median(pool[size:]) >= least
    return hits / SHUFFLES
