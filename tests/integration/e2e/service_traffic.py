"""Services of a test, servers that say who asked, and clients that count what was answered."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.node import Node
from testbed.service import wait_for
from testbed.space import Inside, Space
from testbed.workloads import Running, pod

COUNT = 200  # connections of one client
PORT = 9090
# Answers each request with the server's name and the client's address. It has a socket for each
# family and for each of TCP and UDP, at all addresses or at those of a node: on a host with several
# addresses, a UDP server has to answer from the one that it was asked at.
SERVE = """
import selectors, socket, sys
name, port = sys.argv[1], int(sys.argv[2])
found = selectors.DefaultSelector()
for host, family in zip(sys.argv[3:], (socket.AF_INET, socket.AF_INET6)):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        link = socket.socket(family, kind)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            link.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        link.bind((host, port))
        if kind == socket.SOCK_STREAM:
            link.listen(256)
        found.register(link, selectors.EVENT_READ, kind)
print("listening", flush=True)
while True:
    for key, _ in found.select():
        if key.data == socket.SOCK_DGRAM:
            _, peer = key.fileobj.recvfrom(64)
            key.fileobj.sendto(f"{name} {peer[0]}".encode(), peer)
            continue
        link, peer = key.fileobj.accept()
        link.sendall(f"{name} {peer[0]}".encode())
        link.close()
"""
# Asks ten times a second from one UDP socket, and prints each answer.
ASK_ON = """
import socket, sys, time
host, port = sys.argv[1], int(sys.argv[2])
with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as link:
    link.settimeout(0.5)
    link.connect((host, port))
    while True:
        try:
            link.send(b"who")
            print(link.recv(256).decode(), flush=True)
        except OSError:
            pass
        time.sleep(float(sys.argv[3]))
"""
# Asks the API server so many times over TLS, each time by a new connection.
ASK_API = """
import collections, http.client, json, ssl, sys, time
host, port, ca, path, count = sys.argv[1:6]
trust = ssl.create_default_context(cafile=ca)
seen, slowest = collections.Counter(), 0
for _ in range(int(count)):
    began = time.monotonic()
    try:
        link = http.client.HTTPSConnection(host, int(port), context=trust, timeout=3)
        link.request("GET", path)
        seen[f"api {link.getresponse().status}"] += 1
        link.close()
    except OSError as error:
        seen[f"error {type(error).__name__}"] += 1
    slowest = max(slowest, time.monotonic() - began)
print(json.dumps([seen, slowest]))
"""
# Asks so many times, each time from a new socket, and prints how often each answer or error came.
ASK = """
import collections, json, socket, sys, time
host, port, kind, count, limit = sys.argv[1:6]
family = socket.AF_INET6 if ":" in host else socket.AF_INET
seen, slowest = collections.Counter(), 0
for _ in range(int(count)):
    began = time.monotonic()
    try:
        kinds = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
        with socket.socket(family, kinds[kind]) as link:
            link.settimeout(float(limit))
            link.connect((host, int(port)))
            if kind == "udp":
                link.send(b"who")
            got = b""
            while data := link.recv(256):
                got += data
                if kind == "udp":
                    break
            seen[got.decode()] += 1
    except OSError as error:
        seen[f"error {type(error).__name__}"] += 1
    slowest = max(slowest, time.monotonic() - began)
