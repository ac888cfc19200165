"""The protocol of the plugin's requests: what it answers, and what it hands to the library."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from ovnlet_cni.plugin_protocol import HEAD, PluginProtocol

MOST = 1000


def request(body: bytes, *, path: str = "/cni", size: int | None = None) -> bytes:
    """Return the bytes that the plugin sends."""
    head = f"POST {path} HTTP/1.1\r\nHost: ovnlet\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {size or len(body)}\r\n\r\n"
    return head.encode() + body


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.001)


class Library(asyncio.Protocol):
    """Stands for an HTTP library: it answers with what it was given."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(b"library:" + data)
        self._transport.close()


class Served:
    """A server on a socket of its own. ``ended`` says how each answer ended."""

    def __init__(self, path: Path) -> None:
        self.path, self.admitted = path, True
        self.running: set[asyncio.Task[object]] = set()
        self.ended: list[str] = []
        self.held = asyncio.Event()
        self.held.set()

    async def answer(self, body: bytes) -> tuple[int, bytes]:
        try:
            await self.held.wait()
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        self.ended.append("answered")
        return (200, b"own:" + body) if body != b"bad" else (400, b"no")

    def protocol(self) -> asyncio.Protocol:
        return PluginProtocol(self.answer, lambda _: self.admitted, Library, self.running, MOST)

    async def ask(self, *parts: bytes) -> bytes:
        """Send the parts one by one, and return all that comes back."""
        reader, writer = await asyncio.open_unix_connection(self.path)
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.001)
        try:
            async with asyncio.timeout(10):
                return await reader.read()
        finally:
            writer.close()


@pytest_asyncio.fixture
async def served() -> AsyncIterator[Served]:
    with tempfile.TemporaryDirectory(prefix="ovnlet-") as directory:
        served = Served(Path(directory) / "s")
        server = await asyncio.get_running_loop().create_unix_server(served.protocol, served.path)
        yield served
        server.close()


async def test_a_request_of_the_plugin_is_answered_without_the_library(served: Served) -> None:
    head, _, body = (await served.ask(request(b"{}"))).partition(b"\r\n\r\n")
    assert body == b"own:{}"
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nContent-Length: 6\r\n" in head
    assert (await served.ask(request(b"bad"))).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert not served.running


@pytest.mark.parametrize("size", [1, 7, 60, 150])
async def test_a_request_may_come_in_pieces(served: Served, size: int) -> None:
    whole = request(b"x" * 300)
    parts = [whole[at : at + size] for at in range(0, len(whole), size)]
    assert (await served.ask(*parts)).endswith(b"own:" + b"x" * 300)


@pytest.mark.parametrize(
    "given",
    [
        request(b"{}", path="/api/v1/add"),
        request(b"{}").replace(b"POST", b"GET "),
        request(b"{}").replace(b"Connection: close", b"Expect: 100-continue"),
        request(b"{}").replace(b"Host: ovnlet", b"Host: x"),
        request(b"", size=MOST + 1),
        request(b"{}") + b"POST",
        b"\r\n\r\n",
        b"x" * 400,
    ],
)
async def test_everything_else_is_the_librarys_from_its_first_byte(
    served: Served, given: bytes
) -> None:
    assert await served.ask(given) == b"library:" + given
    assert served.ended == []


async def test_a_peer_that_is_not_admitted_is_the_librarys(served: Served) -> None:
    served.admitted = False
    assert (await served.ask(request(b"{}"))).startswith(b"library:POST /cni")


async def test_a_client_that_disconnects_cancels_its_request(served: Served) -> None:
    served.held.clear()
    _, writer = await asyncio.open_unix_connection(served.path)
    writer.write(request(b"{}"))
    await writer.drain()
    await until(lambda: bool(served.running))
    writer.close()
    await until(lambda: not served.running)
    assert served.ended == ["cancelled"]


def test_the_head_is_that_of_the_plugins_source() -> None:
    """A change of the plugin would only cost the library's time, but nobody would notice that."""
    source = (Path(__file__).parents[2] / "cni" / "plugin" / "ovnlet.c").read_text()
    at = source.index('"POST /cni HTTP/1.1')
    literal = source[at : source.index("out.size - sizeof head);", at)]
    text = "".join(part for part in literal.split('"')[1::2]).replace("\\r\\n", "\r\n")
    assert HEAD.fullmatch(text.replace("%zu", "7").encode())


async def test_a_request_that_is_cancelled_ends_its_connection(served: Served) -> None:
    """As an agent that stops does: the plugin then asks the next one."""
    served.held.clear()
    asking = asyncio.create_task(served.ask(request(b"{}")))
    await until(lambda: bool(served.running))
    for task in served.running:
        task.cancel()
    assert await asking == b""
