"""The machine as a whole: what a bed must leave as it found it. A look at one bed passes over the others that live."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from testbed import clean, inventory, layout
from testbed.inventory import Inventory, Section
from testbed.mounts import SHIELDED
from testbed.service import start_time
from testbed.space import argv0


def machine(bed: str | None = None) -> Inventory:
    """Links, mounts, files, sysctls and control groups outside all beds, and the processes inside them."""
    others = (
        tuple(str(layout.directory(name)) for name in clean.names() if name != bed) if bed else ()
    )
    if bed:  # namespaces that somebody named outside all beds: a bed has a /run of its own
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
    """What lies directly under /run and in the beds' own folder, and anything of ours in /tmp."""
    found = [
        *Path("/run").iterdir(),
        *layout.ROOT.glob("*"),
        *Path("/tmp").glob(f"{layout.PREFIX}*"),
    ]
    return {str(path): "" for path in found}


def processes(bed: str | None) -> Iterator[tuple[str, str]]:
    """Every process in a PID or network namespace of its own: of `bed`, or of anybody."""
    owners = {_namespaces(pid)[0]: name for pid, name in clean.inits()}
    home = _namespaces(os.getpid())
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or not start_time(pid := int(entry.name)):
            continue
        with suppress(OSError):
            spaces = _namespaces(pid)
            if spaces != home and bed in (None, owners.get(spaces[0])):
                yield str(pid), f"{owners.get(spaces[0], 'nobody')}: {argv0(pid)}"


def _namespaces(pid: int) -> tuple[str, str]:
    return os.readlink(f"/proc/{pid}/ns/pid"), os.readlink(f"/proc/{pid}/ns/net")
