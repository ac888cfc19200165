"""Rows of build/tools.json and build/chart.json: what was tried, its time, what it showed."""

import json
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from kit.report import write_rows
from testbed import progress


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and how long it took."""

    code: int
    stdout: bytes
    stderr: str
    seconds: float

    @property
    def text(self) -> str:
        """Return what it printed."""
        return self.stdout.decode()

    def json(self) -> Any:
        """Return what it printed as JSON."""
        return json.loads(self.stdout)


@dataclass(slots=True)
class Row:
    """One verb or fault. The fields are the columns of the file; ``seconds`` is wall time."""

    what: str
    nodes: int
    seconds: float = 0.0
    ok: bool = False
    evidence: list[str] = field(default_factory=list)

    def took(self, ended: Ended) -> Ended:
        """Keep the wall time of a command, and return how it ended."""
        self.seconds = ended.seconds
        return ended

    def record(self, *lines: str) -> None:
        """Add lines of evidence."""
        self.evidence += lines


class Report:
    """The rows so far, written after each one. ``nodes`` is how many the next ones are about."""

    def __init__(self, nodes: int, name: str = "tools") -> None:
        self.nodes, self._name, self._rows = nodes, name, list[Row]()

    @property
    def failed(self) -> list[str]:
        """What is not ok so far."""
        return [row.what for row in self._rows if not row.ok]

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Print an error of the rows in the block, and go on: other rows do not depend on them."""
        try:
            yield
        except Exception:  # noqa: BLE001 - the row is not ok, and fails the run at its end
            traceback.print_exc()

    @contextmanager
    def row(self, what: str) -> Iterator[Row]:
        """Give a row that is ok if the block does not raise; an error leaves the block."""
        row = Row(what, self.nodes)
        self._rows.append(row)
        try:
            yield row
            row.ok = True
        except Exception as error:
            row.record(f"{type(error).__name__}: {error}"[:2000])
            raise
        finally:
            write_rows(self._name, self._rows)
            result, evidence = "ok " if row.ok else "BAD", "; ".join(row.evidence)[:400]
            progress.say(f"  {result} {row.seconds:6.2f} s  {what}, {row.nodes} nodes: {evidence}")
