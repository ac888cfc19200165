"""The tables of a run: a line for each kind and each class, and whether a class meets its aim."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from kit.report import markdown_table

if TYPE_CHECKING:
    from proofs.drift.report import Report, Row

PAIR = "pair: "
AIMS: dict[str, dict[str, float]] = {"event": {"p50": 100, "p99": 500}, "restart": {"max": 3000}}
# Of a node whose times only mean something as a ratio to its floor.
RATIO_AIMS: dict[str, dict[str, float]] = {"event": {"p50": 50, "p99": 200}}
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


def _figure(values: Sequence[float], key: str) -> float:
    """Return p50, p99 or max of the values, or NaN if there are none."""
    return percentile(values, {"p50": 0.5, "p99": 0.99, "max": 1.0}[key])


def lines(rows: Sequence[Row]) -> list[tuple[str, ...]]:
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
        yes(all(flags))
        for flags in zip(
            *((r.traffic_ok, r.sentinels_ok, r.control_broken) for r in rows), strict=True
        )
    )


def classes(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(
            f"{row.klass}, pairs" if row.kind.startswith(PAIR) else row.klass, []
        ).append(row)
    return [_class(name, mine) for name, mine in groups.items()]


def _class(name: str, rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the line of a class; its last cell is whether the aim is met."""
    times = [row.repaired_ms for row in rows if row.repaired_ms is not None]
    ratios = [row.ratio for row in rows if row.ratio is not None]
    aims, judged, unit = AIMS, times, "ms"
    if any(row.floor_ms for row in rows):
        aims, judged, unit = RATIO_AIMS, ratios, "x floor"
    own = aims.get(name.partition(",")[0], {})
    aim = ", ".join(f"{key} <= {bound:.0f} {unit}" for key, bound in own.items())
    met = all(_figure(judged, key) <= bound for key, bound in own.items()) and all(
        row.repaired for row in rows
    )
    done = f"{sum(row.repaired for row in rows)}/{len(rows)}"
    return (
        name,
        str(len(rows)),
        done,
        *(_number(_figure(times, key)) for key in ("p50", "p99", "max")),
        aim,
        yes(met),
    )


def markdown(report: Report) -> str:
    parts = []
    if report.rows:
        parts += [
            markdown_table(COLUMNS, lines(report.rows)),
            markdown_table(CLASS_COLUMNS, classes(report.rows)),
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
                ("shown", "holds", "figures"), [(t, yes(h), f) for t, h, f in report.proofs]
            )
        )
    return "\n".join(parts)


def table(columns: Sequence[str], lines: Iterable[Sequence[str]], title: str) -> Table:
    table = Table(*columns, title=title)
    for line in lines:
        table.add_row(*line, style="red" if "NO" in line else None)
    return table


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.0f}" if value >= 10 else f"{value:.1f}"  # noqa: PLR0124 - NaN


def yes(flag: bool) -> str:
    return "yes" if flag else "NO"
