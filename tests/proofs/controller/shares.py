"""The processor time of the programs that share the machine with the controller.

It gives a floor: whatever the controller does, the others need their time on the machine's cores.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from proofs.bench.measures import Measure
from testbed import processes
from testbed.bed import Bed

# Programs of the bed's control space, by their name in the report.
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

    def measures(self, what: str) -> list[Measure]:
        """Return each program's seconds, and the floor that they make, as rows about ``what``."""
        used = {name: spent - self._before[name] for name, spent in self._read().items()}
        floor = sum(used.values()) / (os.cpu_count() or 1)
        rows = [(f"CPU of {name}", spent) for name, spent in used.items()]
        rows.append(("floor: their CPU, over the cores", floor))
        return [Measure(f"{what}, {name}", round(spent, 2), "s", None) for name, spent in rows]

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


def waited(pid: int) -> float:
    """Return the seconds for which a process's threads could run and had no processor."""
    seconds = 0.0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with suppress(FileNotFoundError, ProcessLookupError):  # the thread ended meanwhile
            seconds += int(path.read_text().split()[1]) / 1e9
    return seconds
