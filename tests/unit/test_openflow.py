"""The OpenFlow client with a peer that answers wrongly, late or not at all."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ovnlet.core.errors import NodeFault, NotReady
from ovnlet.drivers.ovs import openflow

pytestmark = pytest.mark.review2
HELLO = struct.pack("!BBHI", 6, 0, 8, 1)


def reply(kind: int, body: bytes, *, more: bool = False) -> bytes:
    return struct.pack("!BBHIHH4x", 6, 19, 16 + len(body), 1, kind, int(more)) + body


def table(number: int, flows: int) -> bytes:
    return struct.pack("!B3xIQQ", number, flows, 0, 0)


def port(number: int, name: str, config: int, properties: int = 8) -> bytes:
    head = struct.pack("!IH2x6s2x", number, 40 + properties, bytes(6))
    return head + struct.pack("!16sII", name.encode(), config, 0) + bytes(properties)


@asynccontextmanager
async def switch(path: Path, answer: bytes) -> AsyncIterator[Path]:
    """Serve these bytes to each client, whatever it asks."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(serve, path / "br-int.mgmt")
    yield path / "br-int.mgmt"
    server.close()


async def test_a_look_takes_answers_in_parts_and_in_any_order_f1(tmp_path: Path) -> None:
    ports = reply(13, port(1, "a_h", 0) + port(2, "b_h", 0x24, properties=0))
    echo = struct.pack("!BBHI", 6, 2, 12, 9) + b"echo"
    tables = reply(3, table(0, 7) + table(1, 0), more=True) + echo + reply(3, table(65, 2))
    async with switch(tmp_path, HELLO + ports + tables) as socket:
        found = await openflow.look(socket)
    assert found.flows == {0: 7, 65: 2}
    flags = {name: each.flags for name, each in found.ports.items()}
    assert flags == {"a_h": (), "b_h": ("no-receive", "no-forward")}


WRONG: dict[str, tuple[bytes, type[Exception]]] = {
    "an error": (HELLO + struct.pack("!BBHIHH", 6, 1, 12, 1, 0, 0), NodeFault),
    "no OpenFlow": (b"HTTP/1.1 400 Bad Request\r\n\r\n" * 9000, NodeFault),
    "a message shorter than its header": (struct.pack("!BBHI", 6, 19, 4, 1), NodeFault),
    "a port of no length": (
        reply(3, b"") + reply(13, bytes(40)),
        NodeFault,
    ),
    "half a table": (reply(13, b"") + reply(3, bytes(7)), NodeFault),
    "another kind": (reply(9, b""), NodeFault),
    "silence": (HELLO, NotReady),
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_answer_is_an_error_and_never_a_crash_f1(tmp_path: Path, name: str) -> None:
    answer, expected = WRONG[name]
    async with switch(tmp_path, answer) as socket:
        with pytest.raises(expected):
            await openflow.look(socket)


async def test_without_a_bridge_it_is_not_ready_f1(tmp_path: Path) -> None:
    with pytest.raises(NotReady):
        await openflow.look(tmp_path / "br-int.mgmt")
