"""The slice of `make tools-e2e`: `kubectl ovnlet` on two nodes, and on 40 of one fake kubelet."""

import os
from collections.abc import Iterator

import pytest

from proofs.tools import many, stage
from proofs.tools.operator import Operator, Part
from proofs.tools.report import Report
from testbed.workloads import Running

NAME = os.environ.get("OVNLET_TOOLS_BED", "floor-tools")  # two checkouts at once need two names

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def report() -> Report:
    """Give the rows of build/tools.json, which say what each test has seen."""
    return Report(2)


@pytest.fixture(scope="module")
def two(report: Report) -> Iterator[tuple[Operator, list[Running]]]:
    """Give two nodes on which `status --wait` has seen an installation, and their pods."""
    with stage.installed(NAME, report) as ask:
        yield ask, stage.pods(ask)


@pytest.mark.parametrize("part", stage.SLICE, ids=lambda part: part.__name__)
def test_on_two_nodes(two: tuple[Operator, list[Running]], report: Report, part: Part) -> None:
    ask, pods = two
    failed = report.failed
    part(ask, report, pods)
    assert report.failed == failed, "a row that stops no other one is not ok"


def test_on_many_nodes(report: Report) -> None:
    with stage.apiserver(f"{NAME}-m") as bed:
        many.run(bed, report, many.FEW)
