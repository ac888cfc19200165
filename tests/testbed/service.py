"""Processes the bed keeps running, and waiting for what they bring about: by looking, never by a fixed sleep."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

TAIL = 20


class BedError(RuntimeError):
    """The bed cannot do what was asked; the message holds the log's end where there is one."""


def start_time(pid: int) -> int:
    """When the kernel started this process, in ticks: a pid alone may have been handed on. 0: it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def wait_for(
    look: Callable[[], T | None], what: str, timeout: float = 30, every: float = 0.02
) -> T:
    """The first true answer of `look`, which is asked until then."""
    end = time.monotonic() + timeout
    while not (answer := look()):
        if time.monotonic() > end:
            raise BedError(f"{what}: not within {timeout:g} s")
        time.sleep(every)
    return answer


@dataclass(frozen=True, slots=True)
class Service:
    """A running program, known by its pid in the machine's own PID namespace and by when it began."""

    name: str
    pid: int
    began: int
    log: Path

    @property
    def alive(self) -> bool:
        return self.began != 0 and start_time(self.pid) == self.began

    def send(self, number: signal.Signals) -> None:
        if self.alive:
            os.kill(self.pid, number)

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = 10) -> None:
        """End it and see it gone; what does not listen is killed."""
        self.send(number)
        try:
            wait_for(lambda: not self.alive, f"{self.name} to end", timeout)
        except BedError:
            self.send(signal.SIGKILL)
            wait_for(lambda: not self.alive, f"{self.name} to be killed", timeout)

    def wait_ready(self, look: Callable[[], T | None], timeout: float = 30) -> T:
        """Wait for a sign of life, and no longer than the process lives."""

        def living() -> T | None:
            if not self.alive:
                raise BedError(f"{self.name} ended:\n{self.tail()}")
            return look()

        try:
            return wait_for(living, f"{self.name} ready", timeout)
        except BedError as error:
            raise BedError(f"{error}\n{self.tail()}") from error

    def tail(self) -> str:
        return (
            "\n".join(self.log.read_text(errors="replace").splitlines()[-TAIL:])
            if self.log.exists()
            else ""
        )
