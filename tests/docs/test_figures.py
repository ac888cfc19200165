"""The plots of the documentation show the figures of its tables."""

import re

import pytest

from proofs.bench import figure

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
