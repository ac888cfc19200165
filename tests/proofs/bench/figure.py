"""`python -m proofs.bench.figure`: draw the plots of docs/explanation/performance.md.

The figures are those of the tables on that page, which one run of `make bench` wrote. So page and
plots cannot differ.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pygal
from pygal.style import Style

PAGE = Path(__file__).resolve().parents[3] / "docs" / "explanation" / "performance.md"
_SVG = "http://www.w3.org/2000/svg"
_ALONE, _BURST = "ADD alone", "ADD in a burst of "
_STYLE = Style(
    background="white", plot_background="white", font_family="sans-serif", title_font_size=18
)
Series = Mapping[str, Mapping[int, float]]


@dataclass(frozen=True, slots=True)
class Plot:
    """Grouped bars: a value of each implementation at each number."""

    name: str
    title: str
    across: str
    series: Series


def _rows(page: str) -> Iterator[tuple[str, str, int, Mapping[str, float]]]:
    """Yield implementation, what it did, the number of ports, and the figures by their headings."""
    headings: list[str] = []
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|") or set(line) <= set("|- "):
            continue
        if not cells[0]:
            headings = cells
        elif len(cells) == len(headings):
            name, _, what = cells[0].partition(": ")
            figures = {
                name: float(cell)
                for name, cell in zip(headings[1:], cells[1:], strict=True)
                if cell
            }
            yield name, what, int(figures["ports"]), figures


def plots(page: str) -> tuple[Plot, Plot]:
    """Return the plots of single ADDs and of bursts."""
    alone: dict[str, dict[int, float]] = {}
    burst: dict[str, dict[int, float]] = {}
    for name, what, ports, figures in _rows(page):
        if what == _ALONE:
            alone.setdefault(name, {})[ports] = figures["p50 ms"]
        elif what.startswith(_BURST) and "pods/s" in figures:
            burst.setdefault(name, {})[int(what.removeprefix(_BURST))] = figures["pods/s"]
    return (
        Plot("add-alone", "One ADD, milliseconds (median)", "ports on the node", alone),
        Plot("add-burst", "ADDs at once, pods per second", "ADDs at once, on 100 ports", burst),
    )


def svg(plot: Plot) -> str:
    """Return the plot as an SVG without scripts and dates: the same figures give the same text."""
    numbers = sorted({number for values in plot.series.values() for number in values})
    chart = pygal.Bar(
        pygal.Config(
            no_prefix=True, js=[], width=760, height=360, x_title=plot.across, legend_at_bottom=True
        ),
        style=_STYLE,
        title=plot.title,
        logarithmic=True,
        zero=1,
        truncate_legend=40,
        print_values=True,
        disable_xml_declaration=True,
    )
    top = max(value for values in plot.series.values() for value in values.values())
    chart.range = (1, top)  # otherwise the smallest bar has no height
    chart.y_labels = [label for label in (1, 3, 10, 30, 100, 300, 1000) if label <= top]
    chart.x_labels = [str(number) for number in numbers]
    for name, values in plot.series.items():
        chart.add(name, [values.get(number) for number in numbers])
    ElementTree.register_namespace("", _SVG)
    # The parser drops comments, one of which is the date.
    root = ElementTree.fromstring(chart.render())
    for parent in root.iter():
        for script in parent.findall(f"{{{_SVG}}}script"):
            parent.remove(script)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def main() -> None:
    """Write the plots beside the page."""
    for plot in plots(PAGE.read_text()):
        path = PAGE.parent / f"{plot.name}.svg"
        path.write_text(svg(plot))
        print(path, file=sys.stderr)


if __name__ == "__main__":
    main()
