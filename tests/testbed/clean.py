"""Removing beds by their names alone: processes, mounts, control groups, directories, whatever a killed run left."""

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
from testbed.service import BedError, start_time, wait_for
from testbed.space import argv0

SPACE = re.compile(rf"{layout.PREFIX}({layout.NAME.pattern})-(?:ctl|n\d+)")


def names() -> set[str]:
    """Every bed that has left a trace."""
    traces = {bed for _, bed in inits()} | {bed for _, bed in groups()}
    if layout.ROOT.is_dir():
        traces |= {path.name for path in layout.ROOT.iterdir()}
    return traces


def inits() -> Iterator[tuple[int, str]]:
    """The first process of every space, with its bed's name."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (found := SPACE.fullmatch(argv0(int(entry.name)))):
            yield int(entry.name), found.group(1)


def groups() -> Iterator[tuple[Path, str]]:
    """The top control group of every space, per controller."""
    for group in CGROUPS.glob(f"*/{layout.PREFIX}*"):
        if found := SPACE.fullmatch(group.name):
            yield group, found.group(1)


def remove(bed: str) -> None:
    """Take away everything of one bed; harmless when there is nothing."""
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
    """The control groups of a space whose processes are dead: a machine without power keeps none."""
    for group in CGROUPS.glob(f"*/{space}"):
        wait_for(partial(_group_gone, group), f"{group} to be empty", timeout=10)


def _ended(pid: int, began: int) -> bool:
    return start_time(pid) != began


def _unmounted(directory: Path) -> bool:
    return (
        subprocess.run(["umount", "-n", directory], capture_output=True, check=False).returncode
        == 0
    )


def _group_gone(group: Path) -> bool:
    """Control groups are removed from the leaves up."""
    try:
        for folder, _, _ in os.walk(group, topdown=False):
            Path(folder).rmdir()
    except OSError:
        return False
    return True


def leftovers(bed: str) -> list[str]:
    """What `remove` would still find."""
    found = [f"process {pid}" for pid, owner in inits() if owner == bed]
    found += [str(group) for group, owner in groups() if owner == bed]
    return found + [str(layout.directory(bed))] * layout.directory(bed).exists()


def clean(*, everything: bool = False) -> list[str]:
    """Remove the beds that are not alive (or all); the names of those removed."""
    from testbed.bed import Bed  # noqa: PLC0415 - a bed removes itself through this module

    removed = []
    for bed in sorted(names()):
        if everything or not Bed.is_alive(bed):
            remove(bed)
            removed.append(bed)
            if left := leftovers(bed):
                raise BedError(f"bed {bed} left {', '.join(left)}")
    return removed
