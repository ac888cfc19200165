"""A lack of descriptors: calls wait in the socket's queue until there is one."""

import asyncio
import json
import logging
import os
import resource
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from ovnlet import logs
from ovnlet.core.settings import Settings
from ovnlet_cni.dispatch import Agent
from ovnlet_cni.server import Server

REQUEST = b"POST /cni HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"


class Lines(logging.Handler):
    """Every line of the agent's log."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def _no_descriptor_left() -> Iterator[None]:
    """Let this process open no file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, hard)
    )
    try:
        try:
            while True:
                taken.append(os.dup(0))
        except OSError:
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for each in taken:
            os.close(each)


async def test_a_call_waits_for_a_descriptor_and_the_log_has_one_line_of_it_a_second() -> None:
    """asyncio tries to accept 128 times in a row, and logs a traceback each time."""

    async def status() -> None:
        return None

    lines = Lines()
    logs.configure(Settings(node_name="n0", cluster_cidrs="10.16.0.0/16"), lines)
    agent = cast("Agent", SimpleNamespace(status=status))
    body = json.dumps({"env": {"CNI_COMMAND": "STATUS"}, "config": '{"cniVersion": "1.1.0"}'})
    with tempfile.TemporaryDirectory(prefix="ovnlet-cni-") as directory:
        path = Path(directory) / "run" / "cni.sock"
        server = Server(agent, path)
        await server.start()
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as client:
            with _no_descriptor_left():
                client.connect(str(path))
                await asyncio.sleep(1.5)
            await loop.sock_sendall(client, REQUEST % (len(body), body.encode()))
            answer = await asyncio.wait_for(loop.sock_recv(client, 4096), 10)
            # asyncio's next look at the socket, a second after the last, must find it open.
            await asyncio.sleep(1)
        await server.stop(0)
    assert answer.startswith(b"HTTP/1.1 "), answer
    refused = [line for line in lines.lines if "out of system resource" in line]
    assert 1 <= len(refused) <= 3
