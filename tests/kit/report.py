"""Write what a proof found: rows as JSON and, where people read it too, Markdown, under ``build/``.

The one way to write a report. What a row means, and which rows count as good, stays with the proof.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

BUILD = Path(__file__).resolve().parents[2] / "build"


def write_rows(
    name: str, rows: Iterable[DataclassInstance | Mapping[str, Any]], directory: Path = BUILD
) -> None:
    """Write ``name``.json: a list with one object for each row, its keys in the row's order."""
    _write(directory / f"{name}.json", _json([_columns(row) for row in rows]))


def write_summary(name: str, body: Mapping[str, Any], directory: Path = BUILD) -> None:
    """Write ``name``.json: one object, for a run that has figures instead of rows."""
    _write(directory / f"{name}.json", _json(body))


def read_rows(name: str, directory: Path = BUILD) -> list[dict[str, Any]]:
    """Return the rows that an earlier run wrote, or none if there is no such file."""
    path = directory / f"{name}.json"
    return list(json.loads(path.read_text())) if path.exists() else []


def write_page(name: str, text: str, directory: Path = BUILD) -> None:
    """Write ``name``.md."""
    _write(directory / f"{name}.md", text)


def markdown_table(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table that ends with a newline. Cells must not contain ``|``."""
    rows = [columns, ["---"] * len(columns), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _columns(row: DataclassInstance | Mapping[str, Any]) -> dict[str, Any]:
    return asdict(row) if is_dataclass(row) else dict(row)


def _json(body: object) -> str:
    return json.dumps(body, indent=1) + "\n"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
