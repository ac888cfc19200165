"""One TCP connection between two pods, on which something is said and answered every 50 ms until it is stopped."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from itertools import count, pairwise
from typing import IO

from testbed.service import wait_for
from testbed.space import Inside
from testbed.workloads import Running

LISTEN = """
import socket, sys
with socket.create_server((sys.argv[1], int(sys.argv[2])), family=socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET) as server:
    print("listening", flush=True)
    link, _ = server.accept()
    while data := link.recv(4096):
        link.sendall(data)
"""  # noqa: E501
SPEAK = """
import socket, sys, time
link = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=60)
while True:
    link.sendall(b"well")
    got = b""
    while len(got) < 4:
        got += link.recv(4 - len(got)) or sys.exit("closed by the other end")
    print(time.monotonic(), flush=True)
    time.sleep(0.05)
"""
_PORTS = count(5500)


@dataclass(frozen=True, slots=True)
class Talk:
    """``stop`` tells how many answers there were and the longest time between two; it fails if it is broken."""

    listener: Inside
    speaker: Inside
    said: IO[str]

    @property
    def times(self) -> list[float]:
        self.said.seek(0)
        return [float(line) for line in self.said.read().split("\n")[:-1]]

    def stop(self) -> tuple[int, float]:
        before = len(self.times)
        wait_for(
            lambda: len(self.times) > before + 5 or self.speaker.poll() is not None,
            "more answers",
            timeout=30,
        )
        ended = self.speaker.poll()
        for process in (self.speaker, self.listener):
            process.kill()
            process.communicate(timeout=10)
        times = self.times
        self.said.close()
        assert ended is None, "the connection was lost"
        gaps = [later - earlier for earlier, later in pairwise(times)]
        return len(times), max(gaps)


def talk(one: Running, other: Running, address: str) -> Talk:
    """``address`` is the other's."""
    port = str(next(_PORTS))
    listener = _inside(other, LISTEN, address, port)
    assert listener.stdout is not None
    assert listener.stdout.readline() == "listening\n"
    said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - the talk's own; a pipe would fill up
    talking = Talk(listener, _inside(one, SPEAK, address, port, stdout=said.fileno()), said)
    wait_for(lambda: len(talking.times) > 2, f"{one.name} and {other.name} to talk", timeout=20)
    return talking


def _inside(each: Running, script: str, *words: str, stdout: int = -1) -> Inside:
    command = ["nsenter", f"--net={each.netns}", sys.executable, "-c", script, *words]
    return each.space.popen(command, stdout=stdout, stderr=2)
