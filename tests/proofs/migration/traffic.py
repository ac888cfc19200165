"""Traffic of a pod with the outside, and what it lost: ping, TCP that stays, new connections.

And of the node with a pod under a NetworkPolicy, as kubelet's probes make it.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import IO

from proofs.gateway.cluster import OUTSIDE, Cluster
from proofs.gateway.traffic import PORT
from proofs.migration.policy import PROBED
from testbed import layout
from testbed.ping import Ping
from testbed.service import wait_for
from testbed.space import Inside

ECHO_PORT = 5152
ECHO = """
import socket, sys, threading
family = socket.AF_INET6 if sys.argv[1] == "6" else socket.AF_INET
host = "::" if sys.argv[1] == "6" else "0.0.0.0"
def serve(link):
    with link:
        while data := link.recv(4096):
            link.sendall(data)
with socket.create_server((host, int(sys.argv[2])), family=family) as server:
    print("listening", flush=True)
    while True:
        threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"""
# A request and an answer every 20 ms over one connection; prints the time of each answer.
STREAM = """
import socket, sys, time
link = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=60)
while True:
    link.sendall(b"well")
    got = b""
    while len(got) < 4:
        got += link.recv(4 - len(got)) or sys.exit("closed by the other end")
    print(time.monotonic(), flush=True)
    time.sleep(0.02)
"""
# A new connection every 50 ms; prints the source that the other end sees.
CONNECT = """
import socket, sys, time
while True:
    try:
        with socket.create_connection((sys.argv[1], int(sys.argv[2])), 2) as link:
            print(link.recv(64, socket.MSG_WAITALL).decode(), flush=True)
    except OSError as error:
        print("failed:", error, flush=True)
    time.sleep(0.05)
"""
_STEADY = 10  # answers
# Seconds. A connection that is dropped fails after two of them.
_ENOUGH, _AFTER, _AFTER_BREAKING = 60.0, 1.0, 3.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What a stream has sent, and what was lost or wrong."""

    traffic: str
    sent: int
    lost: int
    note: str = ""


@dataclass(slots=True)
class Traffic:
    """All streams under way."""

    pings: dict[str, Ping] = field(default_factory=dict)
    streams: dict[str, tuple[Inside, IO[str]]] = field(default_factory=dict)
    connections: dict[str, tuple[Inside, IO[str], str]] = field(default_factory=dict)

    def wait_steady(self) -> None:
        """Return once every stream has had ten more answers."""
        files = [ping.output for ping in self.pings.values()]
        files += [output for _, output in self.streams.values()]
        files += [output for _, output, _ in self.connections.values()]
        before = [_count(each) for each in files]
        wait_for(
            lambda: all(_count(f) >= n + _STEADY for f, n in zip(files, before, strict=True)),
            "answers to all traffic",
            timeout=_ENOUGH,
            every=0.1,
        )

    def stop(self) -> list[Seen]:
        """End all of it and return what was seen."""
        seen = []
        for name, ping in self.pings.items():
            sent, received = ping.stop()
            seen.append(Seen(name, sent, sent - received))
        for name, (client, output) in self.streams.items():
            seen.append(_stream(name, client, output))
        for name, (client, output, expected) in self.connections.items():
            lines = _ended(client, output)
            wrong = [each for each in lines if each != expected]
            seen.append(Seen(name, len(lines), len(wrong), "; ".join(sorted(set(wrong))[:3])))
        return seen


def _count(output: IO[str]) -> int:
    output.seek(0)
    return output.read().count("\n")


def _ended(client: Inside, output: IO[str]) -> list[str]:
    """End a program, and return the lines that it has printed."""
    client.send_signal(signal.SIGTERM)
    client.communicate(timeout=10)
    output.seek(0)
    text = output.read()
    output.close()
    return text.split("\n")[:-1]


def _stream(name: str, client: Inside, output: IO[str]) -> Seen:
    """End a stream. It has lost one if it ended before, because an answer never came."""
    ended = client.poll()
    lines = _ended(client, output)
    if ended is not None:
        return Seen(name, len(lines), 1, f"the connection broke: {lines[-1] if lines else ended}")
    times = [float(line) for line in lines]
    gap = max((later - earlier for earlier, later in pairwise(times)), default=0.0)
    return Seen(name, len(times), 0, f"longest wait {gap * 1000:.0f} ms")


@contextmanager
def servers(cluster: Cluster) -> Iterator[None]:
    """Serve the streams outside."""
    started = []
    try:
        for family in ("4", "6"):
            words = ["python3", "-c", ECHO, family, str(ECHO_PORT)]
            started.append(cluster.outside.popen(words))
            assert started[-1].stdout is not None
            started[-1].stdout.readline()
        yield
    finally:
        for process in started:
            process.kill()


def begin(cluster: Cluster) -> Traffic:
    """Start all traffic of pod `a` with the outside, a ping to the pod beside it, and probes."""
    traffic, pod = Traffic(), cluster.pods["a"]

    def started(words: list[str]) -> tuple[Inside, IO[str]]:
        output = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed at the end; a pipe would fill up
        out = output.fileno()
        return pod.node.popen(words, stdout=out, stderr=out), output

    def run(*words: str) -> tuple[Inside, IO[str]]:
        return started(pod.enter(*words))

    def ping(name: str, address: str) -> None:
        traffic.pings[name] = Ping(*run("ping", "-n", "-i", "0.02", address))

    ping("ping to a pod, IPv4", cluster.pods["bb"].ips[4])
    for family, address in OUTSIDE.items():
        own = layout.node_ip(0) if family == 4 else layout.node_ip6(0)
        ping(f"ping, masqueraded, IPv{family}", address)
        name = f"TCP stream, masqueraded, IPv{family}"
        traffic.streams[name] = run(sys.executable, "-c", STREAM, address, str(ECHO_PORT))
        name = f"new connections see the node's address, IPv{family}"
        made = run(sys.executable, "-c", CONNECT, address, str(PORT))
        traffic.connections[name] = (*made, own)
        probe = [sys.executable, "-c", CONNECT, cluster.pods[PROBED].ips[family], str(PORT)]
        traffic.connections[f"probes under a NetworkPolicy, IPv{family}"] = (*started(probe), own)
    traffic.wait_steady()
    return traffic


def under(
    cluster: Cluster, act: Callable[[Traffic], None], *, to_break: bool = False
) -> list[Seen]:
    """Do something while the traffic runs, and return what was seen of it from begin to end.

    If the act is ``to_break`` something, a stream may have ended after it.
    """
    traffic = begin(cluster)
    act(traffic)
    time.sleep(_AFTER_BREAKING if to_break else _AFTER)
    if not to_break:
        traffic.wait_steady()
    return traffic.stop()
