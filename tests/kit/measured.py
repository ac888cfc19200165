"""Coverage by tests: of processes that they start elsewhere, and none where it costs too much."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def environment() -> dict[str, str]:
    """Return the variables by which coverage measures a Python process; none without coverage.

    `coverage run` sets them for its children. A bed's space passes on no environment, so a test
    adds these to what it gives a process there. A process killed by SIGKILL leaves no data.
    """
    return {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}


@contextmanager
def paused() -> Iterator[None]:
    """Measure nothing in this process meanwhile: tracing doubles the time of computations."""
    module = sys.modules.get("coverage")
    running = module.Coverage.current() if module else None
    if running is None:
        yield
        return
    running.stop()
    try:
        yield
    finally:
        running.start()
