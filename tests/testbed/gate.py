"""A gate before the API server, which follows the mode in a file.

`python -m testbed.gate ADDRESS PORT BACKEND KEYS MODE`. In the mode `pass` it forwards every byte,
in `refuse` it does not listen and cuts open connections, in `unavailable` it answers 503.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from contextlib import suppress
from pathlib import Path

BODY = (
    b'{"kind":"Status","apiVersion":"v1","status":"Failure","code":503,"message":"the bed says so"}'
)
ANSWER = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
)


class Gate:
    """The listening socket of the current mode and the open connections."""

    def __init__(self, address: str, port: int, backend: int, keys: Path) -> None:
        self._where, self._backend = (address, port), backend
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._tls.load_cert_chain(keys / "server.crt", keys / "server.key")
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

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
        elif mode == "unavailable":
            self._server = await asyncio.start_server(
                self._answer, address, port, ssl=self._tls, reuse_address=True
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
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(ANSWER)
                await writer.drain()
        self._open.discard(writer)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


async def main(address: str, port: str, backend: str, keys: str, mode: str) -> None:
    """Read the mode file 20 times a second and follow it; write the mode in force to MODE.done."""
    gate, now = Gate(address, int(port), int(backend), Path(keys)), ""
    while True:
        wanted = Path(mode).read_text().strip()
        if wanted and wanted != now:
            await gate.turn(wanted)
            now = wanted
            Path(mode).with_suffix(".done").write_text(now)
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
