"""Times divided by the floor's, compared with the committed ones of `ratios.json`.

The floor does the same work without an agent, in the same rounds. So a ratio says what the agent
costs, whatever the machine is; no time is compared with a time of another machine. Up to 10 % more
than committed is noise. Beyond that it is a warning, from 50 % on a failure. Where something fails
all is measured once more, and the smaller ratio counts: other work on the machine makes bursts of
threads wait for a processor, and rarely does so in both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kit.report import write_rows
from proofs.bench import rows
from proofs.bench.implementations import AGENT, FLOOR
from proofs.bench.rows import Samples

COMMITTED = Path(__file__).with_suffix(".json")
NAMES = (AGENT, FLOOR)
# Per cent.
_SLACK, _TOO_MUCH = 10, 50
# What is compared: the start of the plugin, then each with its number of ports.
_WHAT = (
    (rows.START, 0),
    (rows.ALONE, 10),
    (rows.ALONE, 100),
    (rows.DELETE, 10),
    (rows.DELETE, 100),
    (f"{rows.BURST} 10", 100),
    (f"{rows.BURST} 50", 100),
)


@dataclass(frozen=True, slots=True)
class Ratio:
    """One row. ``over`` is by how many per cent ``ratio`` exceeds the committed one."""

    name: str
    ratio: float | None
    committed: float | None
    over: int | None
    verdict: str
    ok: bool


def measured(samples: Samples) -> dict[str, float]:
    """Return each ratio of the medians by its name; those without samples are left out."""
    found = {}
    for what, ports in _WHAT:
        own, floor = (samples.p50(what, name, ports) for name in NAMES)
        if own and floor:
            found[f"{what}, {ports} ports"] = round(own / floor, 2)
    return found


def compared(now: Mapping[str, float], committed: Mapping[str, float]) -> list[Ratio]:
    """Return a row for each ratio that either side has. One that a side lacks is a failure."""
    return [_row(name, now.get(name), committed.get(name)) for name in {**committed, **now}]


def _row(name: str, ratio: float | None, committed: float | None) -> Ratio:
    if ratio is None or committed is None:
        missing = "not measured" if ratio is None else "not committed"
        return Ratio(name, ratio, committed, None, missing, ok=False)
    over = round(100 * (ratio / committed - 1))
    verdict = "good" if over <= _SLACK else "WARNING" if over < _TOO_MUCH else "FAILURE"
    return Ratio(name, ratio, committed, over, verdict, ok=over < _TOO_MUCH)


def judged(measure: Callable[[], Samples], *, commit: bool) -> bool:
    """Measure, write build/bench-ratios.json and print it. Return whether nothing failed.

    With ``commit``, the ratios of this run become the committed ones first.
    """
    now = measured(measure())
    if commit:
        COMMITTED.write_text(json.dumps(now, indent=1) + "\n")
    committed = json.loads(COMMITTED.read_text())
    found = compared(now, committed)
    if not all(row.ok for row in found):
        found = compared(smaller(now, measured(measure())), committed)
    write_rows("bench-ratios", found)
    _show(found)
    return all(row.ok for row in found)


def smaller(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    """Return the smaller ratio of each name that either run has."""
    return {name: min(one.get(name, ratio), ratio) for name, ratio in {**one, **other}.items()}


def _show(found: list[Ratio]) -> None:
    table = Table("p50 / floor's p50", "now", "committed", "more", "", title="ratios to the floor")
    colours = {"good": None, "WARNING": "yellow"}
    for row in found:
        over = "" if row.over is None else f"{row.over:+} %"
        cells = ("" if value is None else f"{value:.2f}" for value in (row.ratio, row.committed))
        style = colours.get(row.verdict, "red")
        table.add_row(row.name, *cells, over, row.verdict, style=style)
    Console().print(table)
