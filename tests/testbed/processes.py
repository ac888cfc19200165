"""Processes in /proc, found by PID, by PID namespace or by their exact argv.

This is the one place that reads process tables. Nothing here matches a pattern over all processes
of the machine: another bed, or the machine itself, may run the same programs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
GONE = (FileNotFoundError, ProcessLookupError)


def pids(proc: Path = PROC) -> Iterator[int]:
    """Yield every PID that the procfs at ``proc`` shows."""
    return (int(entry.name) for entry in proc.iterdir() if entry.name.isdecimal())


def start_time(pid: int) -> int:
    """Return when the kernel started this process, in ticks, or 0 if it has ended.

    A PID alone does not identify a process: the kernel gives it to another one later.
    """
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except GONE:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def children(pid: int) -> list[int]:
    """Return the PIDs of a process's children, none if it has ended."""
    try:
        text = (PROC / str(pid) / "task" / str(pid) / "children").read_text()
    except GONE:
        return []
    return [int(word) for word in text.split()]


def argv(pid: int, proc: Path = PROC) -> list[str]:
    """Return a process's argv, empty if it has ended or is a kernel thread."""
    try:
        text = (proc / str(pid) / "cmdline").read_bytes().decode(errors="replace")
    except GONE:
        return []
    return text.removesuffix("\0").split("\0") if text else []


def argv0(pid: int) -> str:
    """Return argv[0] of a process, empty if it has ended or is a kernel thread."""
    return next(iter(argv(pid)), "")


def started_as(words: Sequence[str], proc: Path = PROC) -> list[int]:
    """Return the PIDs in ``proc`` whose argv begins with exactly these words.

    With the procfs of a space as ``proc``, the PIDs are those of the space, and only processes of
    its PID namespace and of the containers in it are seen.
    """
    return [pid for pid in pids(proc) if argv(pid, proc)[: len(words)] == list(words)]


def namespace(pid: int, kind: str) -> str:
    """Return the identity of a process's namespace (``pid``, ``net``, ...); OSError if it ended."""
    return os.readlink(PROC / str(pid) / "ns" / kind)


def host_pid(init: int, inner: int) -> int:
    """Return this namespace's PID of the process that is ``inner`` beside ``init``, or 0.

    ``init`` is any process of the other PID namespace, by its PID in this one.
    """
    wanted = namespace(init, "pid")
    for pid in pids():
        with suppress(OSError):  # it ended meanwhile, or may not be looked at
            if namespace(pid, "pid") == wanted:
                status = (PROC / str(pid) / "status").read_text()
                if int(status.partition("NSpid:")[2].partition("\n")[0].split()[-1]) == inner:
                    return pid
    return 0
