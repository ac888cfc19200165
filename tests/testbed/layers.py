"""The layers of the agent's image, each cached by its own inputs, so that a code change rebuilds the smallest alone.

base          a Debian root with Python, of the machine's own release: its /usr/bin/python3 compiles for the image's
dependencies  what pyproject.toml asks for, installed by pip under the machine's own configuration of pip
code          the project's wheel and the CNI plugin
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed import apt, cache, oci, progress

PYTHON = Path("/usr/bin/python3")
BASE_PACKAGES = ("python3", "ca-certificates")
NOT_IN_BASE = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
PLUGIN = Path("opt/ovnlet/bin/ovnlet")
CACHE = "images"


@dataclass(frozen=True, slots=True)
class Project:
    """A checkout, as far as the image depends on it."""

    root: Path

    def table(self) -> dict[str, Any]:
        return tomllib.loads((self.root / "pyproject.toml").read_text())

    def files(self) -> list[Path]:
        """Everything that the wheel is made of."""
        packages = self.table()["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
        found = [
            path
            for package in packages
            for path in (self.root / package).rglob("*")
            if path.is_file()
        ]
        sources = [path for path in found if "__pycache__" not in path.parts]
        return sorted(
            [*sources, *(self.root / name for name in ("pyproject.toml", "README.md", "LICENSE"))]
        )

    @property
    def plugin(self) -> Path:
        return self.root / "cni/plugin/ovnlet"


def base() -> oci.Layer:
    suite = platform.freedesktop_os_release()["VERSION_CODENAME"]

    def make(shop: Path) -> oci.Layer:
        # The machine's way to its mirror (proxies, certificates) is the root's while it is made.
        (shop / "apt.conf").write_text(_told("apt-config", "dump", "Acquire"))
        options = [
            "--mode=root",
            "--variant=essential",
            "--skip=output/dev",
            f"--include={','.join(BASE_PACKAGES)}",
            f"--aptopt={shop / 'apt.conf'}",
            *(f"--dpkgopt=path-exclude={path}" for path in NOT_IN_BASE),
        ]
        undated = os.environ | {"SOURCE_DATE_EPOCH": "0"}
        progress.run(["mmdebstrap", *options, suite, shop / "root.tar", apt.mirror()], env=undated)
        return oci.squeeze(shop / "root.tar", shop / "blob")

    return _cached("base", "Debian root", [suite, *BASE_PACKAGES, *NOT_IN_BASE], make)


def dependencies(project: Project) -> oci.Layer:
    table = project.table()
    wanted = sorted(table["project"]["dependencies"])

    def make(shop: Path) -> oci.Layer:
        site = _site(shop / "tree")
        _pip(table, "--target", site, *wanted)
        shutil.rmtree(
            site / "bin", ignore_errors=True
        )  # commands of libraries, with this machine's interpreter
        _byte_compile(shop / "tree")
        return oci.squeeze(oci.pack(shop / "tree", shop / "tree.tar").blob, shop / "blob")

    return _cached("dependencies", "dependencies", [_python_version(), *wanted], make)


def code(project: Project, shop: Path) -> oci.Layer:
    """Not cached: only an image whose code has changed is written at all."""
    table = project.table()
    tree, wheels = shop / "tree", shop / "wheels"
    site = _site(tree)
    python = _tools(table)
    progress.run(
        [python, "-I", "-m", "hatchling", "build", "-t", "wheel", "-d", wheels], cwd=project.root
    )
    # By name and not by path, or pip would record the path.
    _pip(
        table,
        "--no-deps",
        "--no-index",
        "--find-links",
        wheels,
        "--target",
        site,
        table["project"]["name"],
    )
    _commands(site / "bin", tree / "usr/local/bin")
    _byte_compile(tree)
    (tree / PLUGIN).parent.mkdir(parents=True)
    shutil.copy(project.plugin, tree / PLUGIN)
    (tree / PLUGIN).chmod(0o755)
    return oci.pack(tree, shop / "blob")


def _cached(
    kind: str, title: str, inputs: Iterable[str], make: Callable[[Path], oci.Layer]
) -> oci.Layer:
    """The layer of these inputs from the cache, made now if it is not there. The caller holds the lock."""
    room = cache.room(CACHE)
    home = room / f"{kind}-{cache.digest(inputs)}"
    if not home.exists():
        with progress.step(f"layer: {title}"), cache.workshop(room) as shop:
            layer = make(shop)
            (shop / "new").mkdir()
            layer.blob.rename(shop / "new/blob")
            facts = {"media": layer.media, "digest": layer.digest, "unpacked": layer.unpacked}
            (shop / "new/layer.json").write_text(json.dumps(facts))
            (shop / "new").rename(home)
    cache.keep_newest(room, f"{kind}-*", used=home)
    return oci.Layer(home / "blob", **json.loads((home / "layer.json").read_text()))


def _tools(table: dict[str, Any]) -> Path:
    """A Python that has pip and the project's build backend, of the interpreter that the image has too."""
    requires = sorted(table["build-system"]["requires"])
    room = cache.room(CACHE)
    home = room / f"tools-{cache.digest([_python_version(), *requires])}"
    if not home.exists():
        with progress.step("tools: pip and the build backend"):
            # A virtual environment is found by its own path: it is made in place, and marked as whole by a rename.
            building = room / ".tools"
            progress.run([PYTHON, "-I", "-m", "venv", "--clear", building])
            progress.run([building / "bin/python", "-I", "-m", "pip", "install", "-q", *requires])
            building.rename(home)
    cache.keep_newest(room, "tools-*", used=home)
    return home / "bin/python"


def _pip(table: dict[str, Any], *words: str | Path) -> None:
    progress.run([_tools(table), "-I", "-m", "pip", "install", "-q", "--no-compile", *words])


def _site(tree: Path) -> Path:
    """Where Debian's Python looks for what is not Debian's."""
    major, minor, _ = _python_version().split(".", 2)
    site = tree / f"usr/local/lib/python{major}.{minor}/dist-packages"
    site.mkdir(parents=True)
    return site


def _commands(source: Path, target: Path) -> None:
    """Move the project's commands to where a shell finds them, run by the image's interpreter."""
    target.mkdir(parents=True)
    for script in source.iterdir():
        _, _, body = script.read_text().partition("\n")
        (target / script.name).write_text(f"#!{PYTHON}\n{body}")
        (target / script.name).chmod(0o755)
    shutil.rmtree(source)


def _byte_compile(tree: Path) -> None:
    """Layers carry no dates, so the bytecode is tied to its source by hash, and nobody checks it at start-up."""
    options = ["-q", "-j2", "--invalidation-mode=unchecked-hash", "-s", str(tree), "-p", "/"]
    progress.run([PYTHON, "-I", "-m", "compileall", *options, tree])


def _python_version() -> str:
    return _told(PYTHON, "-I", "-c", "import platform; print(platform.python_version())").strip()


def _told(*words: str | Path) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout
