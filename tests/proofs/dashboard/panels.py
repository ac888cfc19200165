"""The panels of a dashboard as Grafana's JSON describes them, and what they ask for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DASHBOARD = Path(__file__).resolve().parents[3] / "manifests/dashboards/ovnlet.json"
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")
_LABEL = re.compile(r"\{\{\s*(\w+)\s*\}\}")


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel, and how it calls each series."""

    expr: str
    legend: str

    def filled(self, values: Mapping[str, str]) -> str:
        """Return the query with a value for each of Grafana's variables.

        Raise KeyError for one that has none.
        """
        return _VARIABLE.sub(lambda found: values[found[1]], self.expr)

    def called(self, labels: Mapping[str, str]) -> str:
        """Return the name of a series with these labels."""
        return _LABEL.sub(lambda found: labels.get(found[1], ""), self.legend)


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel, with its place in units of Grafana's grid, which is 24 wide."""

    title: str
    kind: str
    unit: str
    x: int
    y: int
    width: int
    height: int
    queries: tuple[Query, ...]


@dataclass(frozen=True, slots=True)
class Series:
    """A name, and values by their times in seconds."""

    name: str
    points: tuple[tuple[float, float], ...] = field(default=())


def read(path: Path = DASHBOARD) -> list[Panel]:
    """Return the panels of the dashboard."""
    return [_panel(body) for body in json.loads(path.read_text())["panels"]]


def _panel(body: Mapping[str, Any]) -> Panel:
    place = body["gridPos"]
    return Panel(
        body["title"],
        body["type"],
        body["fieldConfig"]["defaults"].get("unit", "short"),
        place["x"],
        place["y"],
        place["w"],
        place["h"],
        tuple(Query(each["expr"], each["legendFormat"]) for each in body["targets"]),
    )
