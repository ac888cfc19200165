"""A shell in which the commands of a page are typed, and their output is compared with the page."""

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
OUTPUT_TIMEOUT = 600.0
# Commands that only read are retried, as by a reader who was too fast.
READS_ONLY = re.compile(
    r"kubectl (get|exec web -- (ip|ping))|(ovs-vsctl|nsenter) .*(find|show|route)\b"
)
RETRY_SECONDS = 15.0


class Differs(AssertionError):
    """The output is not what the page shows."""


class Session:
    """A bash without a terminal, in ``directory``.

    ``node`` runs a command on a node, for lines with `#`. Without it they are typed into the same
    shell, for pages on which the reader enters a node first. ``told`` replaces words of the page,
    such as the name of a bed.
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
        """Type the commands of a block and return their outputs.

        Raise Differs at the first output that the page does not show.
        """
        return [self._do(block, typed) for typed in block.typed]

    def _do(self, block: Block, typed: Typed) -> str:
        command, shown = (
            self._replaced(typed.command),
            [self._replaced(line) for line in typed.shown],
        )
        since = time.monotonic()
        while True:
            status, output = (
                self._node(command) if typed.on_node and self._node else self._type(command)
            )
            if not status and (not shown or matches(shown, output)):
                return output
            if not READS_ONLY.match(command) or time.monotonic() - since > RETRY_SECONDS:
                page = "\n".join(shown)
                raise Differs(
                    f"{block}: {command}\n--- the page shows\n{page}\n"
                    f"--- status {status}, output\n{output}"
                )
            time.sleep(0.5)

    def _replaced(self, text: str) -> str:
        for word, instead in self._told.items():
            text = text.replace(word, instead)
        return text

    def _type(self, command: str) -> tuple[int, str]:
        """Return the exit status and the output. A command may be a shell for the next lines."""
        assert self._bash.stdin is not None
        end = f"end-{secrets.token_hex(8)}"
        self._bash.stdin.write(f"{command}\nprintf '\\n%s %s\\n' {end} $?\n".encode())
        self._bash.stdin.flush()
        output = self._read_until(end.encode())
        text, _, status = output.decode(errors="replace").rpartition(f"\n{end} ")
        return int(status), text

    def _read_until(self, end: bytes) -> bytes:
        assert self._bash.stdout is not None
        output, last = b"", re.compile(rb"\n" + end + rb" \d+\n$")
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._bash.stdout, selectors.EVENT_READ)
            deadline = time.monotonic() + OUTPUT_TIMEOUT
            while not last.search(output):
                if not waiting.select(max(0.0, deadline - time.monotonic())):
                    raise Differs(
                        f"no output within {OUTPUT_TIMEOUT:.0f} s, after:\n{output.decode()}"
                    )
                read = os.read(self._bash.stdout.fileno(), 1 << 16)
                if not read:
                    raise Differs(f"the shell ended, after:\n{output.decode()}")
                output += read
        return output


def matches(shown: list[str], output: str) -> bool:
    """Return whether the lines of a page match an output; the amount of white space is ignored."""
    lines = [line for line in shown if line.strip()]
    pattern = "".join(
        r"(?:.*\n)*?" if line.strip() == ANY else f"{_line(line)}\n" for line in lines
    )
    actual = "".join(f"{' '.join(line.split())}\n" for line in output.splitlines() if line.strip())
    return bool(re.fullmatch(pattern, actual))


def _line(line: str) -> str:
    return ".*?".join(re.escape(part) for part in " ".join(line.split()).split(ANY))
