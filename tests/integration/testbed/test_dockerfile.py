"""The Dockerfile makes what `testbed.images` makes without a registry.

The same packages, files, paths and start. No builder runs here: the test reads the file; `make
image` builds it and compares file by file. The e2e floor runs the registry-less image.
"""

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from testbed import layers
from testbed.images import AGENT_CONFIG

ROOT = Path(__file__).parents[3]


@dataclass(slots=True)
class Stage:
    """A FROM and its instructions in order: each an instruction's name and the rest of its line."""

    base: str
    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, word: str) -> list[str]:
        """Return the rest of every line with this instruction."""
        return [rest for each, rest in self.steps if each == word]

    def packages(self) -> set[str]:
        """Return the packages that apt installs."""
        found = re.findall(r"apt-get install ([^&]*)", " && ".join(self.all("RUN")))
        return {word for words in found for word in words.split() if not word.startswith("-")}

    def copied(self, source: str = "") -> list[tuple[list[str], str]]:
        """Return sources and target of each COPY from that stage, or from the checkout."""
        found = []
        for rest in self.all("COPY"):
            flags, words = (
                [w for w in rest.split() if w[:2] == "--"],
                [w for w in rest.split() if w[:2] != "--"],
            )
            if flags == ([f"--from={source}"] if source else []):
                found.append((words[:-1], words[-1]))
        return found


def stages() -> dict[str, Stage]:
    """Return the Dockerfile's stages by name."""
    text = re.sub(r"\\\n\s*", " ", re.sub(r"(?m)^#.*\n", "", (ROOT / "Dockerfile").read_text()))
    found: dict[str, Stage] = {}
    for line in filter(None, text.splitlines()):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            found[name] = stage = Stage(base, name)
        elif word != "ARG":
            stage.steps.append((word, rest))
    return found


STAGES = stages()
FINAL = STAGES[""]


def test_it_starts_as_the_other_image_does() -> None:
    assert tuple(json.loads(FINAL.all("ENTRYPOINT")[0])) == AGENT_CONFIG.entrypoint
    assert FINAL.all("CMD") == list(AGENT_CONFIG.command)
    (env,) = FINAL.all("ENV")
    assert dict(word.split("=", 1) for word in shlex.split(env)) == AGENT_CONFIG.environment
    assert FINAL.all("WORKDIR") == ["/"]
    assert not FINAL.all("USER"), "the agent needs root, with four capabilities"


def test_it_stands_on_the_same_base() -> None:
    assert FINAL.packages() == set(layers.BASE_PACKAGES)
    assert {stage.base for stage in STAGES.values()} == {"${BASE}"}
    (suite,) = re.findall(r"(?m)^ARG BASE=debian:(\w+)-slim$", (ROOT / "Dockerfile").read_text())
    assert suite in (ROOT / "docs/how-to/install.md").read_text()


def test_the_wheel_is_made_of_the_same_files() -> None:
    """Each file is where the build backend looks for it, and none of its files is missing."""
    taken: set[Path] = set()
    for sources, target in STAGES["code"].copied():
        for source in sources:
            path = ROOT / source
            within = Path(target).relative_to("/src")
            assert (within / source if target.endswith("/") else within) == Path(source), (
                "the path changes"
            )
            taken |= (
                {path}
                if path.is_file()
                else {each for each in path.rglob("*") if "__pycache__" not in each.parts}
            )
    project = layers.Project(ROOT)
    assert {path for path in taken if path.is_file()} >= set(project.files())
    (made,) = [run for run in STAGES["code"].all("RUN") if "pip install" in run]
    assert '--target "$site" /src' in made
    assert "--invalidation-mode=unchecked-hash -s /out -p / /out" in made
    assert f"#!{layers.PYTHON}" in made


def test_the_plugin_is_made_by_its_makefile_and_static() -> None:
    plugin = STAGES["plugin"]
    assert plugin.all("RUN")[-1] == "make -C /src/cni/plugin"
    assert plugin.packages() == {"gcc", "make", "musl-tools"}, (
        "the packages that testbed.packages lists for the plugin"
    )
    assert "-static" in (ROOT / "cni/plugin/Makefile").read_text()
    needed = {Path("pyproject.toml"), Path("cni/plugin/Makefile"), Path("cni/plugin/ovnlet.c")}
    assert {Path(source) for sources, _ in plugin.copied() for source in sources} == needed
    assert STAGES["code"].copied("plugin") == [
        (["/src/cni/plugin/ovnlet"], f"/out/{layers.PLUGIN}")
    ]
    assert FINAL.copied("code") == [(["/out"], "/")]


def test_nothing_else_is_sent_to_a_builder() -> None:
    lines = (ROOT / ".dockerignore").read_text().split()
    assert lines[0] == "*"
    sent = {line.removeprefix("!") for line in lines if line.startswith("!")}
    wanted = {
        s for stage in ("plugin", "code") for sources, _ in STAGES[stage].copied() for s in sources
    }
    assert sent == {source.partition("/")[0] for source in wanted}
