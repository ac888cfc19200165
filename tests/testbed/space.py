"""A space: one set of namespaces (network, mount, PID, UTS, IPC, cgroup) whose every process dies with its init.

The init is `sleep` with SIGCHLD ignored, so that the kernel itself reaps orphans. Its argv[0] is the space's name:
that is how a stranger finds it.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from testbed import layout, mounts
from testbed.mounts import BOOT_ID, CGROUPS
from testbed.service import BedError, Service, children, start_time, wait_for

Words = Iterable[str | Path]
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CLEAN = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8"}
JOIN = 'for c in $1; do echo 0 >"$c/cgroup.procs"; done; shift; exec "$@"'
SPAWN = 'for c in $OVNLET_BED_GROUPS; do echo 0 >$c/cgroup.procs; done; "$@" </dev/null >>"$OVNLET_BED_LOG" 2>&1 & echo $!'


class Inside(subprocess.Popen[str]):
    """A program in a space: signals go to it and not to the nsenter that holds the door, whose exit code is its own."""

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            for pid in children(self.pid):
                os.kill(pid, sig)


@dataclass(frozen=True, slots=True)
class Space:
    """Namespaces held by one process; `began` tells it from a later process of the same pid."""

    name: str
    directory: Path
    pid: int
    began: int
    cgroups: bool

    @classmethod
    def create(cls, bed: str, role: str, *, network: bool = True, cgroups: bool = False) -> Self:
        name = layout.space_name(bed, role)
        directory = layout.directory(bed) / role
        (directory / "log").mkdir(parents=True, exist_ok=True)
        kinds = ["--fork", "--pid", "--mount", "--mount-proc", "--uts", "--ipc"]
        kinds += ["--net"] * network + ["--cgroup"] * cgroups
        groups = mounts.make_cgroups(name) if cgroups else []
        script = "\n".join(mounts.setup(bed, name, directory, network=network, groups=groups))
        log = directory / "log" / "init"
        with log.open("w") as out:
            outer = subprocess.Popen(
                [
                    "sh",
                    "-euc",
                    JOIN,
                    "join",
                    " ".join(map(str, groups)),
                    "unshare",
                    *kinds,
                    "sh",
                    "-euc",
                    script,
                ],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=CLEAN,
                start_new_session=True,
            )

        def settled() -> int:
            if outer.poll() is not None:
                raise BedError(f"space {name}: {log.read_text()}")
            return next((pid for pid in children(outer.pid) if argv0(pid) == name), 0)

        pid = wait_for(settled, f"space {name}", every=0.005)
        space = cls(name, directory, pid, start_time(pid), cgroups)
        space._record.write_text(json.dumps({"pid": pid, "began": space.began, "cgroups": cgroups}))
        return space

    @classmethod
    def load(cls, bed: str, role: str) -> Self:
        """The one that was created before, dead or alive."""
        directory = layout.directory(bed) / role
        return cls(
            layout.space_name(bed, role),
            directory,
            **json.loads((directory / "space.json").read_text()),
        )

    @property
    def alive(self) -> bool:
        return start_time(self.pid) == self.began and argv0(self.pid) == self.name

    @property
    def _record(self) -> Path:
        return self.directory / "space.json"

    @property
    def role(self) -> str:
        """Its name within the bed: a node's is the Node's."""
        return self.directory.name

    @property
    def netns_path(self) -> Path:
        return Path(f"/proc/{self.pid}/ns/net")

    @property
    def boot_id(self) -> str:
        """Another one after each boot, for programs that see the space's own /proc."""
        return self.path(f"/proc/sys/{BOOT_ID}").read_text().strip()

    def path(self, inside: str | Path) -> Path:
        """Where a file of the space lies for those outside (its unix sockets can be connected to as well)."""
        return Path(f"/proc/{self.pid}/root{inside}")

    def log(self, service: str) -> Path:
        return self.directory / "log" / service

    def enter(self, argv: Words) -> list[str]:
        """The command line that runs `argv` in here."""
        return ["nsenter", "--all", f"--target={self.pid}", "--", *map(str, argv)]

    def run(
        self,
        argv: Words,
        *,
        check: bool = True,
        stdin: str | None = None,
        timeout: float = 60,
        env: Mapping[str, str] = {},
    ) -> str:
        """Run a program to its end and return its standard output; a failure tells what it said."""
        done = self.result(argv, stdin=stdin, timeout=timeout, env=env)
        if check and done.returncode:
            said = (done.stderr or done.stdout).strip()
            raise BedError(
                f"{self.name}: {shlex.join(map(str, argv))}: status {done.returncode}: {said}"
            )
        return done.stdout

    def result(
        self,
        argv: Words,
        *,
        stdin: str | None = None,
        timeout: float = 60,
        env: Mapping[str, str] = {},
    ) -> subprocess.CompletedProcess[str]:
        """The same, for those who ask how it ended."""
        return subprocess.run(
            self.enter(argv),
            input="" if stdin is None else stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=CLEAN | dict(env),
            check=False,
        )

    def sh(self, script: str, *, timeout: float = 60) -> str:
        return self.run(["sh", "-euc", script], timeout=timeout)

    def popen(
        self, argv: Words, *, env: Mapping[str, str] = {}, stdout: int = -1, stderr: int = -1
    ) -> Inside:
        """A program whose streams and exit code the caller holds; it does not outlive the caller's handle on it."""
        words = self.enter(["setpriv", "--pdeathsig=TERM", *argv])
        return Inside(
            words,
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            text=True,
            env=CLEAN | dict(env),
        )

    def spawn(
        self, name: str, argv: Words, *, env: Mapping[str, str] = {}, network: bool = True
    ) -> Service:
        """Start a service that outlives the caller: a child of the space's init, its log in the bed's directory."""
        log = self.log(name)
        words = [
            "sh",
            "-c",
            SPAWN,
            name,
            "setsid",
            "env",
            "--default-signal=INT,QUIT",
            *map(str, argv),
        ]
        doors = ["--all"] if network else ["--mount", "--pid", "--uts", "--ipc"]
        done = subprocess.run(
            ["nsenter", *doors, f"--target={self.pid}", "--", *words],
            env=CLEAN
            | {"OVNLET_BED_LOG": str(log), "OVNLET_BED_GROUPS": f"{CGROUPS}/*" * self.cgroups}
            | dict(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
        )
        pid = self.outer_pid(int(done.stdout))
        service = Service(name, pid, start_time(pid), log)
        memory = {
            "pid": pid,
            "began": service.began,
            "argv": list(map(str, argv)),
            "env": dict(env),
            "network": network,
        }
        (self.directory / f"{name}.service").write_text(json.dumps(memory))
        return service

    def service(self, name: str) -> Service:
        """A service by its name, whoever started it."""
        memory = json.loads((self.directory / f"{name}.service").read_text())
        return Service(name, memory["pid"], memory["began"], self.log(name))

    def restart(self, name: str) -> Service:
        """End a service, if it still runs, and start it with the same words."""
        self.service(name).stop()
        memory = json.loads((self.directory / f"{name}.service").read_text())
        return self.spawn(name, memory["argv"], env=memory["env"], network=memory["network"])

    def outer_pid(self, inner: int) -> int:
        """What the machine calls the process that is `inner` in here; 0 when there is none."""
        mine = os.readlink(f"/proc/{self.pid}/ns/pid")
        for entry in Path("/proc").iterdir():
            with suppress(OSError):  # gone meanwhile, or not ours to look at
                if entry.name.isdecimal() and os.readlink(entry / "ns/pid") == mine:
                    status = (entry / "status").read_text()
                    if int(status.partition("NSpid:")[2].partition("\n")[0].split()[-1]) == inner:
                        return int(entry.name)
        return 0

    def destroy(self) -> None:
        """Kill the init, and with it every process in here; gone when this returns."""
        if self.alive:
            os.kill(self.pid, signal.SIGKILL)
        wait_for(lambda: not self.alive, f"space {self.name} to end", every=0.005)


def argv0(pid: int) -> str:
    try:
        return (
            Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0].decode(errors="replace")
        )
    except (FileNotFoundError, ProcessLookupError):
        return ""
