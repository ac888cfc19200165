"""Parse pages into blocks: commands that a reader types, and the output that the page shows.

Above each shell block is a comment: `<!-- run: WHO -->` names its test (RUNNERS),
`<!-- not run: why -->` says why there is none. In a block `$` starts a command that is typed
anywhere, `#` one as root on a node. Every other line is output, in which `…` stands for any text,
and alone on its line for any lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SHELLS = frozenset({"console", "sh", "bash", "shell"})
# The runners of blocks, each with its test.
RUNNERS = {
    "cli": "tests/integration/cni/agent/test_examples.py",
    "tutorial": "tests/integration/e2e/test_tutorial.py",
    "bed": "tests/integration/e2e/test_pages.py",
    "install": "tests/integration/e2e/test_installation.py",
    "migration": "tests/integration/e2e/test_migration.py",
}
_MARK = re.compile(r"<!--\s*(run|not run):\s*(.*?)\s*-->", re.DOTALL)
_PROMPT = re.compile(r"([$#]) (.*)")


@dataclass
class Typed:
    """One command, all of its lines, and what the page shows for it."""

    prompt: str
    command: str
    shown: list[str] = field(default_factory=list)

    @property
    def on_node(self) -> bool:
        """Whether it is typed as root on a node."""
        return self.prompt == "#"


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, with its runner or the reason why it has none."""

    page: Path
    line: int
    language: str
    text: str
    runner: str = ""
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def is_shell(self) -> bool:
        """Whether it has commands."""
        return self.language in SHELLS

    @property
    def typed(self) -> list[Typed]:
        """The commands; raises ValueError on output before any command."""
        found: list[Typed] = []
        for line in self.text.splitlines():
            if found and found[-1].command.endswith("\\") and not found[-1].shown:
                found[-1].command += f"\n{line}"
            elif prompted := _PROMPT.fullmatch(line):
                found.append(Typed(prompted[1], prompted[2]))
            elif found:
                found[-1].shown.append(line)
            elif line.strip():
                raise ValueError(f"{self}: output before any command: {line}")
        return found


def pages() -> list[Path]:
    """Return all pages of the documentation."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]


def blocks(page: Path) -> Iterator[Block]:
    """Yield all fenced blocks of a page, each with the mark in the comment right above it."""
    before: Token | None = None
    for token in MarkdownIt("commonmark").parse(page.read_text()):
        if token.type == "fence" and token.map:
            language, *_ = [*token.info.split(), ""]
            mark = (
                _MARK.fullmatch(before.content.strip())
                if before and before.type == "html_block"
                else None
            )
            kind, what = mark.groups() if mark else ("", "")
            mark_of = {"runner": what} if kind == "run" else {"reason": what}
            yield Block(page, token.map[0] + 1, language, token.content, **mark_of)
        before = token


def run_by(runner: str, page: Path | None = None) -> list[Block]:
    """Return the blocks of a runner, in the order of the pages."""
    chosen = [page] if page else pages()
    return [block for each in chosen for block in blocks(each) if block.runner == runner]


def spans(page: Path) -> Iterator[str]:
    """Yield the text in backticks, in paragraphs and in tables."""
    for token in MarkdownIt("commonmark").enable("table").parse(page.read_text()):
        for child in token.children or ():
            if child.type == "code_inline":
                yield child.content
