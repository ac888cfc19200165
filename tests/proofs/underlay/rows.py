"""The rows of the report, and how one is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kit.report import write_rows
from testbed import progress
from testbed.service import BedError, wait_for


@dataclass(slots=True)
class Row:
    """What was tried: seconds until whole, packets lost meanwhile, and the control."""

    name: str
    ok: bool = False
    seconds: float | None = None
    lost: int | None = None
    control_broken: bool = False


def soon(whole: Callable[[], object], what: str, within: float) -> bool:
    """Return whether it holds within that time, in seconds."""
    try:
        return bool(wait_for(whole, what, within))
    except BedError:
        progress.say(f"    not in time: {what}")
        return False


def show(row: Row) -> None:
    """Print a row."""
    state = "   " if row.ok and row.control_broken else "NOT"
    lost = "" if row.lost is None else f", {row.lost} packets lost"
    progress.say(f"{state} {row.name}: {row.seconds} s{lost}, control {row.control_broken}")


def report(rows: Sequence[Row], name: str) -> int:
    """Write and print the rows; return 0 if every one holds, else 1."""
    write_rows(name, rows)
    for row in rows:
        show(row)
    return 0 if all(row.ok and row.control_broken for row in rows) else 1
