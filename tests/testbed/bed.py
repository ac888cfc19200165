"""A bed: a name, a directory, a control space and nodes."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from testbed import clean, identities, layout, progress, raft, startup
from testbed.api import Api
from testbed.controlplane import ControlPlane
from testbed.identities import Identities
from testbed.node import Node
from testbed.processes import start_time
from testbed.service import BedError
from testbed.space import CLEAN, Space
from testbed.virtual_node import VirtualNode

UNRECORDED_TIMEOUT = 3.0  # seconds for which a bed's directory may be without its bed.json


@dataclass(slots=True)
class Bed:
    """A named bed, as a context manager that is up until its end.

    `up` and `down` do the same without one; `attach` finds a bed that another process has made.
    """

    name: str
    parts: frozenset[str]
    node_count: int
    api_port: int
    etcd_port: int
    control: Space | None = None
    nodes: list[Node] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    @classmethod
    def up(cls, name: str, *, nodes: int = 1, parts: Collection[str] = layout.ALL_PARTS) -> Self:
        """Start `parts` and what connects them; return when all of it is ready.

        Raises BedError if a part is unknown or a bed of that name is up. If anything else fails, it
        removes what it has made and raises the error.
        """
        if unknown := set(parts) - layout.KNOWN_PARTS:
            raise BedError(
                f"no such parts: {', '.join(sorted(unknown))}; "
                f"known: {', '.join(sorted(layout.KNOWN_PARTS))}"
            )
        if cls.is_alive(name):
            raise BedError(f"bed {name} is up already")
        clean.remove(name)
        count = nodes if set(parts) & layout.NODE_PARTS else 0
        bed = cls(name, frozenset(parts), count, *startup.free_ports())
        bed._create_directory()
        try:
            startup.start(bed)
            bed._write_record(ready=True)
        except BaseException:
            clean.remove(name)
            raise
        bed.say("bed is up")
        return bed

    @classmethod
    def attach(cls, name: str) -> Self:
        """Return a bed that is up; raise BedError if none of that name is."""
        if not cls.is_alive(name):
            raise BedError(f"no bed {name} is up")
        record = _read_record(name)
        bed = cls(
            name,
            frozenset(record["parts"]),
            record["nodes"],
            record["api_port"],
            record["etcd_port"],
        )
        if (bed.directory / layout.CONTROL / "space.json").exists():
            bed.control = Space.load(name, layout.CONTROL)
        bed.nodes = [Node.load(name, f"n{index}") for index in range(bed.node_count)]
        if (bed.directory / "n0" / layout.BOOTED).exists():
            bed.nodes[0] = VirtualNode.of(bed.nodes[0])
        return bed

    @classmethod
    def is_alive(cls, name: str) -> bool:
        """Return whether it is up with every space, or a process that still runs is starting it."""
        if not (record := _read_record(name)):
            directory = layout.directory(name)
            return (
                directory.exists() and time.time() - directory.stat().st_mtime < UNRECORDED_TIMEOUT
            )
        if not record["ready"]:
            return bool(start_time(record["pid"]) == record["began"])
        roles = [path.parent.name for path in layout.directory(name).glob("*/space.json")]
        return all(Space.load(name, role).alive for role in roles)

    def down(self) -> None:
        """End every process of the bed and remove every trace of it."""
        began = time.monotonic()
        clean.remove(self.name)
        progress.say(f"  [{time.monotonic() - began:4.1f} s] bed {self.name} is down")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.down()

    @property
    def directory(self) -> Path:
        """All files of the bed."""
        return layout.directory(self.name)

    @property
    def ids(self) -> Identities:
        """The certificates, tokens and kubeconfigs of the bed."""
        return Identities(self.directory / "ids")

    @property
    def networked(self) -> bool:
        """Whether the control space has its own network, as it has once a node must reach it."""
        return bool(self.parts & (layout.NODE_PARTS - {layout.OVS} | {layout.RAFT}))

    @property
    def control_plane(self) -> ControlPlane:
        """The API server as the bed's own programs see it; BedError without a control space."""
        if self.control is None:
            raise BedError(f"bed {self.name} has no control space")
        if self.networked:
            return ControlPlane(
                self.control, self.ids, layout.CONTROL_IP, layout.API_PORT, self.etcd_port
            )
        return ControlPlane(self.control, self.ids, "127.0.0.1", self.api_port, self.etcd_port)

    @property
    def api_url(self) -> str:
        """The API server's URL for clients on this machine, outside the bed."""
        return f"https://127.0.0.1:{self.api_port}"

    @property
    def token(self) -> str:
        """The administrator's token."""
        return self.ids.token(identities.ADMIN)

    @property
    def api(self) -> Api:
        """A client outside the bed, with the administrator's rights."""
        return Api(self.api_url, self.ids.ca, self.token)

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig for clients outside the bed."""
        return self.ids.kubeconfig(identities.ADMIN, self.api_url)

    @property
    def inner_kubeconfig(self) -> Path:
        """The administrator's kubeconfig for clients in the bed's spaces."""
        return self.ids.kubeconfig(identities.ADMIN, self.control_plane.url, "admin-inside")

    @property
    def audit_log(self) -> Path:
        """The API server's audit log."""
        return self.control_plane.audit_log

    def node(self, index: int = 0) -> Node:
        """Return a node by its number."""
        return self.nodes[index]

    def reboot(self, index: int = 0) -> Node:
        """Cut the node's power, start it again and return it; its space is a new one."""
        startup.reboot(self, index)
        self.say(f"n{index}: rebooted")
        return self.nodes[index]

    def space(self, role: str | None) -> Space:
        """Return a space by its role, such as `n0`, `ctl` or `db0`; without one, the first."""
        spaces = [*self.nodes, *([self.control] if self.control else [])]
        spaces += [each.space for each in raft.members(self)] if layout.RAFT in self.parts else []
        for space in spaces:
            if role in (None, space.role):
                return space
        raise BedError(
            f"bed {self.name} has no {role}; there are {', '.join(space.role for space in spaces)}"
        )

    def kubectl(self, *words: str, stdin: str | None = None, timeout: float = 60) -> str:
        """Run kubectl as the administrator and return its output; raise BedError if it fails."""
        done = subprocess.run(
            [
                "kubectl",
                f"--kubeconfig={self.kubeconfig}",
                f"--cache-dir={self.directory}/kubectl",
                *words,
            ],
            input="" if stdin is None else stdin,
            env=CLEAN,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            raise BedError(
                f"kubectl {' '.join(words)}: status {done.returncode}: {done.stderr.strip()}"
            )
        return done.stdout

    def nbctl(self, *words: str) -> str:
        """Run ovn-nbctl and return its output."""
        return self.control_plane.space.run(["ovn-nbctl", "--timeout=10", *words])

    def sbctl(self, *words: str) -> str:
        """Run ovn-sbctl and return its output."""
        return self.control_plane.space.run(["ovn-sbctl", "--timeout=10", *words])

    def wipe_northbound(self) -> None:
        """Delete every row of OVN's northbound database in one transaction."""
        tables = ("Logical_Switch", "Logical_Router", "Load_Balancer", "Load_Balancer_Group")
        self._northbound(*({"op": "delete", "table": table, "where": []} for table in tables))

    def northbound_rows(self, table: str, *columns: str) -> list[dict[str, Any]]:
        """Return columns of all rows of a table of OVN's northbound database, as OVSDB has them.

        A row's `_version` is another after each write to it.
        """
        op = {"op": "select", "table": table, "where": [], "columns": list(columns)}
        return list(self._northbound(op)[0]["rows"])

    def _northbound(self, *ops: Mapping[str, object]) -> list[dict[str, Any]]:
        transaction = json.dumps(["OVN_Northbound", *ops])
        socket = "unix:/run/ovn/ovnnb_db.sock"
        answer = self.control_plane.space.run(["ovsdb-client", "transact", socket, transaction])
        return list(json.loads(answer))

    def say(self, text: str) -> None:
        """Show a line of progress with the seconds since the bed's start."""
        progress.say(f"  [{time.monotonic() - self.began:4.1f} s] {text}")

    def _create_directory(self) -> None:
        """Claim the bed's name by its directory, which only one process can create."""
        layout.ROOT.mkdir(parents=True, exist_ok=True)
        self.directory.mkdir()
        mount: Sequence[str | Path] = [
            "mount",
            "-n",
            "-t",
            "tmpfs",
            f"{layout.PREFIX}{self.name}",
            self.directory,
        ]
        subprocess.run(mount, check=True)
        self._write_record(ready=False)

    def _write_record(self, *, ready: bool) -> None:
        record: dict[str, Any] = {
            "parts": sorted(self.parts),
            "nodes": self.node_count,
            "ready": ready,
        }
        record |= {"api_port": self.api_port, "etcd_port": self.etcd_port}
        record |= {"pid": os.getpid(), "began": start_time(os.getpid())}
        (self.directory / "bed.json").write_text(json.dumps(record))


def _read_record(name: str) -> dict[str, Any]:
    path = layout.directory(name) / "bed.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}
