"""The reference pages are what the code generates. `UPDATE_DOCS=1 make test-unit` writes them."""

import os
from pathlib import Path

import pytest

from docs import reference, tables
from docs.blocks import DOCS
from kit.hostile import GOOD
from kit.pods import key
from ovnlet.core import annotations

REFERENCE = DOCS / "reference"


def _is(path: Path, text: str) -> None:
    if os.environ.get("UPDATE_DOCS"):
        path.write_text(text)
    assert path.read_text() == text


@pytest.mark.parametrize("page", reference.PAGES)
def test_a_reference_page_is_what_the_code_generates(page: str) -> None:
    _is(REFERENCE / page, reference.PAGES[page]())


@pytest.mark.parametrize("page", tables.PAGES)
def test_the_tables_of_a_page_are_what_the_code_generates(page: str) -> None:
    path = REFERENCE / page
    _is(path, tables.filled(path.read_text(), tables.PAGES[page]))


@pytest.mark.parametrize("name", tables.BOUNDS)
def test_the_bounds_of_an_annotation_are_those_that_hold(name: str) -> None:
    """The documented least and most are allowed, and what is next to them is not."""

    def problems(value: str) -> list[str]:
        text = GOOD | {key("egress_rate"): "1000000", key("ingress_rate"): "1000000"}
        full = name if "/" in name else key(name)
        for other in tables.BANDWIDTHS if name in tables.BANDWIDTHS else ():
            text.pop(key(f"{'ingress' if 'ingress' in other else 'egress'}_rate"), None)
        return [
            problem.key
            for problem in annotations.parse(text | {full: value}, "ovn", "eth0").problems
        ]

    bound = tables.BOUNDS[name]
    assert not problems(bound.least)
    assert not problems(bound.most)
    assert not [value for value in bound.beyond if not problems(value)]
