"""What the page of scenarios names as proof exists: each test, and each line of `make drift`."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from proofs.drift.checks import CHECKS
from proofs.drift.node_faults import NODE_FAULTS
from proofs.drift.outages import OUTAGES
from proofs.drift.table import FAULTS

PROJECT = Path(__file__).parents[2]
PAGE = (PROJECT / "docs" / "reference" / "scenarios.md").read_text()
LINES = {
    *(fault.name for fault in (*FAULTS, *NODE_FAULTS)),
    *(outage.name for outage in OUTAGES),
    *(check.name for check in CHECKS),
}
LINES |= {"agent restart: no packet lost", "agent restart: no write"}


def _held_by() -> Iterator[str]:
    for line in PAGE.splitlines():
        cells = line.split(" | ")
        if line.startswith("|") and len(cells) == 3 and not cells[0].endswith("met in"):
            yield cells[2]


def _tests() -> Iterator[tuple[str, str]]:
    """Yield the file and the name of each test on the page; `…` is the file before it."""
    for cell in _held_by():
        file = ""
        for named in re.findall(r"`(tests/[^`]+|…::[^`]+)`", cell):
            where, _, test = named.partition("::")
            file = file if where == "…" else where
            yield file, test


def test_each_named_test_is_there() -> None:
    named = list(_tests())
    assert named
    for file, test in named:
        tree = ast.parse((PROJECT / file).read_text())
        functions = {
            node.name
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        assert not test or test in functions, f"{file}::{test}"


def test_each_named_line_of_drift_is_there() -> None:
    named = [line for cell in _held_by() for line in re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", cell)]
    assert named
    assert not set(named) - LINES
