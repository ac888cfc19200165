"""The alert rules: promtool accepts them, each fires on its cause, and their metrics exist."""

import re
import shutil
import subprocess
from pathlib import Path

import yaml

from ovnlet.agent.metrics import Metrics

HERE = Path(__file__).parent
RULES = HERE.parents[2] / "manifests/alerts/ovnlet.rules.yaml"


def promtool(*words: str, where: Path) -> str:
    done = subprocess.run(
        ["promtool", *words], cwd=where, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_takes_the_rules_and_each_fires(tmp_path: Path) -> None:
    for path in (RULES, HERE / "alerts.yaml"):
        shutil.copy(path, tmp_path)
    assert "6 rules found" in promtool("check", "rules", RULES.name, where=tmp_path)
    assert "SUCCESS" in promtool("test", "rules", "alerts.yaml", where=tmp_path)


def test_rules_ask_for_figures_that_there_are() -> None:
    rules = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
    asked = set(re.findall(r"\bovnlet_\w+", " ".join(rule["expr"] for rule in rules)))
    families = {family.name for family in Metrics(lambda: []).registry.collect()}
    assert {re.sub(r"_(total|count|bucket|sum)$", "", name) for name in asked} <= families
    assert all(rule["alert"] in (HERE / "alerts.yaml").read_text() for rule in rules)
