"""Branch coverage of processes that tests start where this process's environment does not reach."""

import os


def environment() -> dict[str, str]:
    """Return the variables by which coverage measures a Python process; none without coverage.

    `coverage run` sets them for its children. A bed's space passes on no environment, so a test
    adds these to what it gives a process there. A process killed by SIGKILL leaves no data.
    """
    return {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
