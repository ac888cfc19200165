"""An exec agent: runs programs inside a node's space for tests outside it.

One connection carries one request. One process that stays in the space costs one fork for each
program; nsenter would cost three. With a port as its argument it listens on TCP: in a guest,
where a unix socket does not reach.
"""

import asyncio
import base64
import contextlib
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

from testbed import inventory

TESTS = Path(__file__).resolve().parents[1]
SOCKET = "/run/exec-agent.sock"
LIMIT = 64 << 20
# The parts of the inventory that an attachment or an agent's records can change.
SECTIONS = ("links", "addresses", "routes", "ovsdb", "files")
FOLDERS = ("/run/netns", "/run/ovnlet")


async def _run(request: dict[str, Any]) -> dict[str, Any]:
    """Run a program to its end; kill it if the caller disconnects."""
    pipe = asyncio.subprocess.PIPE
    env = {os.fsencode(key): os.fsencode(value) for key, value in request["env"].items()}
    begun = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *request["argv"], stdin=pipe, stdout=pipe, stderr=pipe, env=env
    )
    try:
        stdout, stderr = await process.communicate(base64.b64decode(request["stdin"]))
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    seconds = time.monotonic() - begun
    answer = {
        "stdout": base64.b64encode(stdout).decode(),
        "stderr": base64.b64encode(stderr).decode(),
    }
    return answer | {"exit_code": process.returncode, "seconds": seconds}


def _look() -> dict[str, Any]:
    sections = {name: inventory.SECTIONS[name]() for name in SECTIONS if name != "files"}
    return sections | {"files": inventory.files(FOLDERS)}


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    request = json.loads(await reader.readline())
    work = asyncio.ensure_future(_run(request) if "argv" in request else asyncio.to_thread(_look))
    hung_up = asyncio.ensure_future(reader.read())
    await asyncio.wait({work, hung_up}, return_when=asyncio.FIRST_COMPLETED)
    work.cancel()
    with contextlib.suppress(asyncio.CancelledError, ConnectionError):
        writer.write(json.dumps(await work).encode() + b"\n")
        await writer.drain()
    hung_up.cancel()
    writer.close()


async def main() -> None:
    if len(sys.argv) > 1:
        started = asyncio.start_server(
            _serve, "0.0.0.0", int(sys.argv[1]), limit=LIMIT, backlog=1024
        )
    else:
        started = asyncio.start_unix_server(_serve, SOCKET, limit=LIMIT, backlog=1024)
    async with await started as server:
        await server.serve_forever()


async def ask(space: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Send a request from outside. `space` is the path of the space's root directory.

    Without `argv` in the request the answer is the space's inventory.
    """
    reader, writer = await asyncio.open_unix_connection(str(space) + SOCKET, limit=LIMIT)
    try:
        writer.write(json.dumps(request).encode() + b"\n")
        answer = await reader.readline()
        assert answer, f"the exec agent of {space} dropped {request}"
        return dict(json.loads(answer))
    finally:
        writer.close()


def text(stream: str) -> str:
    """Decode a stream of the answer."""
    return base64.b64decode(stream).decode()


def ask_now(space: Path, request: dict[str, Any], timeout: float = 300) -> dict[str, Any]:
    """Send a request like `ask`, from code without an event loop."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(timeout)
        client.connect(str(space) + SOCKET)
        client.sendall(json.dumps(request).encode() + b"\n")
        with client.makefile() as answer:
            line = answer.readline()
    assert line, f"the exec agent of {space} dropped {request}"
    return dict(json.loads(line))


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
