"""build/qos.json and its like: what each lane measured last."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from kit.report import read_rows, write_rows
from proofs.qos.measure import Row

NAME = "qos"
KEY = ("lane", "direction", "protocol", "asked_mbit")


def keep(rows: Iterable[Row], name: str = NAME) -> None:
    """Write the rows, in place of those that the same lane measured of the same before."""
    old = read_rows(name)
    new = [asdict(row) | {"ok": row.holds} for row in rows]
    measured = {tuple(row[part] for part in KEY) for row in new}
    kept = [row for row in old if tuple(row[part] for part in KEY) not in measured]
    write_rows(name, kept + new)
