"""The report of a run: rows, proofs and the verdict, as files and as tables for the terminal."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from kit.report import write_page, write_rows
from proofs.drift import tables
from proofs.drift.faults import FaultClass

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
    floor_ms: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the row under the column names of ``build/drift.json``, a file format.

        With a floor the ratio to it is one more column.
        """
        body = {_COLUMN_NAMES.get(name, name): value for name, value in asdict(self).items()}
        if body.pop("floor_ms") is None:
            return body
        return body | {"ratio": self.ratio}

    @property
    def ratio(self) -> float | None:
        """How many times the floor of its node the repair took."""
        if self.repaired_ms is None or self.floor_ms is None:
            return None
        return round(self.repaired_ms / self.floor_ms, 1)

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
    floor_ms: float | None = None

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
            floor_ms=self.floor_ms,
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
    name: str = "drift"

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

        Then the bed is broken, and each further row would take minutes. A resumed run adds trials
        of kinds whose control run is done.
        """
        known = any(each.control_broken for each in self.rows if each.kind == row.kind)
        self.rows.append(replace(row, control_broken=row.control_broken or known))
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
    def complete(self) -> bool:
        """Whether all rows are good and all proofs hold. One trial is too few for an aim."""
        return all(row.good for row in self.rows) and all(holds for _, holds, _ in self.proofs)

    @property
    def good(self) -> bool:
        """Whether it is complete and all aims are met."""
        aims = all(line[-1] != tables.yes(False) for line in tables.classes(self.rows))
        return aims and self.complete

    def write(self, mode: str, head: str) -> None:
        """Write the Markdown page of the mode, and the JSON file if there are rows or no mode."""
        if self.rows or not mode:
            write_rows(self.name, [row.as_json() for row in self.rows])
        page = f"{self.name}-{mode}" if mode else self.name
        write_page(page, f"{head}\n\n{tables.markdown(self)}")

    def show(self, console: Console, head: str) -> None:
        """Print everything as tables."""
        console.print(head, highlight=False)
        if self.rows:
            console.print(tables.table(tables.COLUMNS, tables.lines(self.rows), "repaired drift"))
            console.print(tables.table(tables.CLASS_COLUMNS, tables.classes(self.rows), "by class"))
        if self.outage_windows:
            console.print(
                tables.table(
                    ("outage", "time without an answer"),
                    list(self.outage_windows.items()),
                    "outages of the sampled pods",
                )
            )
        if self.proofs:
            lines = [(title, tables.yes(holds), figures) for title, holds, figures in self.proofs]
            console.print(tables.table(("shown", "holds", "figures"), lines, "proofs"))
