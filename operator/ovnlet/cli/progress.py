"""A progress line on standard error, only on a terminal and only until the command is done."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
    from rich.console import Console  # noqa: PLC0415 - its import is slow, and only a terminal needs it
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    console = Console(stderr=True)
    # Standard output that is a pipe must not be redirected to the terminal.
    with Progress(
        *columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty()
    ) as shown:
        task = shown.add_task(title, total=None)
        yield lambda text: shown.update(task, description=text)
