"""One place states the version: the package's metadata (E15)."""

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

pytestmark = pytest.mark.review2

ROOT = Path(__file__).parents[2]


def test_e15_the_version_is_that_of_the_packages_metadata() -> None:
    words = [sys.executable, "-m", "ovnlet", "--version"]
    shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert shown.split()[-1] == metadata.version("ovnlet")


def test_e15_no_source_states_a_version_of_its_own() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    version = project["version"]
    for path in ("operator/ovnlet/__init__.py", "cni/plugin/ovnlet.c"):
        assert version not in re.sub(r"supported:.*|VERSIONS.*", "", (ROOT / path).read_text())


def test_e15_the_plugin_is_built_with_the_projects_version(tmp_path: Path) -> None:
    """As in an image: the plugin's directory two levels below pyproject.toml."""
    source = ROOT / "cni/plugin"
    below = tmp_path / "cni/plugin"
    below.mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "ovnlet"\nversion = "7.8.9"\n')
    for name in ("Makefile", "ovnlet.c"):
        (below / name).write_bytes((source / name).read_bytes())
    subprocess.run(["make", "-s", "-C", below], check=True)
    done = subprocess.run([below / "ovnlet"], env={}, capture_output=True, check=True)
    assert done.stderr.splitlines()[0] == b"CNI plugin ovnlet v7.8.9"
