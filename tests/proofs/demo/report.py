"""A demo as steps. Each is timed, keeps its evidence in a file, and ends the demo if it fails."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from kit.report import BUILD, write_rows
from proofs.demo.picture import svg
from testbed.service import BedError

SHOWN, LONGEST = 12, 16
PIPED = 140  # columns if stdout is no terminal


@dataclass
class Step:
    """One step. ``seconds`` is its whole time, ``measured`` has figures by name with unit."""

    title: str
    seconds: float = 0.0
    ok: bool = False
    measured: dict[str, float] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    evidence: str = ""

    def record(self, *lines: str) -> None:
        """Add lines of evidence."""
        self.seen += lines

    def measure(self, what: str, value: float) -> None:
        """Add a figure, also as evidence."""
        self.measured[what] = round(value, 3)
        self.record(f"{what}: {value:.3g}")

    def check(self, good: bool, what: str) -> None:
        """Raise BedError with this message unless the condition holds."""
        if not good:
            raise BedError(what)


class Report:
    """The steps so far. After a step that failed there is none."""

    def __init__(self) -> None:
        self.console = Console(width=None if sys.stdout.isatty() else PIPED)
        self._evidence = BUILD / "evidence" / "demo"
        self._evidence.mkdir(parents=True, exist_ok=True)
        self.steps: list[Step] = []

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Time the block as a step and print its evidence.

        An error is recorded and raised again.
        """
        self.console.print(
            title, style="bold", markup=False, emoji=False, highlight=False, soft_wrap=True
        )
        step = Step(title)
        self.steps.append(step)
        began = time.monotonic()
        try:
            yield step
            step.ok = True
        except BaseException as error:
            step.record(f"{type(error).__name__}: {error}")
            raise
        finally:
            step.seconds = round(time.monotonic() - began, 2)
            self._save(step)

    def _save(self, step: Step) -> None:
        file = self._evidence / f"{len(self.steps):02d}.txt"
        file.write_text("\n".join(step.seen) + "\n")
        step.evidence = str(file.relative_to(BUILD.parent))
        shown = step.seen[:SHOWN] if step.ok else [*step.seen[:SHOWN], *step.seen[SHOWN:][-1:]]
        for line in "\n".join(shown).splitlines()[:LONGEST]:
            self.console.print(
                f"  {line}", highlight=False, markup=False, emoji=False, soft_wrap=True
            )

    def finish(self, ran_on: str, picture: Path | None = None) -> bool:
        """Print the table and write `build/demo.json`. Return whether every step succeeded.

        ``picture`` is a file for the terminal that shows both.
        """
        text = Text(f"ran on {ran_on}")
        self.console.print(text)
        self.console.print(self._table(evidence=True))
        if picture is not None:
            shown: list[RenderableType] = [
                Text("# make demo"),
                Text("…"),
                self._table(evidence=False),
                text,
            ]
            picture.write_text(svg("make demo", shown))
        rows = [
            {name: value for name, value in asdict(step).items() if name != "seen"}
            for step in self.steps
        ]
        write_rows("demo", rows)
        return all(step.ok for step in self.steps)

    def _table(self, *, evidence: bool) -> Table:
        """Return the steps as a table, with the files of their evidence or without."""
        last = ("evidence",) if evidence else ()
        table = Table("step", "s", "measured", "ok", *last, title="ovnlet demo")
        table.caption = str(self._evidence) if evidence else None
        for step in self.steps:
            measured = "\n".join(f"{what}: {value:g}" for what, value in step.measured.items())
            file = step.evidence.rpartition("/")[2]
            line = (step.title, f"{step.seconds:.1f}", measured, "yes" if step.ok else "NO", file)
            table.add_row(*map(Text, line[: len(table.columns)]))
        return table
