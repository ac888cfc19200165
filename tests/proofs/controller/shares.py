"""The processor time of the programs that share the machine with the controller: its floor.

With two cores for all of them, a burst cannot take less than half of what the others need.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from testbed import processes
from testbed.bed import Bed

# By what is told: the programs of the bed's control space.
_PROGRAMS = {
    "API server and etcd": ("kube-apiserver", "etcd"),
    "OVN": ("ovn-northd", "ovsdb-server"),
}
GENERATOR = "the load generator"


class Shares:
    """Seconds of processor time by program, since the object was made."""

    def __init__(self, bed: Bed) -> None:
        assert bed.control is not None
        self._space = processes.namespace(bed.control.pid, "pid")
        self._before = self._read()

    def __iter__(self) -> Iterator[tuple[str, float]]:
        """Yield each program's name and the seconds that it has used."""
        for name, seconds in self._read().items():
            yield name, round(seconds - self._before[name], 2)

    def _read(self) -> dict[str, float]:
        spent = dict.fromkeys((*_PROGRAMS, GENERATOR), 0.0)
        spent[GENERATOR] = sum(os.times()[:2])
        for pid in processes.pids():
            with suppress(OSError):  # it ended meanwhile, or may not be looked at
                if processes.namespace(pid, "pid") == self._space:
                    program = Path(processes.argv0(pid)).name
                    for name, programs in _PROGRAMS.items():
                        spent[name] += cpu(pid) if program in programs else 0.0
        return spent


def cpu(pid: int) -> float:
    """Return the processor time of a process in seconds: its own share of a busy machine."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
