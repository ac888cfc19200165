"""Progress of the bed with durations: a spinner on a terminal, plain lines anywhere else.

Standard library only, with rich where it is installed: the first program that runs on a fresh
machine prints through it.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Protocol

TAIL = 40
EVERY = 15.0


class Spinner(Protocol):
    """The one method of rich's Status that is used."""

    def update(self, status: str) -> object:
        """Show another text."""


class Step:
    """One step under way."""

    def __init__(self, title: str, spinner: Spinner | None) -> None:
        self.title = title
        self.spinner = spinner
        self.began = self.reported = time.monotonic()

    @property
    def seconds(self) -> float:
        """The seconds since the step began."""
        return time.monotonic() - self.began

    def note(self, text: str) -> None:
        """Show how far the step is; without a terminal only every 15 s."""
        if self.spinner is not None:
            self.spinner.update(f"{self.title}: {text}")
        elif time.monotonic() - self.reported >= EVERY:
            self.reported = time.monotonic()
            say(f"  {self.title}: {text} ({self.seconds:.0f} s)")


def say(text: str) -> None:
    """Print a line of progress to standard error: standard output is for results."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def step(title: str) -> Iterator[Step]:
    """Show `title` while the body runs, and afterwards how long it took."""
    with _spinner(title) as spinner:
        if spinner is None:
            say(f"  {title} ...")
        running = Step(title, spinner)
        try:
            yield running
        except BaseException:
            say(f"  {title}: failed after {running.seconds:.1f} s")
            raise
    say(f"  {title}: {running.seconds:.1f} s")


@contextmanager
def _spinner(title: str) -> Iterator[Spinner | None]:
    if sys.stderr.isatty():
        with suppress(ImportError):
            from rich.console import Console  # noqa: PLC0415 - may be missing

            with Console(stderr=True).status(title) as status:
                yield status
            return
    with nullcontext():
        yield None


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] | None = None,
) -> str:
    """Run a program and return its output, both streams together.

    SystemExit if it fails, after printing the last 40 lines. ``on_line`` gets each line as it is
    printed.
    """
    words = [str(word) for word in argv]
    lines: list[str] = []
    with subprocess.Popen(
        words,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if on_line:
                on_line(line.rstrip("\n"))
    if process.returncode:
        say("".join(lines[-TAIL:]).rstrip())
        raise SystemExit(f"failed with status {process.returncode}: {' '.join(words)}")
    return "".join(lines)
