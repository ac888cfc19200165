"""The house itself: roots that are no packages, small files, room signs, imports one way, nothing of this machine."""

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
DUMPS = frozenset({"utils", "util", "helpers", "helper", "common", "misc"})
OLDEST_PYTHON = (3, 11)


@cache
def files(*under: str) -> tuple[Path, ...]:
    """What is, or is about to be, part of the project; paths from the root."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *under]
    told = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return tuple(Path(name) for name in told.split("\0") if name and (ROOT / name).is_file())


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
    told = run(
        sys.executable,
        "-c",
        "import operator, ovnlet, ovnlet_cni; print(operator.itemgetter(0)('ok'))",
    )
    assert (told.stdout, told.stderr) == ("o\n", "")
    assert run(sys.executable, "-m", "pip", "--version").returncode == 0


def test_no_module_is_longer_than_can_be_read() -> None:
    """The plugin is C and one file on purpose."""
    lengths = {path: len((ROOT / path).read_text().splitlines()) for path in modules()}
    assert not {str(path): length for path, length in lengths.items() if length > LONGEST}


def test_every_module_opens_with_what_it_is_for() -> None:
    assert not [
        str(path)
        for path in modules()
        if not ast.get_docstring(ast.parse((ROOT / path).read_bytes()))
    ]


def test_every_module_can_be_read_by_the_oldest_python() -> None:
    for path in modules():
        ast.parse((ROOT / path).read_bytes(), str(path), feature_version=OLDEST_PYTHON)


def test_nothing_is_named_as_a_place_for_leftovers() -> None:
    named = {
        path: {part.partition(".")[0] for part in path.parts}
        for path in files("operator", "cni", "tests")
    }
    assert not [str(path) for path, words in named.items() if words & DUMPS]


def test_imports_go_one_way() -> None:
    told = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "tests"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stdout


def test_every_room_stands_in_the_contract_of_layers() -> None:
    """import-linter is asked to be exhaustive; a contract that is not would let a new room import what it likes."""
    text = (ROOT / "pyproject.toml").read_text()
    assert "exhaustive = true" in text
    for name in ("core", "reconcile", "drivers", "kube", "agent", "controller", "cli", "doctor"):
        assert re.search(rf"^layers = .*\b{name}\b", text, re.MULTILINE), name


def test_no_file_names_this_machine() -> None:
    """Neither a package registry that it is told to use, nor where the project lies on it."""
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
    """The hosts in the configurations of apt, pip and Go, and in the environment."""
    told = [
        value
        for name, value in os.environ.items()
        if re.search("INDEX|REGISTRY|PROXY|MIRROR|LINKS", name.upper())
    ]
    told.append(run(sys.executable, "-m", "pip", "config", "list").stdout)
    if shutil.which("apt-get"):
        told.append(run("apt-get", "indextargets", "--format", "$(REPO_URI)").stdout)
    if shutil.which("go"):
        told.append(run("go", "env", "GOPROXY").stdout)
    return hosts("\n".join(told))


def hosts(text: str) -> set[str]:
    """Names with a dot; loopback and bare names are nobody's registry."""
    found = {urlsplit(url).hostname or "" for url in re.findall(r"https?://[^\s'\"|,]+", text)}
    return {host for host in found if re.fullmatch(r"[\w-]+(\.[\w-]+)*\.[a-z]{2,}", host)}


def paths() -> set[str]:
    """A path of one part, such as /ovnlet, says nothing of a machine."""
    return {str(ROOT)} if len(ROOT.parts) >= 3 else set()
