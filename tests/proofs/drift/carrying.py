"""Carry out a run from provisioning to the report, however it ends."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import TypeVar

from rich.console import Console

from proofs.drift.environment import Environment
from proofs.drift.report import Report, RunAborted
from testbed import progress
from testbed.service import BedError

E = TypeVar("E", bound=Environment)


def heed_signals() -> None:
    """Make SIGTERM and SIGINT end the work as an interrupt does, so that the bed is removed.

    A shell starts a program in the background with SIGINT ignored.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)


def carry_out(
    report: Report,
    stage: AbstractContextManager[E],
    work: Callable[[E], None],
    mode: str = "",
) -> None:
    """Do the work on the stage, then write and show the report."""
    heed_signals()
    began = time.monotonic()
    try:
        with stage as env:
            work(env)
    except (BedError, RunAborted, KeyboardInterrupt) as error:
        progress.say(f"stopped: {error!r}")
        report.prove("the run was completed", False, str(error)[:300] or "it was interrupted")
    finally:
        minutes = (time.monotonic() - began) / 60
        started = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        head = f"{report.pods} pods, seed {report.seed}, {started}, {minutes:.1f} min"
        report.write(mode, head)
        report.show(Console(width=None if sys.stdout.isatty() else 150), head)
