"""Rows of a report that have one value and a target each, such as those of build/bench.json."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.markup import escape

from kit.report import read_rows, write_rows


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure. ``target`` is the most that is good; None for a figure that explains others."""

    name: str
    value: float
    unit: str
    target: float | None

    @property
    def ok(self) -> bool:
        """Whether the target is met."""
        return self.target is None or self.value <= self.target

    def __str__(self) -> str:
        """Return the row as a line for people."""
        target = "" if self.target is None else f" (target ≤ {self.target:g})"
        return f"{self.name}: {self.value:g} {self.unit}{target}"


def add(measures: Sequence[Measure], prefixes: Sequence[str], *, report: str = "bench") -> None:
    """Show rows, and write them to a report in the place of those with these prefixes."""
    kept = [row for row in read_rows(report) if not row["name"].startswith(tuple(prefixes))]
    write_rows(report, [*kept, *({**asdict(each), "ok": each.ok} for each in measures)])
    console = Console()
    for each in measures:
        console.print(
            f"[{'green' if each.ok else 'red'}]{escape(str(each))}[/]",
            highlight=False,
            soft_wrap=True,
        )


def median(values: Iterable[float]) -> float:
    """Return the median."""
    return statistics.median(values)
