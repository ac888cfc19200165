"""A gate before the API server, which follows the mode in a file, and its client.

`python -m testbed.gate ADDRESS PORT BACKEND KEYS MODE`. The modes:

pass      forward every byte
refuse    do not listen, and cut open connections
503, 429  or any other status: answer every request with it
half      cut every answer to a GET in the middle, except the stream of a watch
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import sys
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from testbed import layout
from testbed.service import Service, wait_for

if TYPE_CHECKING:
    from testbed.bed import Bed

END = b"\r\n\r\n"
_LENGTH = re.compile(rb"(?im)^content-length: *(\d+)")
_CONNECTION = re.compile(rb"(?im)^connection:.*\r\n")


@dataclass(frozen=True, slots=True)
class Gate:
    """A running gate of a bed."""

    service: Service
    mode: Path

    @classmethod
    def start(cls, bed: Bed, port: int, mode: str) -> Gate:
        """Start a gate at this port of the control space's address, and return it in ``mode``."""
        assert bed.control
        path = bed.directory / "gate.mode"
        path.write_text(mode)
        words = [layout.CONTROL_IP, port, layout.API_PORT, bed.ids.directory, path]
        service = bed.control.spawn(
            "gate",
            [sys.executable, "-m", "testbed.gate", *map(str, words)],
            env={"PYTHONPATH": str(Path(__file__).parents[1])},
        )
        gate = cls(service, path)
        gate.turn(mode)
        return gate

    @classmethod
    def attach(cls, bed: Bed) -> Gate:
        """Return the gate of a bed that has one."""
        assert bed.control
        return cls(bed.control.service("gate"), bed.directory / "gate.mode")

    def turn(self, mode: str) -> None:
        """Change the mode, and wait until the gate follows it."""
        self.mode.write_text(mode)
        done = self.mode.with_suffix(".done")
        wait_for(lambda: done.exists() and done.read_text() == mode, f"the gate to {mode}")

    def stop(self) -> None:
        """End it."""
        self.service.stop()


class Server:
    """The listening socket of the current mode and the open connections."""

    def __init__(self, address: str, port: int, backend: int, keys: Path) -> None:
        self._where, self._backend = (address, port), backend
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._tls.load_cert_chain(keys / "server.crt", keys / "server.key")
        self._trust = ssl.create_default_context(cafile=str(keys / "ca.crt"))
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._status = 0

    async def turn(self, mode: str) -> None:
        """Change the mode, and cut the connections of the old one."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in tuple(self._open):
            writer.transport.abort()
        address, port = self._where
        if mode == "pass":
            self._server = await asyncio.start_server(self._pass, address, port, reuse_address=True)
        elif mode != "refuse":
            self._status = int(mode) if mode.isdecimal() else 0
            serve = self._answer if self._status else self._halve
            self._server = await asyncio.start_server(
                serve, address, port, ssl=self._tls, reuse_address=True
            )

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        with suppress(OSError):
            behind, ahead = await asyncio.open_connection(self._where[0], self._backend)
            self._open.add(ahead)
            await asyncio.gather(
                _pump(reader, ahead), _pump(behind, writer), return_exceptions=True
            )
            self._open.discard(ahead)
        self._open.discard(writer)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        with suppress(OSError, asyncio.IncompleteReadError):
            while await _request(reader):
                writer.write(_refusal(self._status))
                await writer.drain()
        self._open.discard(writer)

    async def _halve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one request, and the answer to it or its first half."""
        self._open.add(writer)
        with suppress(OSError, asyncio.IncompleteReadError):
            head, body = await _request(reader)
            behind, ahead = await asyncio.open_connection(
                self._where[0], self._backend, ssl=self._trust
            )
            self._open.add(ahead)
            ahead.write(_CONNECTION.sub(b"", head)[:-2] + b"Connection: close" + END + body)
            first = head.partition(b"\r\n")[0]
            if first.startswith(b"GET ") and b"watch=" not in first:
                answer = await behind.read(-1)
                kept = answer.index(END) + len(END) if END in answer else 0
                writer.write(answer[: kept + (len(answer) - kept) // 2])
                await writer.drain()
            else:
                await _pump(behind, writer)
            ahead.close()
            self._open.discard(ahead)
        writer.close()
        self._open.discard(writer)


def _refusal(status: int) -> bytes:
    """Return an HTTP answer as the API server gives it with this status."""
    body = json.dumps(
        {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status}
    ).encode()
    later = "Retry-After: 1\r\n" if status == HTTPStatus.TOO_MANY_REQUESTS else ""
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n"
        f"{later}Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Read one request, and return its head and its body; IncompleteReadError if there is none."""
    head = await reader.readuntil(END)
    length = _LENGTH.search(head)
    return head, await reader.readexactly(int(length[1])) if length else b""


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


async def main(address: str, port: str, backend: str, keys: str, mode: str) -> None:
    """Read the mode file 20 times a second and follow it; write the mode in force to MODE.done."""
    server, now = Server(address, int(port), int(backend), Path(keys)), ""
    while True:
        wanted = Path(mode).read_text().strip()
        if wanted and wanted != now:
            await server.turn(wanted)
            now = wanted
            Path(mode).with_suffix(".done").write_text(now)
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
