"""The page of versions says what the code, the chart and the bed say."""

import re
import tomllib

import yaml

from docs.blocks import DOCS, ROOT
from ovnlet_cni.errors import SUPPORTED_VERSIONS
from testbed import kubernetes, versions

PAGE = (DOCS / "reference/versions.md").read_text()
_CELLS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines()]
ROWS = {cells[0]: cells[1:] for cells in _CELLS if len(cells) == 4}
COLUMNS = ("tried", "should work", "refused")


def test_each_part_has_been_tried() -> None:
    assert tuple(ROWS["part"]) == COLUMNS
    parts = ROWS.keys() - {"part", "---"}
    assert {"Kubernetes", "OVN", "Open vSwitch", "container runtime", "Linux"} <= parts
    for part in parts:
        assert re.search(r"\d", ROWS[part][0]), part


def test_kubernetes_is_that_of_the_bed_and_of_the_chart() -> None:
    tried, works, refused = ROWS["Kubernetes"]
    assert tried.startswith(kubernetes.VERSION)
    assert works == f"1.{versions.OLDEST + 1} to 1.{versions.NEWEST}"
    chart = yaml.safe_load((ROOT / "manifests/chart/Chart.yaml").read_text())
    assert refused.startswith(f"before 1.{versions.OLDEST}, ")
    assert chart["kubeVersion"] == f">=1.{versions.OLDEST}.0-0"
    assert f"from 1.{versions.OLDEST} to 1.{versions.NEWEST}" in PAGE


def test_versions_of_the_cni_and_of_python_are_those_of_the_code() -> None:
    assert ROWS["CNI"][0].partition(" (")[0].split(", ") == list(SUPPORTED_VERSIONS)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest = project["requires-python"].removeprefix(">=")
    assert ROWS["Python"][1:] == [f"{oldest} and later", f"before {oldest}, by pip"]


def test_what_ci_runs_on_is_on_the_page() -> None:
    """The versions of Debian's packages, without their last number."""
    named = "\n".join(versions.software())
    for part, program in (("OVN", "ovn-controller"), ("Open vSwitch", "ovs-vswitchd")):
        found = re.search(rf"^{program}.*?(\d+\.\d+)\.\d+$", named, re.MULTILINE)
        assert found is not None, named
        assert ROWS[part][0].startswith(found[1]), part
    found = re.search(r"^containerd.* (\d+\.\d+)\.\d+", named, re.MULTILINE)
    assert found is not None, named
    assert f"containerd {found[1]}" in ROWS["container runtime"][0]
