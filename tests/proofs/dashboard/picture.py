"""Draw panels with their series as an SVG: the same answers give the same text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from proofs.dashboard.panels import Panel, Series

LABEL = (
    "Drawn by ovnlet's tests from manifests/dashboards/ovnlet.json and the answers of a real "
    "Prometheus. This is no picture of Grafana."
)
UNIT_X, UNIT_Y, TOP, GAP = 50, 27, 64, 8  # pixels of a unit of the grid, of the head, between
LEFT, ABOVE, BELOW, RIGHT = 58, 34, 44, 14  # what is around a plot, in its panel
COLOURS = ("#00695c", "#e65100", "#283593", "#ad1457", "#558b2f", "#6d4c41", "#0277bd", "#f9a825")
_SVG = "http://www.w3.org/2000/svg"
_UNITS = {"s": "s", "ops": "/s", "reqps": "/s", "short": ""}
Answers = Mapping[str, Sequence[Series]]


def svg(panels: Sequence[Panel], answers: Answers, about: str) -> str:
    """Return the picture. ``answers`` are the series by the panels' titles."""
    height = TOP + UNIT_Y * max(each.y + each.height for each in panels)
    root = Element(
        "svg", xmlns=_SVG, viewBox=f"0 0 {24 * UNIT_X} {height}", width="100%", role="img"
    )
    root.set("font-family", "sans-serif")
    _box(root, (0, 0), (24 * UNIT_X, height), "#eceff1")
    _text(root, GAP, 26, LABEL, size=15, weight="bold")
    _text(root, GAP, 48, about, size=13)
    for panel in panels:
        _panel(root, panel, answers.get(panel.title, ()))
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def shown(value: float, unit: str) -> str:
    """Return a value with at most three digits that count, and its unit."""
    name = _UNITS.get(unit, unit)
    if unit == "s" and 0 < abs(value) < 1:
        value, name = value * 1000, "ms"
    number = f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{number} {name}".rstrip().replace(" /s", "/s")


def _panel(root: Element, panel: Panel, series: Sequence[Series]) -> None:
    x, y = panel.x * UNIT_X, TOP + panel.y * UNIT_Y
    width, height = panel.width * UNIT_X - GAP, panel.height * UNIT_Y - GAP
    group = SubElement(root, "g", transform=f"translate({x + GAP // 2} {y})")
    _box(group, (0, 0), (width, height), "#ffffff")
    _text(group, 12, 22, panel.title, size=14, weight="bold")
    there = [each for each in series if each.points]
    if not there:
        _text(group, width / 2, height / 2, "no data: nothing of the kind", "middle", size=14)
    elif panel.kind == "stat":
        _stat(group, panel, there, width, height)
    else:
        _plot(group, panel, there, width, height)


def _stat(group: Element, panel: Panel, series: Sequence[Series], width: int, height: int) -> None:
    for number, each in enumerate(series):
        middle = width * (2 * number + 1) / (2 * len(series))
        value = shown(round(each.points[-1][1], 3), panel.unit)
        _text(group, middle, height / 2 + 20, value, "middle", size=44, fill=COLOURS[number])
        _text(group, middle, height / 2 + 50, each.name, "middle", size=14)


def _plot(group: Element, panel: Panel, series: Sequence[Series], width: int, height: int) -> None:
    """Draw lines over a grid that begins at zero."""
    times = [at for each in series for at, _ in each.points]
    top = max(value for each in series for _, value in each.points) or 1.0
    first, last = min(times), max(*times, min(times) + 1)
    across, up = width - LEFT - RIGHT, height - ABOVE - BELOW
    for part in (0, 0.5, 1):
        line = ABOVE + up * (1 - part)
        _line(group, [(LEFT, line), (LEFT + across, line)], "#cfd8dc", 1)
        _text(group, LEFT - 6, line + 4, shown(top * part, panel.unit), "end", size=11)
    for number, each in enumerate(series):
        points = [
            (LEFT + across * (at - first) / (last - first), ABOVE + up * (1 - value / top))
            for at, value in each.points
        ]
        _line(group, points, COLOURS[number % len(COLOURS)], 2)
    _text(group, LEFT, height - 26, "0 s", size=11)
    _text(group, LEFT + across, height - 26, f"{last - first:.0f} s", "end", size=11)
    _legend(group, series, width, height)


def _legend(group: Element, series: Sequence[Series], width: int, height: int) -> None:
    """Name as many series as there is room for, and say how many more there are."""
    at = float(LEFT)
    for number, each in enumerate(series):
        room = 24 + 6.6 * len(each.name)
        if at + room > width - 60:
            _text(group, at, height - 8, f"and {len(series) - number} more", size=12)
            return
        _box(group, (at, height - 17), (10, 10), COLOURS[number % len(COLOURS)])
        _text(group, at + 14, height - 8, each.name, size=12)
        at += room


def _box(parent: Element, place: tuple[float, float], size: tuple[float, float], fill: str) -> None:
    sizes = dict(zip(("x", "y", "width", "height"), (*place, *size), strict=True))
    SubElement(parent, "rect", {key: f"{value:g}" for key, value in sizes.items()}, fill=fill)


def _line(parent: Element, points: Sequence[tuple[float, float]], colour: str, width: int) -> None:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    SubElement(
        parent,
        "polyline",
        {"points": path, "fill": "none", "stroke": colour, "stroke-width": str(width)},
    )


def _text(  # noqa: PLR0913 - as SVG's own element
    parent: Element,
    x: float,
    y: float,
    text: str,
    anchor: str = "start",
    *,
    size: int,
    weight: str = "normal",
    fill: str = "#263238",
) -> None:
    found = {"x": f"{x:g}", "y": f"{y:g}", "text-anchor": anchor, "font-size": str(size)}
    SubElement(parent, "text", found, fill=fill, **{"font-weight": weight}).text = text
