"""The picture of the dashboard shows its panels, by the answers that it was drawn from."""

import json
import re
from dataclasses import dataclass
from xml.etree import ElementTree

import pytest

from docs.blocks import DOCS
from proofs.dashboard import panels, picture
from proofs.dashboard.__main__ import EMPTY, PICTURE
from proofs.dashboard.panels import Panel, Query, Series
from proofs.dashboard.prometheus import VARIABLES, Prometheus

SVG = "{http://www.w3.org/2000/svg}"
PANELS = panels.read()


def drawn(panel: Panel, *series: Series) -> tuple[list[str], list[list[tuple[float, float]]]]:
    """Return the texts and the lines of a picture of one panel, without its grid."""
    root = ElementTree.fromstring(picture.svg([panel], {panel.title: series}, "when and where"))
    texts = [text.text or "" for text in root.iter(f"{SVG}text")]
    lines = [each for each in root.iter(f"{SVG}polyline") if each.get("stroke-width") == "2"]
    return texts, [
        [
            (float(x), float(y))
            for x, y in (pair.split(",") for pair in line.get("points", "").split())
        ]
        for line in lines
    ]


def plot(kind: str = "timeseries", unit: str = "s") -> Panel:
    return Panel("A title", kind, unit, 0, 0, 12, 8, (Query("x", "a"),))


def test_a_line_goes_where_its_values_go() -> None:
    texts, (line,) = drawn(plot(), Series("a", ((0, 0.0), (5, 0.25), (10, 0.5))))
    (x1, y1), (x2, y2), (x3, y3) = line
    assert x2 - x1 == pytest.approx(x3 - x2)
    assert y1 - y2 == pytest.approx(y2 - y3)
    assert y1 > y2 > y3, "up is more"
    assert {"A title", "a", "0 s", "10 s", "500 ms", picture.LABEL, "when and where"} <= set(texts)


def test_what_is_no_number_is_left_out() -> None:
    """A quantile of nothing is NaN; a series of nothing else is no data."""
    answered = json.dumps(
        {
            "status": "success",
            "data": {
                "result": [
                    {"metric": {"state": "a"}, "values": [[1, "NaN"], [2, "0.5"], [3, "+Inf"]]},
                    {"metric": {"state": "b"}, "values": [[1, "NaN"]]},
                ]
            },
        }
    )
    asked = Panel("A", "timeseries", "s", 0, 0, 12, 8, (Query("x[$instance]", "is {{state}}"),))
    (series,) = Prometheus(Answering(answered)).answer(asked, 0, 0, 10)  # type: ignore[arg-type]
    assert series == Series("is a", ((2.0, 0.5),))


@dataclass(frozen=True, slots=True)
class Answering:
    """A space in which a tool prints this."""

    text: str

    def run(self, words: list[str]) -> str:
        assert words[-1].endswith("query_range?query=x%5B.%2A%5D&start=0&end=10&step=2")
        return self.text


def test_a_panel_without_data_says_so() -> None:
    texts, lines = drawn(plot())
    assert not lines
    assert "no data: nothing of the kind" in texts
    texts, _ = drawn(plot(), Series("a", ((0, 1.0), (2, 1.0))))
    assert "no data: nothing of the kind" not in texts


def test_a_stat_is_its_last_value() -> None:
    texts, lines = drawn(plot("stat", "short"), Series("ready", ((100, 2.0),)))
    assert not lines
    assert {"2", "ready"} <= set(texts)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0123, "s", "12.3 ms"),
        (2.5, "s", "2.5 s"),
        (0, "s", "0 s"),
        (1234, "short", "1234"),
        (0.5, "ops", "0.5/s"),
    ],
)
def test_a_value_has_its_unit(value: float, unit: str, text: str) -> None:
    assert picture.shown(value, unit) == text


def test_each_variable_of_a_query_has_a_value() -> None:
    for panel in PANELS:
        for query in panel.queries:
            assert "$" not in query.filled(VARIABLES)
    with pytest.raises(KeyError):
        Query("x[$other]", "").filled(VARIABLES)


def test_the_page_shows_each_panel_with_data() -> None:
    """`make dashboard` draws it again, after the dashboard was changed."""
    root = ElementTree.fromstring(PICTURE.read_text())
    shown = {
        texts[0]: texts
        for group in root.iter(f"{SVG}g")
        if (texts := [each.text for each in group.iter(f"{SVG}text")])
    }
    assert list(shown) == [panel.title for panel in PANELS]
    for title in shown.keys() - EMPTY:
        assert "no data: nothing of the kind" not in shown[title], title
    assert picture.LABEL in [each.text for each in root.iter(f"{SVG}text")]
    assert "<script" not in PICTURE.read_text()
    page = (DOCS / "how-to/alerts.md").read_text()
    assert re.search(r"!\[[^]]*not[^]]*Grafana[^]]*\]\(dashboard\.svg\)", page)
