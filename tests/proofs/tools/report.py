"""Rows of build/tools.json and build/chart.json: what was tried, its time, what it showed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from kit.report import write_rows
from proofs.tools.operator import Ended
from testbed import progress


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
    """The rows so far, written after each one."""

    def __init__(self, nodes: int, name: str = "tools") -> None:
        self._nodes, self._name, self._rows = nodes, name, list[Row]()

    @contextmanager
    def row(self, what: str, nodes: int = 0) -> Iterator[Row]:
        """Give a row that is ok if the block does not raise; an error ends the run."""
        row = Row(what, nodes or self._nodes)
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
            progress.say(f"  {result} {row.seconds:6.2f} s  {what}: {evidence}")
