"""The one way in which a proof writes its report."""

import json
from dataclasses import dataclass
from pathlib import Path

from kit import report


@dataclass(frozen=True)
class _Row:
    kind: str
    ms: float | None


def test_rows_of_either_sort_keep_their_columns_in_order(tmp_path: Path) -> None:
    report.write_rows("some", [_Row("b", None), {"kind": "a", "extra": 1}], tmp_path / "build")
    text = (tmp_path / "build" / "some.json").read_text()
    assert text.endswith("\n")
    assert [list(row.items()) for row in json.loads(text)] == [
        [("kind", "b"), ("ms", None)],
        [("kind", "a"), ("extra", 1)],
    ]
    assert report.read_rows("some", tmp_path / "build") == json.loads(text)


def test_no_earlier_run_is_no_rows(tmp_path: Path) -> None:
    assert report.read_rows("some", tmp_path) == []


def test_a_summary_is_one_object(tmp_path: Path) -> None:
    report.write_summary("rest", {"pods": 100}, tmp_path)
    assert json.loads((tmp_path / "rest.json").read_text()) == {"pods": 100}


def test_a_markdown_table() -> None:
    table = report.markdown_table(("kind", "ms"), [("a", "1"), ("b", "2")])
    assert table == "| kind | ms |\n| --- | --- |\n| a | 1 |\n| b | 2 |\n"
