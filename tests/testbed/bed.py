"""A bed: a name, a directory, a control space and its nodes. What a test holds in its hand."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from testbed import clean, identities, layout, progress, startup
from testbed.api import Api
from testbed.controlplane import ControlPlane
from testbed.identities import Identities
from testbed.node import Node
from testbed.service import BedError, start_time
from testbed.space import CLEAN, Space

NEWBORN = 3.0  # seconds in which a directory may not yet say whose it is


@dataclass(slots=True)
class Bed:
    """A context manager that is up until its end; or `up` and `down`; `attach` finds one that another process made."""

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
        """Start `parts` and what connects them; returns when all of it is ready."""
        if unknown := set(parts) - layout.ALL_PARTS:
            raise BedError(
                f"no such parts: {', '.join(sorted(unknown))}; known: {', '.join(sorted(layout.ALL_PARTS))}"
            )
        if cls.is_alive(name):
            raise BedError(f"bed {name} is up already")
        clean.remove(name)
        count = nodes if set(parts) & layout.NODE_PARTS else 0
        bed = cls(name, frozenset(parts), count, *startup.free_ports())
        bed._make_room()
        try:
            startup.start(bed)
            bed._remember(ready=True)
        except BaseException:
            clean.remove(name)
            raise
        bed.say("bed is up")
        return bed

    @classmethod
    def attach(cls, name: str) -> Self:
        """A bed that is up."""
        if not cls.is_alive(name):
            raise BedError(f"no bed {name} is up")
        memory = _memory(name)
        bed = cls(
            name,
            frozenset(memory["parts"]),
            memory["nodes"],
            memory["api_port"],
            memory["etcd_port"],
        )
        if (bed.directory / layout.CONTROL / "space.json").exists():
            bed.control = Space.load(name, layout.CONTROL)
        bed.nodes = [Node.load(name, f"n{index}") for index in range(bed.node_count)]
        return bed

    @classmethod
    def is_alive(cls, name: str) -> bool:
        """Whether it is up with every space, or being brought up by a process that still runs."""
        if not (memory := _memory(name)):
            directory = layout.directory(name)
            return directory.exists() and time.time() - directory.stat().st_mtime < NEWBORN
        if not memory["ready"]:
            return bool(start_time(memory["pid"]) == memory["began"])
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
        return layout.directory(self.name)

    @property
    def ids(self) -> Identities:
        return Identities(self.directory / "ids")

    @property
    def networked(self) -> bool:
        """Whether the control space has a network of its own: as soon as a node must reach it."""
        return bool(self.parts & (layout.NODE_PARTS - {layout.OVS}))

    @property
    def control_plane(self) -> ControlPlane:
        """The API server as the bed's own programs see it."""
        if self.control is None:
            raise BedError(f"bed {self.name} has no control space")
        if self.networked:
            return ControlPlane(
                self.control, self.ids, layout.CONTROL_IP, layout.API_PORT, self.etcd_port
            )
        return ControlPlane(self.control, self.ids, "127.0.0.1", self.api_port, self.etcd_port)

    @property
    def api_url(self) -> str:
        """The API server as a client on this machine, outside the bed, sees it."""
        return f"https://127.0.0.1:{self.api_port}"

    @property
    def token(self) -> str:
        return self.ids.token(identities.ADMIN)

    @property
    def api(self) -> Api:
        """A client of the administrator's, outside the bed."""
        return Api(self.api_url, self.ids.ca, self.token)

    @property
    def kubeconfig(self) -> Path:
        """The administrator's, for clients outside the bed."""
        return self.ids.kubeconfig(identities.ADMIN, self.api_url)

    @property
    def inner_kubeconfig(self) -> Path:
        """The administrator's, for clients inside the bed's spaces."""
        return self.ids.kubeconfig(identities.ADMIN, self.control_plane.url, "admin-inside")

    @property
    def audit_log(self) -> Path:
        return self.control_plane.audit_log

    def node(self, index: int = 0) -> Node:
        return self.nodes[index]

    def reboot(self, index: int = 0) -> Node:
        """Cut the node's power and start it again; the new node, as its space is another one now."""
        startup.reboot(self, index)
        self.say(f"n{index}: rebooted")
        return self.nodes[index]

    def space(self, role: str | None) -> Space:
        """By role: a node's name, or the control space's; without one the first that there is."""
        spaces = [*self.nodes, *([self.control] if self.control else [])]
        for space in spaces:
            if role in (None, space.role):
                return space
        raise BedError(
            f"bed {self.name} has no {role}; there are {', '.join(space.role for space in spaces)}"
        )

    def kubectl(self, *words: str, stdin: str | None = None, timeout: float = 60) -> str:
        """kubectl as the administrator; its standard output."""
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
        return self.control_plane.space.run(["ovn-nbctl", "--timeout=10", *words])

    def sbctl(self, *words: str) -> str:
        return self.control_plane.space.run(["ovn-sbctl", "--timeout=10", *words])

    def wipe_northbound(self) -> None:
        """Everything in OVN's northbound database goes, in one transaction."""
        tables = ("Logical_Switch", "Logical_Router")
        ops: list[dict[str, object]] = [
            {"op": "delete", "table": table, "where": []} for table in tables
        ]
        words = [
            "ovsdb-client",
            "transact",
            "unix:/run/ovn/ovnnb_db.sock",
            json.dumps(["OVN_Northbound", *ops]),
        ]
        self.control_plane.space.run(words)

    def say(self, text: str) -> None:
        progress.say(f"  [{time.monotonic() - self.began:4.1f} s] {text}")

    def _make_room(self) -> None:
        """The directory is the claim on the name: only one process can make it."""
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
        self._remember(ready=False)

    def _remember(self, *, ready: bool) -> None:
        memory: dict[str, Any] = {
            "parts": sorted(self.parts),
            "nodes": self.node_count,
            "ready": ready,
        }
        memory |= {"api_port": self.api_port, "etcd_port": self.etcd_port}
        memory |= {"pid": os.getpid(), "began": start_time(os.getpid())}
        (self.directory / "bed.json").write_text(json.dumps(memory))


def _memory(name: str) -> dict[str, Any]:
    path = layout.directory(name) / "bed.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}
