"""Removal of beds by their names alone: processes, mounts, control groups and directories.

It works on whatever a killed run left behind.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from testbed import layout
from testbed.mounts import CGROUPS
from testbed.processes import argv0, pids, start_time
from testbed.service import BedError, wait_for

SPACE = re.compile(rf"{layout.PREFIX}({layout.NAME.pattern})-(?:ctl|n\d+|db\d)")


def names() -> set[str]:
    """Return the name of every bed that has left a trace."""
    traces = {bed for _, bed in inits()} | {bed for _, bed in groups()}
    if layout.ROOT.is_dir():
        traces |= {path.name for path in layout.ROOT.iterdir()}
    return traces


def inits() -> Iterator[tuple[int, str]]:
    """Yield the PID of every space's init, with the name of its bed."""
    for pid in pids():
        if found := SPACE.fullmatch(argv0(pid)):
            yield pid, found.group(1)


def groups() -> Iterator[tuple[Path, str]]:
    """Yield the top control group of every space, once for each controller, with its bed's name."""
    for group in CGROUPS.glob(f"*/{layout.PREFIX}*"):
        if found := SPACE.fullmatch(group.name):
            yield group, found.group(1)


def remove(bed: str) -> None:
    """End every process of a bed, and remove its files and control groups, if it has any."""
    for pid in [pid for pid, owner in inits() if owner == bed]:
        began = start_time(pid)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        wait_for(partial(_ended, pid, began), f"process {pid} to end", every=0.005)
    directory = layout.directory(bed)
    if directory.exists():
        while os.path.ismount(directory):
            wait_for(partial(_unmounted, directory), f"{directory} to be unmounted", timeout=10)
        shutil.rmtree(directory)
    with suppress(OSError):
        layout.ROOT.rmdir()
    for group in [group for group, owner in groups() if owner == bed]:
        wait_for(partial(_group_gone, group), f"{group} to be empty", timeout=10)


def remove_groups(space: str) -> None:
    """Remove the control groups of a space whose processes have ended, as a power cut does."""
    for group in CGROUPS.glob(f"*/{space}"):
        wait_for(partial(_group_gone, group), f"{group} to be empty", timeout=10)


def _ended(pid: int, began: int) -> bool:
    """Return whether the process that started at ``began`` has ended."""
    return start_time(pid) != began


def _unmounted(directory: Path) -> bool:
    """Try to unmount, and return whether that worked."""
    return (
        subprocess.run(["umount", "-n", directory], capture_output=True, check=False).returncode
        == 0
    )


def _group_gone(group: Path) -> bool:
    """Remove a control group from its leaves up, and return whether that worked."""
    try:
        for folder, _, _ in os.walk(group, topdown=False):
            Path(folder).rmdir()
    except OSError:
        return False
    return True


def leftovers(bed: str) -> list[str]:
    """Return what `remove` would still find of a bed."""
    found = [f"process {pid}" for pid, owner in inits() if owner == bed]
    found += [str(group) for group, owner in groups() if owner == bed]
    return found + [str(layout.directory(bed))] * layout.directory(bed).exists()


def clean(*, everything: bool = False) -> list[str]:
    """Remove the beds that are not alive, or all of them, and return their names.

    Raises BedError if a bed leaves something.
    """
    from testbed.bed import Bed  # noqa: PLC0415 - a bed removes itself through this module

    removed = []
    for bed in sorted(names()):
        if everything or not Bed.is_alive(bed):
            remove(bed)
            removed.append(bed)
            if left := leftovers(bed):
                raise BedError(f"bed {bed} left {', '.join(left)}")
    return removed
