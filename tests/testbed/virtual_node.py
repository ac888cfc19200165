"""A bed's node whose programs run in the virtual machine that takes its place.

It is seen from the machine: a program is asked of the virtual machine's command server, which is
reached by a relay in the node's own space.
"""

from __future__ import annotations

import base64
import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Self, TypeVar

from testbed import exec_agent, guest_boot
from testbed.node import Node
from testbed.service import BedError, Service, wait_for
from testbed.space import ALL_NAMESPACES, CLEAN, Inside, Space, Words

T = TypeVar("T")
# Seconds; an emulated processor imports the agent in 16 s while nothing else runs.
START_TIMEOUT, END_TIMEOUT = 150.0, 60.0
CODE = {"PYTHONPATH": str(exec_agent.TESTS)}


class VirtualNode(Node):
    """A node that runs its programs in its virtual machine."""

    __slots__ = ()
    patience = 4.0

    @classmethod
    def of(cls, space: Space) -> Self:
        """Return the same node, seen through its virtual machine."""
        return cls(space.name, space.directory, space.pid, space.began, space.cgroups)

    def result(
        self,
        argv: Words,
        *,
        stdin: str | None = None,
        timeout: float = 120,
        env: Mapping[str, str] = {},
        namespaces: Iterable[str] = ALL_NAMESPACES,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the virtual machine; it has no namespaces to choose from."""
        words = list(map(str, argv))
        request = {
            "argv": words,
            "env": CLEAN | dict(env),
            "stdin": base64.b64encode((stdin or "").encode()).decode(),
        }
        reply = exec_agent.ask_now(self.path("/"), request, timeout)
        stdout, stderr = (exec_agent.text(reply[stream]) for stream in ("stdout", "stderr"))
        return subprocess.CompletedProcess(words, reply["exit_code"], stdout, stderr)

    def popen(
        self, argv: Words, *, env: Mapping[str, str] = {}, stdout: int = -1, stderr: int = -1
    ) -> Inside:
        """Start a program that serves one client on STREAM_PORT, and return that client's streams.

        The program gets the port as its last argument, and ends when the client does.
        """
        log = self.log("stream")
        self._start(log, [*argv, str(guest_boot.STREAM_PORT)], env)
        client = [sys.executable, "-m", "testbed.stream", str(guest_boot.STREAM_PORT)]
        return Node.popen(self, client, env=CODE, stdout=stdout, stderr=stderr)

    def shell(self, env: Mapping[str, str], port: int = guest_boot.STREAM_PORT) -> None:
        """Give a shell of the virtual machine on this process's terminal, until it ends."""
        program = [sys.executable, "-m", "testbed.terminal", str(port)]
        self._start(self.log("stream"), program, CODE | dict(env))
        words = self.enter([sys.executable, "-m", "testbed.stream", "--terminal", str(port)])
        subprocess.run(["env", f"PYTHONPATH={exec_agent.TESTS}", *words], check=False)

    def spawn(
        self, name: str, argv: Words, *, env: Mapping[str, str] = {}, network: bool = True
    ) -> Service:
        """Start a service in the virtual machine."""
        pid = self._start(self.log(name), argv, env)
        service = VirtualService(name, pid, 1, self.log(name), self)
        self.record(service, argv, env, network=network)
        return service

    def service(self, name: str) -> Service:
        """Return a service of the virtual machine by its name."""
        record = json.loads((self.directory / f"{name}.service").read_text())
        return VirtualService(name, record["pid"], record["began"], self.log(name), self)

    @property
    def boot_id(self) -> str:
        """An identity of the virtual machine's boot."""
        return self.run(["cat", "/proc/sys/kernel/random/boot_id"]).strip()

    def pids(self, words: Words) -> list[int]:
        """Return the PIDs of the processes whose command line begins with these words."""
        pattern = "^" + " ".join(map(str, words))
        return [int(pid) for pid in self.run(["pgrep", "-f", pattern], check=False).split()]

    def _start(self, log: object, argv: Words, env: Mapping[str, str]) -> int:
        words = shlex.join([f"{key}={value}" for key, value in env.items()] + list(map(str, argv)))
        return int(
            self.sh(
                f"setsid env --default-signal=INT,QUIT {words} </dev/null >>{log} 2>&1 & echo $!"
            )
        )


@dataclass(frozen=True, slots=True)
class VirtualService(Service):
    """A process of a virtual machine, known by its PID there."""

    node: VirtualNode

    @property
    def alive(self) -> bool:
        """Whether the process runs and is no zombie."""
        return self._signal("0")

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        self._signal(str(int(number)))

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = END_TIMEOUT) -> None:
        """Send ``number`` and wait for the process's end; after ``timeout`` s send SIGKILL."""
        Service.stop(self, number, timeout)

    def wait_ready(self, look: Callable[[], T | None], timeout: float = START_TIMEOUT) -> T:
        """Wait until ``look`` answers true, as `Service.wait_ready` does.

        The process is only looked at after a timeout: that takes a command in the guest.
        """
        try:
            return wait_for(look, f"{self.name} ready", timeout, every=0.2)
        except BedError as error:
            raise BedError(f"{error}; alive: {self.alive}\n{self.tail()}") from error

    def _signal(self, number: str) -> bool:
        state = f"[ $(cut -d' ' -f3 /proc/{self.pid}/stat) != Z ] && kill -{number} {self.pid}"
        return self.node.sh(f"{{ {state}; }} 2>/dev/null && echo y || echo n") == "y\n"
