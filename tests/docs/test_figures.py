"""The plots of the documentation show the figures of its tables."""

import re

import pytest

from docs.blocks import DOCS
from proofs.bench import figure
from proofs.demo import picture
from proofs.demo.__main__ import PICTURE

PLOTS = figure.plots(figure.PAGE.read_text())


@pytest.mark.parametrize("plot", PLOTS, ids=lambda plot: plot.name)
def test_a_plot_shows_the_figures_of_the_page(plot: figure.Plot) -> None:
    svg = (figure.PAGE.parent / f"{plot.name}.svg").read_text()
    shown = [float(text) for text in re.findall(r'<desc class="value">([\d.]+)</desc>', svg)]
    expected = [value for values in plot.series.values() for value in values.values()]
    assert len(expected) > 10
    assert sorted(shown) == sorted(expected), "`make docs` draws them again"
    assert "<script" not in svg
    assert f"({plot.name}.svg)" in figure.PAGE.read_text()


def test_the_recorded_terminal_is_the_same_each_time_and_loads_nothing() -> None:
    first, second = (picture.svg("a title", ["one line", "another"]) for _ in range(2))
    assert first == second
    for text in (first, PICTURE.read_text()):
        assert not re.search(r"(href|src)=|url\(.?http|@import", text)
        assert "<script" not in text
    assert "another" in first


def test_the_page_shows_a_demo_that_succeeded() -> None:
    shown = re.sub(r"&#160;|\s+", " ", " ".join(re.findall(r">([^<]+)<", PICTURE.read_text())))
    assert "ovnlet demo" in shown
    assert " NO " not in shown
    assert "Kubernetes v1." in shown
    assert "(demo.svg)" in (DOCS / "tutorials/five-minutes.md").read_text()
