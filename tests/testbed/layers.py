"""The layers of the agent's image, each cached by its own inputs.

A change of the code rebuilds the smallest alone.

base          a Debian root with Python, of the machine's own release: /usr/bin/python3 here
              compiles for the image's
dependencies  what pyproject.toml asks for, installed by pip with the machine's configuration of pip
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
COMMAND = "ovnlet"
_COMMANDS = "../../bin/"  # where pip's records say that they are
CACHE = "images"


@dataclass(frozen=True, slots=True)
class Project:
    """A checkout, as far as the image depends on it."""

    root: Path

    def table(self) -> dict[str, Any]:
        """Return pyproject.toml."""
        return tomllib.loads((self.root / "pyproject.toml").read_text())

    def files(self) -> list[Path]:
        """Return every file that the wheel is made of, sorted."""
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
        """The CNI plugin's executable."""
        return self.root / "cni/plugin/ovnlet"


def base() -> oci.Layer:
    """Return the layer with Debian and Python, made by mmdebstrap if it is not in the cache."""
    suite = platform.freedesktop_os_release()["VERSION_CODENAME"]

    def make(scratch: Path) -> oci.Layer:
        # mmdebstrap reaches the mirror as the machine does, by its proxies and certificates.
        (scratch / "apt.conf").write_text(_output("apt-config", "dump", "Acquire"))
        options = [
            "--mode=root",
            "--variant=essential",
            "--skip=output/dev",
            f"--include={','.join(BASE_PACKAGES)}",
            f"--aptopt={scratch / 'apt.conf'}",
            *(f"--dpkgopt=path-exclude={path}" for path in NOT_IN_BASE),
        ]
        undated = os.environ | {"SOURCE_DATE_EPOCH": "0"}
        progress.run(
            ["mmdebstrap", *options, suite, scratch / "root.tar", apt.mirror()], env=undated
        )
        return oci.squeeze(scratch / "root.tar", scratch / "blob")

    return _cached("base", "Debian root", [suite, *BASE_PACKAGES, *NOT_IN_BASE], make)


def dependencies(project: Project) -> oci.Layer:
    """Return the layer with the project's dependencies, made by pip if it is not in the cache."""
    table = project.table()
    wanted = sorted(table["project"]["dependencies"])

    def make(scratch: Path) -> oci.Layer:
        site = _site(scratch / "tree")
        _pip(table, "--target", site, *wanted)
        # Commands of libraries name this machine's interpreter.
        shutil.rmtree(site / "bin", ignore_errors=True)
        _forget_commands(site)
        _byte_compile(scratch / "tree")
        return oci.squeeze(oci.pack(scratch / "tree", scratch / "tree.tar").blob, scratch / "blob")

    return _cached("dependencies", "dependencies", [_python_version(), _COMMANDS, *wanted], make)


def code(project: Project, scratch: Path) -> oci.Layer:
    """Build the layer with the project's wheel and plugin.

    It is not cached: the caller caches the whole image by its code.
    """
    table = project.table()
    tree, wheels = scratch / "tree", scratch / "wheels"
    site = _site(tree)
    python = tools(table)
    progress.run(
        [python, "-I", "-m", "hatchling", "build", "-t", "wheel", "-d", wheels], cwd=project.root
    )
    # Given a path instead of a name, pip would record the path.
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
    _command(site / "bin", tree / "usr/local/bin")
    _forget_commands(site)
    _byte_compile(tree)
    (tree / PLUGIN).parent.mkdir(parents=True)
    shutil.copy(project.plugin, tree / PLUGIN)
    (tree / PLUGIN).chmod(0o755)
    return oci.pack(tree, scratch / "blob")


def _cached(
    kind: str, title: str, inputs: Iterable[str], make: Callable[[Path], oci.Layer]
) -> oci.Layer:
    """Return the layer of these inputs from the cache, and make it if it is not there.

    The caller holds the cache's lock.
    """
    folder = cache.subdirectory(CACHE)
    home = folder / f"{kind}-{cache.digest(inputs)}"
    if not home.exists():
        with progress.step(f"layer: {title}"), cache.scratch(folder) as scratch:
            layer = make(scratch)
            (scratch / "new").mkdir()
            layer.blob.rename(scratch / "new/blob")
            facts = {"media": layer.media, "digest": layer.digest, "unpacked": layer.unpacked}
            (scratch / "new/layer.json").write_text(json.dumps(facts))
            (scratch / "new").rename(home)
    cache.keep_newest(folder, f"{kind}-*", used=home)
    return oci.Layer(home / "blob", **json.loads((home / "layer.json").read_text()))


def tools(table: dict[str, Any]) -> Path:
    """Return a Python with pip and the project's build backend, of the image's own version."""
    requires = sorted(table["build-system"]["requires"])
    folder = cache.subdirectory(CACHE)
    home = folder / f"tools-{cache.digest([_python_version(), *requires])}"
    if not home.exists():
        with progress.step("tools: pip and the build backend"):
            # The rename marks the environment as complete. Only its python is used, which finds
            # its packages wherever it is.
            building = folder / ".tools"
            progress.run([PYTHON, "-I", "-m", "venv", "--clear", building])
            progress.run([building / "bin/python", "-I", "-m", "pip", "install", "-q", *requires])
            building.rename(home)
    cache.keep_newest(folder, "tools-*", used=home)
    return home / "bin/python"


def _pip(table: dict[str, Any], *words: str | Path) -> None:
    progress.run([tools(table), "-I", "-m", "pip", "install", "-q", "--no-compile", *words])


def _site(tree: Path) -> Path:
    """Create and return the directory for packages that are not Debian's."""
    major, minor, _ = _python_version().split(".", 2)
    site = tree / f"usr/local/lib/python{major}.{minor}/dist-packages"
    site.mkdir(parents=True)
    return site


def _command(source: Path, target: Path) -> None:
    """Move the agent's command to a directory on PATH, and set the image's interpreter.

    The commands of kubectl's plugin are for a person's machine.
    """
    target.mkdir(parents=True)
    _, _, body = (source / COMMAND).read_text().partition("\n")
    (target / COMMAND).write_text(f"#!{PYTHON}\n{body}")
    (target / COMMAND).chmod(0o755)
    shutil.rmtree(source)


def _forget_commands(site: Path) -> None:
    """Remove commands from pip's records: their digests depend on where pip's Python was."""
    for record in site.glob("*.dist-info/RECORD"):
        lines = record.read_text().splitlines(keepends=True)
        record.write_text("".join(line for line in lines if not line.startswith(_COMMANDS)))


def _byte_compile(tree: Path) -> None:
    """Compile every module to bytecode tied to its source by hash and not checked at start-up.

    Layers have no modification times, by which Python would compare otherwise.
    """
    options = ["-q", "-j2", "--invalidation-mode=unchecked-hash", "-s", str(tree), "-p", "/"]
    progress.run([PYTHON, "-I", "-m", "compileall", *options, tree])


def _python_version() -> str:
    return _output(PYTHON, "-I", "-c", "import platform; print(platform.python_version())").strip()


def _output(*words: str | Path) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout
