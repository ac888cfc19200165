"""A process that the bed keeps running, and waiting for an effect by looking for it.

Nothing here sleeps for a fixed time instead of looking.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from testbed.processes import start_time

T = TypeVar("T")

TAIL = 20


class BedError(RuntimeError):
    """The bed cannot do what was asked; the message has the end of the log where there is one."""


def wait_for(
    look: Callable[[], T | None], what: str, timeout: float = 30, every: float = 0.02
) -> T:
    """Call ``look`` until its answer is true, and return that answer.

    Blocks for at most ``timeout`` seconds, then raises BedError; sleeps ``every`` seconds between
    two calls.
    """
    end = time.monotonic() + timeout
    while not (answer := look()):
        if time.monotonic() > end:
            raise BedError(f"{what}: not within {timeout:g} s")
        time.sleep(every)
    return answer


@dataclass(frozen=True, slots=True)
class Service:
    """A running program, identified by its PID on the machine and its start time."""

    name: str
    pid: int
    began: int
    log: Path

    @property
    def alive(self) -> bool:
        """Whether the same process still runs."""
        return self.began != 0 and start_time(self.pid) == self.began

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        if self.alive:
            os.kill(self.pid, number)

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = 10) -> None:
        """Send ``number`` and wait for the process's end; after ``timeout`` s send SIGKILL."""
        self.send(number)
        try:
            wait_for(lambda: not self.alive, f"{self.name} to end", timeout)
        except BedError:
            self.send(signal.SIGKILL)
            wait_for(lambda: not self.alive, f"{self.name} to be killed", timeout)

    def kill(self) -> None:
        """Send SIGKILL and wait for the process's end."""
        self.stop(signal.SIGKILL)

    def wait_ready(self, look: Callable[[], T | None], timeout: float = 30) -> T:
        """Wait until ``look`` answers true, and return its answer.

        Raises BedError with the end of the log after ``timeout`` seconds, or as soon as the
        process ends.
        """

        def look_while_alive() -> T | None:
            if not self.alive:
                raise BedError(f"{self.name} ended:\n{self.tail()}")
            return look()

        try:
            return wait_for(look_while_alive, f"{self.name} ready", timeout)
        except BedError as error:
            raise BedError(f"{error}\n{self.tail()}") from error

    def tail(self) -> str:
        """Return the last lines of the log, empty if there is none."""
        return (
            "\n".join(self.log.read_text(errors="replace").splitlines()[-TAIL:])
            if self.log.exists()
            else ""
        )
