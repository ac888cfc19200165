"""A shell that a reader would have before him: each line is typed into it, and what comes out is compared."""

from __future__ import annotations

import os
import re
import secrets
import selectors
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from docs.blocks import Block, Typed

ANY = "…"
PATIENCE = 600.0
# What only looks is looked at again, as a reader does who was faster than the world.
LOOKS = re.compile(r"kubectl (get|exec web -- (ip|ping))|(ovs-vsctl|nsenter) .*(find|show|route)\b")
AGAIN = 15.0


class Differs(AssertionError):
    """The page is not true, or the world is not as the page says."""


class Session:
    """One bash without a terminal, in ``directory``. ``node`` runs a line on a node, where the page has `#` for it.

    Without it `#` is typed into the same shell: as on a page that has the reader enter a node first. ``told`` is put in
    place of words of the page, such as the name of a bed.
    """

    def __init__(
        self,
        directory: Path,
        env: Mapping[str, str],
        *,
        told: Mapping[str, str] | None = None,
        node: Callable[[str], tuple[int, str]] | None = None,
    ) -> None:
        self._told, self._node = dict(told or {}), node
        pipe = subprocess.PIPE
        self._bash = subprocess.Popen(
            ["bash", "--norc"],
            cwd=directory,
            env=dict(env),
            stdin=pipe,
            stdout=pipe,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bash.kill()
        self._bash.wait()

    def follow(self, block: Block) -> list[str]:
        """Type all of a block; returns what came out. Raises Differs at the first that is not as shown."""
        return [self._do(block, typed) for typed in block.typed]

    def _do(self, block: Block, typed: Typed) -> str:
        command, shown = self._spoken(typed.command), [self._spoken(line) for line in typed.shown]
        since = time.monotonic()
        while True:
            status, said = (
                self._node(command) if typed.on_node and self._node else self._type(command)
            )
            if not status and (not shown or matches(shown, said)):
                return said
            if not LOOKS.match(command) or time.monotonic() - since > AGAIN:
                page = "\n".join(shown)
                raise Differs(
                    f"{block}: {command}\n--- the page shows\n{page}\n--- status {status}, it said\n{said}"
                )
            time.sleep(0.5)

    def _spoken(self, text: str) -> str:
        for word, instead in self._told.items():
            text = text.replace(word, instead)
        return text

    def _type(self, command: str) -> tuple[int, str]:
        """The status and all that came out until then. A command may itself be a shell, which reads the next lines."""
        assert self._bash.stdin is not None
        end = f"end-{secrets.token_hex(8)}"
        self._bash.stdin.write(f"{command}\nprintf '\\n%s %s\\n' {end} $?\n".encode())
        self._bash.stdin.flush()
        said = self._read_until(end.encode())
        text, _, status = said.decode(errors="replace").rpartition(f"\n{end} ")
        return int(status), text

    def _read_until(self, end: bytes) -> bytes:
        assert self._bash.stdout is not None
        said, last = b"", re.compile(rb"\n" + end + rb" \d+\n$")
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._bash.stdout, selectors.EVENT_READ)
            deadline = time.monotonic() + PATIENCE
            while not last.search(said):
                if not waiting.select(max(0.0, deadline - time.monotonic())):
                    raise Differs(
                        f"nothing more within {PATIENCE:.0f} s; until then it said:\n{said.decode()}"
                    )
                read = os.read(self._bash.stdout.fileno(), 1 << 16)
                if not read:
                    raise Differs(f"the shell ended; it said:\n{said.decode()}")
                said += read
        return said


def matches(shown: list[str], said: str) -> bool:
    """Whether a page's lines say what came out, blanks at their ends and how many of them aside."""
    lines = [line for line in shown if line.strip()]
    pattern = "".join(
        r"(?:.*\n)*?" if line.strip() == ANY else f"{_line(line)}\n" for line in lines
    )
    came = "".join(f"{' '.join(line.split())}\n" for line in said.splitlines() if line.strip())
    return bool(re.fullmatch(pattern, came))


def _line(line: str) -> str:
    return ".*?".join(re.escape(part) for part in " ".join(line.split()).split(ANY))
