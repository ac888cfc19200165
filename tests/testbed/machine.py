"""The machine outside all beds, which a bed must leave as it was.

A look made for one bed skips what belongs to other beds that are up.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from testbed import clean, inventory, layout
from testbed.inventory import Inventory, Section
from testbed.mounts import SHIELDED
from testbed.processes import argv0, namespace, pids, start_time


def machine(bed: str | None = None) -> Inventory:
    """Return an inventory of the machine, and of the processes in all beds or in `bed` alone.

    The sections are links, mounts, files, sysctls, control groups and the like outside all beds.
    """
    others = (
        tuple(str(layout.directory(name)) for name in clean.names() if name != bed) if bed else ()
    )
    if bed:  # named network namespaces of other programs: a bed has its own /run
        others += ("/run/netns",)
    mounts = {
        point: fact for point, fact in inventory.mounts().items() if not point.startswith(others)
    }
    files = {
        path: fact
        for path, fact in (inventory.files() | _names()).items()
        if not path.startswith(others)
    }
    if set(others) & set(map(str, layout.ROOT.glob("*"))):  # it exists as long as any bed does
        files.pop(str(layout.ROOT))
    return {
        "links": inventory.links(),
        "addresses": inventory.addresses(),
        "routes": inventory.routes(),
        "rules": inventory.rules(),
        "qdiscs": inventory.qdiscs(),
        "firewall": inventory.firewall(),
        "mounts": mounts,
        "files": files,
        "sysctls": inventory.sysctls()
        | {name: Path("/proc/sys", name).read_text().strip() for name in SHIELDED},
        "cgroups": {str(group): "" for group, owner in clean.groups() if bed in (None, owner)},
        "processes": dict(processes(bed)),
    }


def _names() -> Section:
    """Return the names in /run and in the beds' directory, and those with our prefix in /tmp."""
    found = [
        *Path("/run").iterdir(),
        *layout.ROOT.glob("*"),
        *Path("/tmp").glob(f"{layout.PREFIX}*"),
    ]
    return {str(path): "" for path in found}


def processes(bed: str | None) -> Iterator[tuple[str, str]]:
    """Yield each process that is not in this process's PID and network namespaces.

    With `bed`, only processes of that bed.
    """
    owners = {_namespaces(pid)[0]: name for pid, name in clean.inits()}
    own = _namespaces(os.getpid())
    for pid in filter(start_time, pids()):
        with suppress(OSError):  # it ended meanwhile
            spaces = _namespaces(pid)
            if spaces != own and bed in (None, owners.get(spaces[0])):
                yield str(pid), f"{owners.get(spaces[0], 'no bed')}: {argv0(pid)}"


def _namespaces(pid: int) -> tuple[str, str]:
    return namespace(pid, "pid"), namespace(pid, "net")
