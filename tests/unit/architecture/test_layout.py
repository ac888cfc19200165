"""The layout of the project: source roots, sizes, docstrings, imports, nothing of this machine."""

import ast
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parents[3]
ROOTS = ("operator", "cni")
LONGEST = 300
CATCH_ALL = frozenset({"utils", "util", "helpers", "helper", "common", "misc"})
OLDEST_PYTHON = (3, 11)


@cache
def files(*under: str) -> tuple[Path, ...]:
    """Return the files that are part of the project or will be, relative to its root."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *under]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return tuple(Path(name) for name in output.split("\0") if name and (ROOT / name).is_file())


def modules() -> tuple[Path, ...]:
    return tuple(path for path in files("operator", "cni", "tests") if path.suffix == ".py")


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)


@pytest.mark.parametrize("root", ROOTS)
def test_a_source_root_is_a_folder_to_look_in_and_no_package(root: str) -> None:
    assert not (ROOT / root / "__init__.py").exists(), (
        "an importable operator/ shadows the standard library"
    )


def test_operator_is_the_standard_librarys_from_the_root_of_the_repository() -> None:
    output = run(
        sys.executable,
        "-c",
        "import operator, ovnlet, ovnlet_cni; print(operator.itemgetter(0)('ok'))",
    )
    assert (output.stdout, output.stderr) == ("o\n", "")
    assert run(sys.executable, "-m", "pip", "--version").returncode == 0


def test_no_module_is_longer_than_300_lines() -> None:
    """The plugin is not included: it is C, and one file on purpose."""
    lengths = {path: len((ROOT / path).read_text().splitlines()) for path in modules()}
    assert not {str(path): length for path, length in lengths.items() if length > LONGEST}


def test_every_module_has_a_docstring() -> None:
    assert not [
        str(path)
        for path in modules()
        if not ast.get_docstring(ast.parse((ROOT / path).read_bytes()))
    ]


def test_every_module_can_be_read_by_the_oldest_python() -> None:
    for path in modules():
        ast.parse((ROOT / path).read_bytes(), str(path), feature_version=OLDEST_PYTHON)


def test_no_file_has_a_catch_all_name() -> None:
    named = {
        path: {part.partition(".")[0] for part in path.parts}
        for path in files("operator", "cni", "tests")
    }
    assert not [str(path) for path, words in named.items() if words & CATCH_ALL]


def test_imports_go_one_way() -> None:
    output = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "tests"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert output.returncode == 0, output.stdout


def test_every_package_is_in_the_contract_of_layers() -> None:
    """Without `exhaustive` import-linter would let a new package import anything."""
    text = (ROOT / "pyproject.toml").read_text()
    assert "exhaustive = true" in text
    for name in ("core", "reconcile", "drivers", "kube", "agent", "controller", "cli", "doctor"):
        assert re.search(rf"^layers = .*\b{name}\b", text, re.MULTILINE), name


def test_no_file_names_this_machine() -> None:
    """It names neither a configured package registry nor the path of the checkout."""
    words = {*registries(), *paths()}
    found = {
        f"{path}: {word}"
        for path in files()
        for word in words
        if re.search(
            rf"(?<![\w.-]){re.escape(word)}(?![\w-])", (ROOT / path).read_text(errors="replace")
        )
    }
    assert not found


def test_the_search_for_this_machine_can_find_something() -> None:
    assert hosts(
        "deb http://mirror.example.org/debian x https://[::1]/ https://user@index.example.net:8443/simple"
    ) == {
        "mirror.example.org",
        "index.example.net",
    }
    assert paths() == {str(ROOT)} or len(ROOT.parts) < 3


def registries() -> set[str]:
    """Return the hosts in the configurations of apt, pip and Go, and in the environment."""
    found = [
        value
        for name, value in os.environ.items()
        if re.search("INDEX|REGISTRY|PROXY|MIRROR|LINKS", name.upper())
    ]
    found.append(run(sys.executable, "-m", "pip", "config", "list").stdout)
    if shutil.which("apt-get"):
        found.append(run("apt-get", "indextargets", "--format", "$(REPO_URI)").stdout)
    if shutil.which("go"):
        found.append(run("go", "env", "GOPROXY").stdout)
    return hosts("\n".join(found))


def hosts(text: str) -> set[str]:
    """Return the host names with a dot; loopback and bare names are no registries."""
    found = {urlsplit(url).hostname or "" for url in re.findall(r"https?://[^\s'\"|,]+", text)}
    return {host for host in found if re.fullmatch(r"[\w-]+(\.[\w-]+)*\.[a-z]{2,}", host)}


def paths() -> set[str]:
    """Return the path of the checkout; none if it has one part, which identifies no machine."""
    return {str(ROOT)} if len(ROOT.parts) >= 3 else set()
