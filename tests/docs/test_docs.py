"""What the documentation names exists: commands, flags, make targets, files, names, tests.

Other tests run the commands and compare their output with the page: see docs.blocks.RUNNERS.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from docs import blocks, reference
from docs.blocks import ROOT, Block
from ovnlet.__main__ import main
from ovnlet.core.settings import ControllerSettings, Settings

PAGES = blocks.pages()
CODE = ("operator", "cni", "manifests", "tests")
# Results of a build, and paths on a node: no files of this repository.
MADE = ("build/", "tests/unit/architecture/x")
SETTINGS = {
    f"OVNLET_{name.upper()}"
    for model in (Settings, ControllerSettings)
    for name in model.settings()
}
# Messages, which are no commands.
QUOTED = {text.replace("\n", " ") for each in reference.MESSAGES.values() for text in each}
_END = re.compile(r"[|;&<>)]|\s#")
_TARGET = re.compile(r"^([a-z0-9.-]+(?: [a-z0-9.-]+)*):", re.MULTILINE)
_TEST = re.compile(r"(tests/[\w/]+\.py|…)::(\w+)")
_FILE = re.compile(r"(?<![\w/.-])(?:docs|manifests|tests|operator|cni)/[\w./-]+")
_NAME = re.compile(r"(?:[A-Z][a-z0-9]+){2,}")


def _blocks() -> list[Block]:
    return [block for page in PAGES for block in blocks.blocks(page)]


def _source() -> str:
    files = [
        path
        for top in CODE
        for path in (ROOT / top).rglob("*")
        if path.suffix in (".py", ".yaml", ".c", ".mk")
    ]
    return "\n".join(
        path.read_text() for path in [*files, ROOT / "Makefile", ROOT / "pyproject.toml"]
    )


def _flags() -> set[str]:
    return {
        word
        for _, command in reference.commands()
        for parameter in command.params
        for word in parameter.opts
    }


SOURCE, METRICS, FLAGS = _source(), reference.metrics(), _flags()
SHELL = [block for block in _blocks() if block.is_shell]


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_a_shell_block_is_run_or_says_why_not(block: Block) -> None:
    assert block.typed
    if block.runner:
        test = ROOT / blocks.RUNNERS[block.runner]
        assert f'run_by("{block.runner}"' in test.read_text()
    else:
        assert len(block.reason.split()) > 3, (
            "no mark above it: <!-- run: WHO --> or <!-- not run: why -->"
        )


def test_every_runner_has_something_to_run() -> None:
    assert {block.runner for block in SHELL} - {""} == blocks.RUNNERS.keys()


def test_every_block_of_yaml_can_be_read() -> None:
    found = [block for block in _blocks() if block.language == "yaml"]
    assert found
    for block in found:
        assert list(yaml.safe_load_all(block.text)), block


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    site = (ROOT / "mkdocs.yml").read_text()
    pages = [path for path in blocks.DOCS.rglob("*.md") if path.parent.name != "decisions"]
    assert not [page for page in pages if str(page.relative_to(blocks.DOCS)) not in site]


def _lines(page: Path) -> Iterator[str]:
    """Yield every command line of a page: of blocks, and in backticks."""
    for block in blocks.blocks(page):
        yield from (typed.command for typed in block.typed) if block.is_shell else ()
    yield from (span for span in blocks.spans(page) if span not in QUOTED)


def _calls(line: str, program: str) -> Iterator[list[str]]:
    """Yield the arguments of each call of a program in a line."""
    plugin = r"(?<!kubectl )" if program == "ovnlet" else ""
    for found in re.finditer(rf"(?:^|(?<=[\s(])){plugin}{program} (?=[a-z-])", line):
        rest = line[found.end() :].replace("\\\n", " ")
        yield shlex.split(_END.split(rest, maxsplit=1)[0].replace('"$@"', ""))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_call_of_ovnlet_is_one_that_it_takes(page: Path) -> None:
    known = dict(reference.commands())
    context = click.Context(main, info_name="ovnlet")
    for line in _lines(page):
        calls = [words for words in _calls(line, "ovnlet") if words != ["cluster"]]
        calls += [["cluster", *words] for words in _calls(line, "kubectl ovnlet")]
        for words in calls:
            many = 2 if words[0] == "cluster" else 1
            name = " ".join(words[:many])
            assert name in known, line
            try:
                known[name].make_context(name, words[many:], parent=context)
            except click.MissingParameter:  # in prose `ovnlet COMMAND` stands for all its calls
                assert line.removeprefix("kubectl ").split() in (
                    ["ovnlet", *words],
                    ["ovnlet", *words[1:]],
                ), line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_target_of_make_is_there(page: Path) -> None:
    text = (ROOT / "Makefile").read_text() + (ROOT / "tests/testbed/bed.mk").read_text()
    targets = {name for names in _TARGET.findall(text) for name in names.split()}
    for line in _lines(page):
        for words in _calls(line, "make"):
            assert {
                word for word in words if "=" not in word and not word.startswith("-")
            } <= targets, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_and_test_that_is_named_is_there(page: Path) -> None:
    text = page.read_text()
    missing = [name for name in _FILE.findall(text) if not (ROOT / name.rstrip("./")).exists()]
    assert not missing
    file = ""
    for where, name in _TEST.findall(text):
        file = where if where != "…" else file
        assert f"def {name}(" in (ROOT / file).read_text(), f"{file}::{name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_name_is_one_that_the_code_has(page: Path) -> None:
    unknown = []
    for span in blocks.spans(page):
        for name in re.findall(r"OVNLET_[A-Z_]+|\bovnlet\.io/[a-z-]+", span):
            unknown += [name] if name not in SETTINGS and name not in SOURCE else []
        unknown += [
            name
            for name in re.findall(r"\bovnlet_(?!cni\b)[a-z_]+\b", span)
            if f"`{name}`" not in METRICS
        ]
        if found := re.fullmatch(r"(--[a-z-]+)(=\S+)?", span):
            unknown += [span] if found[1] not in FLAGS and f'"{found[1]}' not in SOURCE else []
        if _NAME.fullmatch(span) and span not in SOURCE:
            unknown.append(span)
        if found := re.fullmatch(r"ovn\.kubernetes\.io/([a-z_]+)[=-]?.*", span):
            unknown += [span] if f'"{found[1]}"' not in SOURCE else []
    assert not unknown
