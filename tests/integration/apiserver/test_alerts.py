"""The alert rules and the dashboard: promtool accepts them, and their metrics exist.

Each alert fires on its cause.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from ovnlet.agent.metrics import Metrics
from ovnlet.controller.http import HttpEndpoints

HERE = Path(__file__).parent
RULES = HERE.parents[2] / "manifests/alerts/ovnlet.rules.yaml"
RUNBOOK = HERE.parents[2] / "docs/how-to/alerts.md"
DASHBOARD = HERE.parents[2] / "manifests/dashboards/ovnlet.json"
RULES_OF = {
    rule["alert"]: rule
    for group in yaml.safe_load(RULES.read_text())["groups"]
    for rule in group["rules"]
}


def promtool(*words: str, where: Path) -> str:
    done = subprocess.run(
        ["promtool", *words], cwd=where, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_takes_the_rules_and_each_fires(tmp_path: Path) -> None:
    for path in (RULES, HERE / "alerts.yaml"):
        shutil.copy(path, tmp_path)
    checked = promtool("check", "rules", RULES.name, where=tmp_path)
    assert f"{len(RULES_OF)} rules found" in checked
    tested = promtool("test", "rules", "alerts.yaml", where=tmp_path)
    assert "SUCCESS" in tested
    page = RUNBOOK.read_text()
    for line in filter(str.strip, (checked + tested).splitlines()):
        assert line in page, "docs/how-to/alerts.md shows what promtool prints"


def test_rules_ask_for_figures_that_there_are() -> None:
    asked = set(re.findall(r"\bovnlet_\w+", " ".join(rule["expr"] for rule in RULES_OF.values())))
    assert not _unknown(asked)


def _unknown(asked: set[str]) -> set[str]:
    """Return the names that no metric of agent or controller has."""
    registries = Metrics(lambda: []).registry, HttpEndpoints("127.0.0.1:0").registry
    families = {family.name for registry in registries for family in registry.collect()}
    return {
        name for name in asked if re.sub(r"_(total|count|bucket|sum)$", "", name) not in families
    }


def test_each_alert_is_tested_to_fire_and_not_to_fire() -> None:
    good, bad = yaml.safe_load((HERE / "alerts.yaml").read_text())["tests"]
    silent = {each["alertname"] for each in good["alert_rule_test"] if not each["exp_alerts"]}
    fired = {each["labels"] for each in bad["promql_expr_test"][0]["exp_samples"]}
    assert silent == RULES_OF.keys()
    assert fired == {f'{{alertname="{name}"}}' for name in RULES_OF}


@pytest.mark.parametrize("name", RULES_OF)
def test_each_alert_has_a_section_in_the_runbook(name: str) -> None:
    """It says what is broken, what to look at, and what to do."""
    page, _, anchor = RULES_OF[name]["annotations"]["runbook"].partition("#")
    assert anchor == name.lower()
    text = (RULES.parents[2] / page).read_text()
    section = text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    for part in ("**What it means.**", "**Look at.**", "**Do.**"):
        assert part in section, part


def queries() -> list[str]:
    """Return the dashboard's queries, with a value for each variable of Grafana."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    found = [target["expr"] for panel in panels for target in panel["targets"]]
    return [expr.replace("$__rate_interval", "1m").replace("$instance", ".*") for expr in found]


def test_promtool_takes_each_query_of_the_dashboard(tmp_path: Path) -> None:
    rules = [{"record": f"q{number}", "expr": expr} for number, expr in enumerate(queries())]
    groups = {"groups": [{"name": "dashboard", "rules": rules}]}
    (tmp_path / "queries.yaml").write_text(yaml.safe_dump(groups))
    shown = promtool("check", "rules", "queries.yaml", where=tmp_path)
    assert f"{len(rules)} rules found" in shown


def test_the_dashboard_asks_for_figures_that_there_are() -> None:
    asked = set(re.findall(r"\bovnlet_\w+", " ".join(queries())))
    assert len(asked) > 12
    assert not _unknown(asked)
