"""The report of a run: rows, proofs and the verdict, as files and as tables for the terminal."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from kit.report import markdown_table, write_page, write_rows
from proofs.drift.faults import FaultClass

AIMS: dict[str, dict[str, float]] = {"event": {"p50": 100, "p99": 500}, "restart": {"max": 3000}}
PAIR = "pair: "
ABORT_AFTER = 12
SAVED = "report.json"
_COLUMN_NAMES = {"klass": "class", "sentinels_ok": "witnesses_ok"}


class RunAborted(Exception):
    """Nothing succeeds any more."""


@dataclass(frozen=True, slots=True)
class Row:
    """One trial. ``repaired`` means right again, still right afterwards, and CHECK passes."""

    kind: str
    klass: FaultClass
    seed: int
    detected_ms: float | None
    repaired_ms: float | None
    repaired: bool
    traffic_ok: bool
    sentinels_ok: bool
    control_broken: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the row under the column names of ``build/drift.json``, a file format."""
        return {_COLUMN_NAMES.get(name, name): value for name, value in asdict(self).items()}

    @property
    def good(self) -> bool:
        """Whether the trial succeeded in everything, and the fault stayed without an agent."""
        return self.repaired and self.traffic_ok and self.sentinels_ok and self.control_broken


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a trial found: its times, unreachable pods and changed sentinels.

    ``done`` is whether the repair is complete; without it ``repaired_ms`` does not count.
    """

    repaired_ms: float | None
    done: bool
    unreachable: Collection[str] | bool
    changed: Collection[str]
    detected_ms: float | None = None

    def row(self, kind: str, klass: FaultClass, seed: int) -> Row:
        """Return the row of this kind, without its control run."""
        return Row(
            kind,
            klass,
            seed,
            self.detected_ms,
            self.repaired_ms if self.done else None,
            self.done,
            not self.unreachable,
            not self.changed,
        )


@dataclass
class Report:
    """Rows and proofs of a run, with raw findings in files beside them.

    Saved after each part of the run that is `done`, so that an interrupted run can be resumed.
    """

    evidence: Path
    seed: int
    pods: int
    rows: list[Row] = field(default_factory=list)
    outage_windows: dict[str, str] = field(default_factory=dict)
    proofs: list[tuple[str, bool, str]] = field(default_factory=list)
    done: list[str] = field(default_factory=list)

    @classmethod
    def resumed(cls, evidence: Path) -> Report:
        """Return the report as an earlier run saved it. Raise SystemExit if there is none."""
        try:
            body = json.loads((evidence / SAVED).read_text())
        except FileNotFoundError:
            raise SystemExit(f"no run to resume in {evidence}") from None
        body["rows"] = [Row(**row) for row in body["rows"]]
        body["proofs"] = [tuple(proof) for proof in body["proofs"]]
        return cls(evidence, **body)

    def is_pending(self, part: str, seed: int = 0) -> bool:
        """Return whether this part of the run is not done yet."""
        return f"{part} {seed}" not in self.done

    def mark_done(self, part: str, seed: int = 0) -> None:
        """Save the report with this part of the run done."""
        self.done.append(f"{part} {seed}")
        body = {key: value for key, value in asdict(self).items() if key != "evidence"}
        self.evidence.mkdir(parents=True, exist_ok=True)
        (fresh := self.evidence / f"{SAVED}.new").write_text(json.dumps(body))
        fresh.rename(self.evidence / SAVED)

    def add(self, row: Row) -> None:
        """Add a row. Raise RunAborted if the last rows all failed.

        Then the bed is broken, and each further row would take minutes.
        """
        self.rows.append(row)
        if len(self.rows) >= ABORT_AFTER and not any(
            each.repaired for each in self.rows[-ABORT_AFTER:]
        ):
            raise RunAborted(f"the last {ABORT_AFTER} rows failed; the rest is skipped")

    def dump(self, name: str, **facts: Any) -> None:
        """Append a line of raw findings to ``name``.jsonl."""
        self.evidence.mkdir(parents=True, exist_ok=True)
        with (self.evidence / f"{name}.jsonl").open("a") as file:
            file.write(json.dumps(facts, sort_keys=True, default=str) + "\n")

    def prove(self, title: str, holds: bool, figures: str) -> None:
        """Record whether a statement holds, with the figures for it."""
        self.proofs.append((title, holds, figures))
        self.dump("proofs", title=title, holds=holds, figures=figures)

    def record_control(self, broken: dict[str, bool]) -> None:
        """Set in the rows of each kind what the control run found."""
        self.rows = [
            replace(row, control_broken=broken.get(row.kind, row.control_broken))
            for row in self.rows
        ]

    @property
    def good(self) -> bool:
        """Whether all aims are met, all rows are good and all proofs hold."""
        aims = all(line[-1] != _yes(False) for line in _classes(self.rows))
        return (
            aims
            and all(row.good for row in self.rows)
            and all(holds for _, holds, _ in self.proofs)
        )

    def write(self, mode: str, head: str) -> None:
        """Write the Markdown page of the mode, and ``build/drift.json`` if there are rows or no
        mode.
        """
        if self.rows or not mode:
            write_rows("drift", [row.as_json() for row in self.rows])
        write_page(f"drift-{mode}" if mode else "drift", f"{head}\n\n{markdown(self)}")

    def show(self, console: Console, head: str) -> None:
        """Print everything as tables."""
        console.print(head, highlight=False)
        if self.rows:
            console.print(_table(COLUMNS, _lines(self.rows), "repaired drift"))
            console.print(_table(CLASS_COLUMNS, _classes(self.rows), "by class"))
        if self.outage_windows:
            console.print(
                _table(
                    ("outage", "time without an answer"),
                    list(self.outage_windows.items()),
                    "outages of the sampled pods",
                )
            )
        if self.proofs:
            lines = [(title, _yes(holds), figures) for title, holds, figures in self.proofs]
            console.print(_table(("shown", "holds", "figures"), lines, "proofs"))


COLUMNS = (
    "kind",
    "class",
    "trials",
    "repaired",
    "p50 ms",
    "max ms",
    "traffic",
    "sentinels",
    "broken without ovnlet",
)
CLASS_COLUMNS = ("class", "trials", "repaired", "p50 ms", "p99 ms", "max ms", "aim", "met")


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of all does not exceed, or NaN."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(len(ranked) * share) - 1)] if ranked else float("nan")


def _lines(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Return a line for each kind; all pairs share one."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault("random pairs" if row.kind.startswith(PAIR) else row.kind, []).append(row)
    return [(name, mine[0].klass, *_figures(mine), *_flags(mine)) for name, mine in groups.items()]


def _figures(rows: Sequence[Row]) -> tuple[str, ...]:
    times = [row.repaired_ms for row in rows if row.repaired_ms is not None]
    done = sum(row.repaired for row in rows)
    return (
        str(len(rows)),
        f"{done}/{len(rows)}",
        _number(percentile(times, 0.5)),
        _number(max(times, default=float("nan"))),
    )


def _flags(rows: Sequence[Row]) -> tuple[str, ...]:
    return tuple(
        _yes(all(flags))
        for flags in zip(
            *((r.traffic_ok, r.sentinels_ok, r.control_broken) for r in rows), strict=True
        )
    )


def _classes(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(
            f"{row.klass}, pairs" if row.kind.startswith(PAIR) else row.klass, []
        ).append(row)
    return [_class(name, mine) for name, mine in groups.items()]


def _class(name: str, rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the line of a class; its last cell is whether the aim is met."""
    times = [row.repaired_ms for row in rows if row.repaired_ms is not None]
    found = {
        "p50": percentile(times, 0.5),
        "p99": percentile(times, 0.99),
        "max": max(times, default=float("nan")),
    }
    aims = AIMS.get(name.partition(",")[0], {})
    aim = ", ".join(f"{key} <= {bound:.0f} ms" for key, bound in aims.items())
    met = all(found[key] <= bound for key, bound in aims.items()) and all(
        row.repaired for row in rows
    )
    done = f"{sum(row.repaired for row in rows)}/{len(rows)}"
    return (
        name,
        str(len(rows)),
        done,
        *(_number(value) for value in found.values()),
        aim,
        _yes(met),
    )


def markdown(report: Report) -> str:
    parts = []
    if report.rows:
        parts += [
            markdown_table(COLUMNS, _lines(report.rows)),
            markdown_table(CLASS_COLUMNS, _classes(report.rows)),
        ]
    if report.outage_windows:
        parts.append(
            markdown_table(
                ("node-wide kind", "outage over the sampled pods"),
                list(report.outage_windows.items()),
            )
        )
    if report.proofs:
        parts.append(
            markdown_table(
                ("shown", "holds", "figures"), [(t, _yes(h), f) for t, h, f in report.proofs]
            )
        )
    return "\n".join(parts)


def _table(columns: Sequence[str], lines: Iterable[Sequence[str]], title: str) -> Table:
    table = Table(*columns, title=title)
    for line in lines:
        table.add_row(*line, style="red" if "NO" in line else None)
    return table


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.0f}" if value >= 10 else f"{value:.1f}"  # noqa: PLR0124 - NaN


def _yes(flag: bool) -> str:
    return "yes" if flag else "NO"