print(json.dumps([seen, slowest]))
"""


@dataclass(frozen=True, slots=True)
class Answers:
    """How often each server answered with each source address, and each error; in seconds."""

    servers: dict[str, int]
    sources: dict[str, int]
    errors: dict[str, int]
    slowest: float

    @property
    def failed(self) -> int:
        """The number of requests without an answer."""
        return sum(self.errors.values())

    def __str__(self) -> str:
        return (
            f"{sum(self.servers.values())} answered, {self.failed} failed {self.errors or ''}, "
            f"by {self.servers}, seen as {self.sources}, slowest {1000 * self.slowest:.0f} ms"
        )


def ask(  # noqa: PLR0913, PLR0917 - the parts of a request
    client: Running | Space,
    host: str,
    port: int = PORT,
    kind: str = "tcp",
    count: int = COUNT,
    timeout: float = 3.0,
) -> Answers:
    """Ask a Service from a pod or from a node."""
    script = [sys.executable, "-c", ASK, host, str(port), kind, str(count), str(timeout)]
    return answers(client, script, 60 + count * timeout)


def ask_api(client: Running, ca: Path, host: str, path: str, count: int = COUNT) -> Answers:
    """Ask the API server from a pod. Its status stands for the source."""
    script = [sys.executable, "-c", ASK_API, host, "443", str(ca), path, str(count)]
    return answers(client, script, 60 + count * 3)


def answers(client: Running | Space, script: list[str], timeout: float) -> Answers:
    """Run a script that asks, and return what it counted."""
    space = client.space if isinstance(client, Running) else client
    command = client.enter(*script) if isinstance(client, Running) else script
    seen, slowest = json.loads(space.run(command, timeout=timeout))
    errors = {text: n for text, n in seen.items() if text.startswith("error ")}
    servers: dict[str, int] = {}
    sources: dict[str, int] = {}
    for text, number in seen.items():
        if text not in errors:
            server, _, source = text.partition(" ")
            servers[server] = servers.get(server, 0) + number
            sources[source] = sources.get(source, 0) + number
    return Answers(servers, sources, errors, slowest)


@contextmanager
def asking_on(client: Running, host: str, every: float) -> Iterator[Callable[[], str]]:
    """Ask from one UDP socket of a pod, with pauses of ``every`` seconds.

    Give a function that returns the latest server's name.
    """
    with tempfile.TemporaryFile("w+") as output:
        script = (sys.executable, "-c", ASK_ON, host, str(PORT), str(every))
        process = client.popen(*script, stdout=output.fileno())

        def latest() -> str:
            output.seek(0)
            lines = output.read().split("\n")[:-1]
            return lines[-1].partition(" ")[0] if lines else ""

        try:
            yield latest
        finally:
            ended(process)


@contextmanager
def serving(*servers: Running | Node, port: int = PORT) -> Iterator[None]:
    """Run a server in each of these pods and nodes."""
    script = [sys.executable, "-c", SERVE]
    with ExitStack() as stack:
        for server in servers:
            if isinstance(server, Running):
                process = server.popen(*script, server.name, str(port), "", "")
            else:
                process = server.popen([*script, server.role, str(port), server.ip, server.ip6])
            stack.callback(ended, process)
            assert process.stdout is not None
            assert process.stdout.readline() == "listening\n"
        yield


def ended(process: Inside) -> None:
    """Kill a server."""
    process.kill()
    process.communicate(timeout=10)


def labelled(name: str, node: str, **labels: str) -> dict[str, Any]:
    """Return a pod on a node, with labels that a Service selects."""
    body = pod(name)
    body["metadata"]["labels"] |= labels
    body["spec"]["nodeName"] = node
    return body


def service(name: str, selector: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    """Return a Service of both families for TCP and UDP; ``spec`` overrides what it has."""
    ports = [
        {"name": kind.lower(), "protocol": kind, "port": PORT, "targetPort": PORT}
        for kind in ("TCP", "UDP")
    ]
    whole = {"ports": ports, "ipFamilyPolicy": "PreferDualStack", **spec}
    if selector is not None:
        whole["selector"] = selector
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": whole}


def endpoint_slice(
    name: str, of: str, addresses: Sequence[str], number: int = PORT, **conditions: bool
) -> dict[str, Any]:
    """Return an EndpointSlice of the older version for a Service without a selector."""
    family = "IPv6" if ":" in addresses[0] else "IPv4"
    return {
        "apiVersion": "discovery.k8s.io/v1beta1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": of}},
        "addressType": family,
        "ports": [
            {"name": kind.lower(), "protocol": kind, "port": number} for kind in ("TCP", "UDP")
        ],
        "endpoints": [
            {"addresses": [address], "conditions": {"ready": True, **conditions}}
            for address in addresses
        ],
    }


def answered(client: Running | Space, host: str, **options: Any) -> None:
    """Wait until one request is answered: what was changed is then in force."""
    wait_for(
        lambda: not ask(client, host, count=1, timeout=1, **options).failed,
        f"an answer of {host}",
        timeout=30,
    )
