"""`python -m testbed.forward PORT`: the bed's API server on the machine's loopback.

Clients outside the bed use it. A socket belongs to the network namespace in which it was made: the
listening one is made outside, the others inside.
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
    """Copy from one stream to another until the first ends, then close the second."""
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
    """Serve for ever.

    It is started in the control space's PID namespace and in the machine's network: process 1 is
    the space's init, whose network it enters.
    """
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128)
    inside = os.open("/proc/1/ns/net", os.O_RDONLY)
    os.setns(inside, os.CLONE_NEWNET)
    os.close(inside)
    asyncio.run(_run(listener))


if __name__ == "__main__":
    main()
