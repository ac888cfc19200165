"""The report of a soak: rows in build/soak.json, and the same as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kit.report import markdown_table, write_page, write_rows
from proofs.drift.tables import percentile
from proofs.soak.samples import FIGURES, Figure, Samples
from proofs.soak.verify import Verdict


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the report. ``target`` is the bound of the value that is ``ok``."""

    name: str
    value: float | None
    unit: str
    target: str
    ok: bool
    note: str = ""


def of_faults(verdicts: Sequence[Verdict]) -> list[Row]:
    """Return a row for each kind of fault, with the slowest recovery of all pods."""
    kinds: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        kinds.setdefault(verdict.fault, []).append(verdict)
    return [_of_kind(name, mine) for name, mine in sorted(kinds.items())]


def _of_kind(name: str, verdicts: Sequence[Verdict]) -> Row:
    times = [verdict.seconds for verdict in verdicts]
    lost, bad = sum(v.lost for v in verdicts), [v for v in verdicts if not v.good]
    wrong = "; ".join(
        f"#{v.number}: {', '.join(key for key, w in v.findings.items() if w)}" for v in bad
    )
    parts = [
        f"{len(verdicts)} times, median {percentile(times, 0.5):.1f} s",
        f"{lost} packets of untouched pods lost" if lost else "",
        f"NOT {wrong or 'in time'}" if bad else "",
    ]
    note = "; ".join(filter(None, parts))
    return Row(
        f"all right after: {name}",
        round(max(times), 2),
        "s",
        f"<= {verdicts[0].within:g}",
        not bad,
        note,
    )


def of_growth(samples: Samples) -> list[Row]:
    """Return a row for each figure that must not grow: it fails if it surely grows too fast."""
    return [_of_figure(samples, figure) for figure in FIGURES]


def _of_figure(samples: Samples, figure: Figure) -> Row:
    growth, target = (
        samples.growth(figure),
        f"lower bound <= {figure.limit:g}, all <= {figure.most:g}",
    )
    name = f"growth of {'the agent: ' * figure.agents}{figure.name}"
    if growth is None:
        return Row(name, None, figure.unit, target, ok=False, note="too few samples")
    values = [row[figure.name] for row in samples.rows]
    note = (
        f"95 %: {growth.low:.2f} to {growth.high:.2f}; {growth.points} samples,"
        f" {min(values):.1f} to {max(values):.1f}; {figure.why}"
    )
    ok = growth.low <= figure.limit and max(values) <= figure.most
    return Row(name, round(growth.value, 3), figure.unit, target, ok, note)


def write(head: str, rows: Sequence[Row]) -> None:
    """Write build/soak.json and build/soak.md."""
    write_rows("soak", rows)
    write_page("soak", f"{head}\n\n{markdown(rows)}")


def markdown(rows: Sequence[Row]) -> str:
    """Return the rows as a table."""
    lines = [
        (
            row.name,
            "-" if row.value is None else f"{row.value:g} {row.unit}",
            row.target,
            "yes" if row.ok else "NO",
            row.note.replace("|", "/"),
        )
        for row in rows
    ]
    return markdown_table(("asserted", "value", "target", "holds", "figures"), lines)
