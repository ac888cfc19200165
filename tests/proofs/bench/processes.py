"""Programs started as a runtime starts them, and how long each took from its start to its end."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from time import perf_counter

# The most programs of `timed` at a time.
AT_ONCE = 64
# The search path of a job that does not set one.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Job:
    """One run of a program."""

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """How a program ended.

    `part_ms` is the share that an implementation wants measured separately, `cpu_ms` the processor
    time of the program.
    """

    ms: float
    code: int
    out: str
    part_ms: float = 0
    cpu_ms: float = 0


@dataclass(frozen=True, slots=True)
class Running:
    """A running program. Both its output streams go into one memory file."""

    pid: int
    began: float
    output: int

    @classmethod
    def start(cls, job: Job) -> Running:
        """Start the program with only these environment variables."""
        given, output = os.memfd_create("stdin"), os.memfd_create("output")
        os.write(given, job.stdin.encode())
        os.lseek(given, 0, os.SEEK_SET)
        streams = [
            (os.POSIX_SPAWN_DUP2, fd, number)
            for fd, number in ((given, 0), (output, 1), (output, 2))
        ]
        began = perf_counter()
        try:
            pid = os.posix_spawnp(
                job.argv[0], [*job.argv], {"PATH": PATH, **job.env}, file_actions=streams
            )
        finally:
            os.close(given)
        return cls(pid, began, output)

    def ended(self, status: int, used: resource.struct_rusage) -> Done:
        """Return how the program ended, by its wait status and what it used."""
        ms = (perf_counter() - self.began) * 1000
        size = os.lseek(self.output, 0, os.SEEK_END)
        text = os.pread(self.output, size, 0).decode(errors="replace")
        os.close(self.output)
        cpu_ms = (used.ru_utime + used.ru_stime) * 1000
        return Done(ms, os.waitstatus_to_exitcode(status), text, cpu_ms=cpu_ms)


def one(job: Job) -> Done:
    """Run a program to its end."""
    running = Running.start(job)
    return running.ended(*os.wait4(running.pid, 0)[1:])


def shared(job: Job) -> list[Done]:
    """Run a program that serves several pods and prints when it had served each.

    Return an item for each pod, or only one of a program that failed.
    """
    running = Running.start(job)
    done = running.ended(*os.wait4(running.pid, 0)[1:])
    return [done] if done.code else served(done, running.began)


def served(done: Done, began: float) -> list[Done]:
    """Return an item for each line of the output, a time on the clock of `perf_counter`.

    The processor time is shared out equally.
    """
    ends = [float(line) for line in done.out.split()]
    return [
        replace(done, ms=(end - began) * 1000, out="", cpu_ms=done.cpu_ms / len(ends))
        for end in ends
    ]


def together(jobs: Sequence[Job]) -> list[Done]:
    """Run all programs at once. Only for a process without other children."""
    running = [Running.start(job) for job in jobs]
    ended: dict[int, Done] = {}
    by_pid = {each.pid: each for each in running}
    while len(ended) < len(running):
        pid, status, used = os.wait4(-1, 0)
        ended[pid] = by_pid[pid].ended(status, used)
    return [ended[each.pid] for each in running]


def timed(jobs: Sequence[tuple[float, Job]]) -> list[Done]:
    """Start each program after so many seconds, whether those before it have ended or not.

    Jobs are in the order of their seconds.
    """
    began = perf_counter()
    running = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for at, job in jobs:
            time.sleep(max(0.0, began + at - perf_counter()))
            running.append(pool.submit(one, job))
    return [each.result() for each in running]
