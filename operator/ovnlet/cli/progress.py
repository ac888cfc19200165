"""What a command is doing, where somebody waits for it: on a terminal, on standard error, and gone when it is done."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Say = Callable[[str], None]


@contextmanager
def progress(title: str) -> Iterator[Say]:
    """A spinner with ``title`` and the seconds so far; what is said takes the title's place.

    Where standard error is a pipe, a file or a log there is none of it. What the command prints meanwhile stands above.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415 - only people wait for its import
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    console = Console(stderr=True)
    # A pipe's output must not be drawn into the way to the terminal.
    with Progress(
        *columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty()
    ) as shown:
        task = shown.add_task(title, total=None)
        yield lambda text: shown.update(task, description=text)
