"""A TCP connection between two pods, with a request and an answer every 50 ms until its stop."""

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
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.create_server((sys.argv[1], int(sys.argv[2])), family=family) as server:
    print("listening", flush=True)
    link, _ = server.accept()
    while data := link.recv(4096):
        link.sendall(data)
"""
CONNECT = """
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
class Connection:
    """A connection under way, and the times of its answers."""

    server: Inside
    client: Inside
    output: IO[str]

    @property
    def times(self) -> list[float]:
        """When each answer arrived, in seconds."""
        self.output.seek(0)
        return [float(line) for line in self.output.read().split("\n")[:-1]]

    def stop(self) -> tuple[int, float]:
        """End the connection; return the number of answers and the longest time between two, in s.

        Fails if the connection is broken.
        """
        before = len(self.times)
        wait_for(
            lambda: len(self.times) > before + 5 or self.client.poll() is not None,
            "more answers",
            timeout=30,
        )
        ended = self.client.poll()
        for process in (self.client, self.server):
            process.kill()
            process.communicate(timeout=10)
        times = self.times
        self.output.close()
        assert ended is None, "the connection was lost"
        gaps = [later - earlier for earlier, later in pairwise(times)]
        return len(times), max(gaps)


def connect(
    one: Running, other: Running, address: str, *, by: str = "", number: int = 0
) -> Connection:
    """Connect from one pod to an address of another, and return once there are answers.

    With ``by``, connect to this address of a Service instead; ``number`` is its port.
    """
    port = str(number or next(_PORTS))
    server = _inside(other, LISTEN, address, port)
    assert server.stdout is not None
    assert server.stdout.readline() == "listening\n"
    output = tempfile.TemporaryFile("w+")  # noqa: SIM115 - Connection closes it; a pipe would fill up
    connection = Connection(
        server, _inside(one, CONNECT, by or address, port, stdout=output.fileno()), output
    )
    wait_for(
        lambda: len(connection.times) > 2, f"{one.name} and {other.name} to connect", timeout=20
    )
    return connection


def _inside(each: Running, script: str, *words: str, stdout: int = -1) -> Inside:
    return each.popen(sys.executable, "-c", script, *words, stdout=stdout, stderr=2)
