"""A progress line on standard error, only on a terminal and only until the command is done."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

Update = Callable[[str], None]


@contextmanager
def progress(title: str) -> Iterator[Update]:
    """Show a spinner, ``title`` and the time so far; yield a function that replaces the title.

    Shows nothing if standard error is no terminal. What the command prints meanwhile appears above
    the line.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    with _line() as shown:
        task = shown.add_task(title, total=None)
        yield lambda text: shown.update(task, description=text)


@contextmanager
def bar(title: str, total: int) -> Iterator[Callable[[], None]]:
    """Do the same with a bar of ``total`` parts; yield a function that counts one as done."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    with _line(counted=True) as shown:
        task = shown.add_task(title, total=total)
        yield lambda: shown.advance(task)


def _line(*, counted: bool = False) -> "Progress":
    """Return a line with a spinner, the title and the time, and a bar if parts are counted."""
    # Their import is slow, and only a terminal needs it.
    from rich import progress as parts  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415

    text = parts.TextColumn("{task.description}", markup=False)
    middle = (parts.BarColumn(), parts.MofNCompleteColumn()) if counted else ()
    # Standard output that is a pipe must not be redirected to the terminal.
    return parts.Progress(
        *(parts.SpinnerColumn(), text, *middle, parts.TimeElapsedColumn()),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
    )
