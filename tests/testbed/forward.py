"""`python -m testbed.forward PORT`: the bed's API server on the machine's loopback, for clients outside the bed.

A socket belongs to the network namespace it was made in: the listening one is made outside, the others inside.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import suppress

from testbed import layout

CHUNK = 1 << 16


async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(CHUNK):
            sink.write(data)
            await sink.drain()
    sink.close()


async def _serve(client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
    try:
        server, request = await asyncio.open_connection(layout.CONTROL_IP, layout.API_PORT)
    except OSError:
        answer.transport.abort()
        return
    await asyncio.gather(pump(client, request), pump(server, answer))


async def _run(listener: socket.socket) -> None:
    server = await asyncio.start_server(_serve, sock=listener)
    await server.serve_forever()


def main() -> None:
    """Started in the control space's PID namespace and the machine's network: process 1 holds the way in."""
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128)
    inside = os.open("/proc/1/ns/net", os.O_RDONLY)
    os.setns(inside, os.CLONE_NEWNET)
    os.close(inside)
    asyncio.run(_run(listener))


if __name__ == "__main__":
    main()
