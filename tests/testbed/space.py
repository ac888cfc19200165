"""A space: one set of namespaces (network, mount, PID, UTS, IPC, cgroup) that end with their init.

The init is `sleep` with SIGCHLD ignored, so that the kernel itself reaps processes whose parent has
ended. Its argv[0] is the space's name: a later run that knows nothing else of a space finds it by
that. Every program of the bed starts through `Space.enter`: `run`, `result` and `sh` wait for its
end, `popen` gives the caller its streams, `spawn` leaves it running as a service.
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
from testbed.processes import argv0, children, host_pid, start_time, started_as
from testbed.service import BedError, Service, wait_for

Words = Iterable[str | Path]
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CLEAN = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8"}
JOIN = 'for c in $1; do echo 0 >"$c/cgroup.procs"; done; shift; exec "$@"'
SPAWN = (
    "for c in $OVNLET_BED_GROUPS; do echo 0 >$c/cgroup.procs; done; "
    '"$@" </dev/null >>"$OVNLET_BED_LOG" 2>&1 & echo $!'
)
ALL_NAMESPACES = ("--all",)
WITHOUT_NETWORK = ("--mount", "--pid", "--uts", "--ipc")


class Inside(subprocess.Popen[str]):
    """A program in a space, held through nsenter, whose exit code is the program's.

    Signals go to the program itself and not to nsenter.
    """

    def send_signal(self, sig: int) -> None:
        """Send ``sig`` to the program, unless it has ended."""
        if self.poll() is None:
            for pid in children(self.pid):
                with suppress(ProcessLookupError):  # it ended on its own after the look
                    os.kill(pid, sig)


@dataclass(frozen=True, slots=True)
class Space:
    """Namespaces held by one process; `began` tells it from a later process with the same PID."""

    name: str
    directory: Path
    pid: int
    began: int
    cgroups: bool

    @classmethod
    def create(cls, bed: str, role: str, *, network: bool = True, cgroups: bool = False) -> Self:
        """Create the namespaces, mounts and control groups, and return once the init runs in them.

        Raises BedError with what the shell printed if that fails.
        """
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

        def init_pid() -> int:
            if outer.poll() is not None:
                raise BedError(f"space {name}: {log.read_text()}")
            return next((pid for pid in children(outer.pid) if argv0(pid) == name), 0)

        pid = wait_for(init_pid, f"space {name}", every=0.005)
        space = cls(name, directory, pid, start_time(pid), cgroups)
        space._record.write_text(json.dumps({"pid": pid, "began": space.began, "cgroups": cgroups}))
        return space

    @classmethod
    def load(cls, bed: str, role: str) -> Self:
        """Return the space that was created before, whether or not it is still alive."""
        directory = layout.directory(bed) / role
        return cls(
            layout.space_name(bed, role),
            directory,
            **json.loads((directory / "space.json").read_text()),
        )

    @property
    def alive(self) -> bool:
        """Whether the init still runs, and with it every process of the space."""
        return start_time(self.pid) == self.began and argv0(self.pid) == self.name

    @property
    def _record(self) -> Path:
        return self.directory / "space.json"

    @property
    def role(self) -> str:
        """The space's name within the bed; for a node it is the Node's name too."""
        return self.directory.name

    @property
    def netns_path(self) -> Path:
        """The space's network namespace, as a path on the machine."""
        return Path(f"/proc/{self.pid}/ns/net")

    @property
    def boot_id(self) -> str:
        """An identity that changes at each boot, for programs that see the space's own /proc."""
        return self.path(f"/proc/sys/{BOOT_ID}").read_text().strip()

    def path(self, inside: str | Path) -> Path:
        """Return a file's path for processes outside the space; unix sockets work there too."""
        return Path(f"/proc/{self.pid}/root{inside}")

    def log(self, service: str) -> Path:
        """Return the log file of a service, by the service's name."""
        return self.directory / "log" / service

    def enter(self, argv: Words, namespaces: Iterable[str] = ALL_NAMESPACES) -> list[str]:
        """Return the command line that runs `argv` in the space, or in some of its namespaces."""
        return ["nsenter", *namespaces, f"--target={self.pid}", "--", *map(str, argv)]

    def run(
        self,
        argv: Words,
        *,
        check: bool = True,
        stdin: str | None = None,
        timeout: float = 60,
        env: Mapping[str, str] = {},
    ) -> str:
        """Run a program to its end and return its standard output.

        Raises BedError with what it printed if its status is not 0 and ``check`` is set, and
        subprocess.TimeoutExpired after ``timeout`` seconds.
        """
        done = self.result(argv, stdin=stdin, timeout=timeout, env=env)
        if check and done.returncode:
            output = (done.stderr or done.stdout).strip()
            raise BedError(
                f"{self.name}: {shlex.join(map(str, argv))}: status {done.returncode}: {output}"
            )
        return done.stdout

    def result(
        self,
        argv: Words,
        *,
        stdin: str | None = None,
        timeout: float = 60,
        env: Mapping[str, str] = {},
        namespaces: Iterable[str] = ALL_NAMESPACES,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end and return its status and output, whatever the status is."""
        return subprocess.run(
            self.enter(argv, namespaces),
            input="" if stdin is None else stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=CLEAN | dict(env),
            check=False,
        )

    def sh(self, script: str, *, timeout: float = 60) -> str:
        """Run a shell script with `-eu` and return its standard output; raise as `run` does."""
        return self.run(["sh", "-euc", script], timeout=timeout)

    def popen(
        self, argv: Words, *, env: Mapping[str, str] = {}, stdout: int = -1, stderr: int = -1
    ) -> Inside:
        """Start a program and return it with its streams.

        It gets SIGTERM when the thread that started it ends.
        """
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
        """Start a service that keeps running when the caller ends, and return it.

        It becomes a child of the space's init, and its output is appended to its log in the bed's
        directory. Without ``network`` it stays in the machine's network namespace.
        """
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
        groups = f"{CGROUPS}/*" * self.cgroups
        done = self.result(
            words,
            env={"OVNLET_BED_LOG": str(log), "OVNLET_BED_GROUPS": groups} | dict(env),
            namespaces=ALL_NAMESPACES if network else WITHOUT_NETWORK,
        )
        done.check_returncode()
        pid = host_pid(self.pid, int(done.stdout))
        service = Service(name, pid, start_time(pid), log)
        self.record(service, argv, env, network=network)
        return service

    def record(
        self, service: Service, argv: Words, env: Mapping[str, str], *, network: bool = True
    ) -> None:
        """Write down how a service was started, so that another process finds it by its name."""
        record = {
            "pid": service.pid,
            "began": service.began,
            "argv": list(map(str, argv)),
            "env": dict(env),
            "network": network,
        }
        (self.directory / f"{service.name}.service").write_text(json.dumps(record))

    def service(self, name: str) -> Service:
        """Return a service by its name, whichever process started it."""
        record = json.loads((self.directory / f"{name}.service").read_text())
        return Service(name, record["pid"], record["began"], self.log(name))

    def restart(self, name: str, *, env: Mapping[str, str] = {}) -> Service:
        """Stop a service, if it runs, and start it again with the same argv.

        Its environment is the one it had, with ``env`` added to it from this start on.
        """
        self.service(name).stop()
        record = json.loads((self.directory / f"{name}.service").read_text())
        added = record["env"] | dict(env)
        return self.spawn(name, record["argv"], env=added, network=record["network"])

    def pids(self, words: Words) -> list[int]:
        """Return the space's own PIDs of the processes in it whose argv begins with these words.

        Processes of the containers in the space are among them.
        """
        return started_as(list(map(str, words)), self.path("/proc"))

    def destroy(self) -> None:
        """Kill the init, and with it every process of the space; return once it has ended."""
        if self.alive:
            os.kill(self.pid, signal.SIGKILL)
        wait_for(lambda: not self.alive, f"space {self.name} to end", every=0.005)
