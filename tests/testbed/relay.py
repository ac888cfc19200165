"""A relay to the command server of a guest.

It listens on the unix socket where a space's command server would, and forwards each connection to
a port.
"""

import asyncio
import sys
from functools import partial

from testbed import exec_agent
from testbed.forward import pump


async def _serve(port: int, client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
    try:
        server, request = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        answer.transport.abort()
        return
    await asyncio.gather(pump(client, request), pump(server, answer))


async def main() -> None:
    serve = partial(_serve, int(sys.argv[1]))
    async with await asyncio.start_unix_server(serve, exec_agent.SOCKET, backlog=1024) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
