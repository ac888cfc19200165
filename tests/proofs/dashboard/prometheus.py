"""A Prometheus in a bed, that scrapes agents and controllers once a second."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any
from urllib.parse import urlencode

from proofs.dashboard.panels import Panel, Series
from testbed.service import wait_for
from testbed.space import Space

LISTEN = "127.0.0.1:9090"
WINDOW, STEP = 10, 2  # seconds of Grafana's `$__rate_interval`, and between two points of a line
VARIABLES = {"__rate_interval": f"{WINDOW}s", "instance": ".*"}
RULES = "ovnlet.rules.yaml"


@dataclass(frozen=True, slots=True)
class Prometheus:
    """The server, asked by a tool in its space."""

    space: Space

    def start(self, jobs: dict[str, list[str]], rules: str) -> None:
        """Start it with the shipped rules; return once it has scraped every target.

        ``jobs`` has the targets of each job.
        """
        home = self.space.directory / "prometheus"
        home.mkdir()
        (home / RULES).write_text(rules)
        every = {f"{what}_interval": "1s" for what in ("scrape", "evaluation")}
        scraped = [
            {"job_name": name, "static_configs": [{"targets": targets}]}
            for name, targets in jobs.items()
        ]
        config = {"global": every, "rule_files": [RULES], "scrape_configs": scraped}
        (home / "prometheus.yaml").write_text(json.dumps(config))
        files = (f"--config.file={home}/prometheus.yaml", f"--storage.tsdb.path={home}/data")
        words = ["prometheus", *files, f"--web.listen-address={LISTEN}", "--log.level=warn"]
        service = self.space.spawn("prometheus", words)
        many = sum(len(targets) for targets in jobs.values())
        service.wait_ready(lambda: self._up() == many, timeout=60)

    def _up(self) -> int:
        done = self.space.result(self._words("targets", {}))
        if done.returncode:  # it does not listen yet
            return 0
        targets = json.loads(done.stdout)["data"]["activeTargets"]
        return sum(each["health"] == "up" for each in targets)

    def ask(self, path: str, **parameters: Any) -> Any:
        """Return the data of an answer. Raise BedError if Prometheus refuses the query."""
        body = json.loads(self.space.run(self._words(path, parameters)))
        assert body["status"] == "success", body
        return body["data"]

    def answer(self, panel: Panel, query: int, since: float, until: float) -> list[Series]:
        """Return the series that a query of a panel gets, as Grafana would ask, with numbers."""
        asked = panel.queries[query]
        text = asked.filled(VARIABLES)
        if panel.kind == "stat":
            found = self.ask("query", query=text, time=until)["result"]
            pairs = [(each["metric"], [each["value"]]) for each in found]
        else:
            span = {"start": since, "end": until, "step": STEP}
            found = self.ask("query_range", query=text, **span)["result"]
            pairs = [(each["metric"], each["values"]) for each in found]
        series = [Series(asked.called(labels), _numbers(values)) for labels, values in pairs]
        return [each for each in series if each.points]

    def loaded(self) -> list[str]:
        """Return the names of the alerts that it has loaded."""
        groups = self.ask("rules")["groups"]
        return sorted(rule["name"] for group in groups for rule in group["rules"])

    def settled(self, seconds: float) -> float:
        """Wait until the last scrapes count, and return the time then."""
        wait_for(lambda: self._up() > 0, "a target that is up")
        time.sleep(seconds)
        return time.time()

    @staticmethod
    def _words(path: str, parameters: dict[str, Any]) -> Sequence[str]:
        url = f"http://{LISTEN}/api/v1/{path}?{urlencode(parameters)}"
        return ("busybox", "wget", "-q", "-T", "10", "-O", "-", url)


def _numbers(values: Sequence[tuple[float, str]]) -> tuple[tuple[float, float], ...]:
    """Return times and values without those that are no number: a quantile of nothing."""
    found = ((float(at), float(value)) for at, value in values)
    return tuple((at, value) for at, value in found if isfinite(value))
