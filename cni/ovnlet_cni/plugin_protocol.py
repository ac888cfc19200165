"""The plugin's requests, read and answered without an HTTP library: they all have one form.

Whatever has another form, such as a request of a person with curl, is handed to the library.
"""

import asyncio
import re
import sys
from collections.abc import Callable, Coroutine
from http import HTTPStatus

# What the plugin writes, byte by byte; its test compares them.
HEAD = re.compile(
    rb"POST /cni HTTP/1\.1\r\nHost: ovnlet\r\nConnection: close\r\n"
    rb"Content-Type: application/json\r\nContent-Length: ([0-9]{1,7})\r\n\r\n"
)
_BEGINNING = b"POST /cni HTTP/1.1\r\nHost: ovnlet\r\nConnection: close\r\n"
# Bytes. The plugin's own head has at most 160.
_LONGEST_HEAD = 256
# Answers a body with a status and a body.
Answer = Callable[[bytes], Coroutine[None, None, tuple[int, bytes]]]


class PluginProtocol(asyncio.Protocol):
    """One connection. It has one request, whose answer ends it.

    `admits` returns whether the peer may call, `library` makes the protocol for other requests.
    Each task that answers is in `running` until it ends; a client that disconnects cancels it.
    """

    def __init__(
        self,
        answer: Answer,
        admits: Callable[[asyncio.BaseTransport], bool],
        library: Callable[[], asyncio.Protocol],
        running: set[asyncio.Task[object]],
        most: int,
    ) -> None:
        """Make a protocol that takes bodies of at most `most` bytes."""
        self._answer, self._admits, self._library = answer, admits, library
        self._running, self._most = running, most
        self._received = bytearray()
        self._body_at = 0
        self._size: int | None = None
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (asyncio calls this)."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer a request once it is complete."""
        if self._task is not None:
            return
        self._received += data
        if self._size is None and not self._read_head():
            return
        assert self._size is not None  # noqa: S101 - for the type checker
        if len(self._received) < self._size:
            return
        if len(self._received) > self._size:  # a client that sends more than one request
            self._hand_over()
            return
        self._start()

    def connection_lost(self, exc: Exception | None) -> None:
        """End what the client does not wait for any more."""
        self._transport = None
        if self._task is not None:
            self._task.cancel()

    def _read_head(self) -> bool:
        """Return whether it is the plugin's and complete. Hand over whatever is another's."""
        if (head := HEAD.match(self._received)) is not None:
            if int(head[1]) <= self._most and self._transport and self._admits(self._transport):
                self._body_at, self._size = head.end(), head.end() + int(head[1])
                return True
        elif len(self._received) < _LONGEST_HEAD and b"\r\n\r\n" not in self._received:
            start = bytes(self._received[: len(_BEGINNING)])
            if _BEGINNING.startswith(start):
                return False
        self._hand_over()
        return False

    def _hand_over(self) -> None:
        """Let the library have the connection, from its first byte on."""
        if (transport := self._transport) is None:
            return
        self._transport, protocol = None, self._library()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(bytes(self._received))

    def _start(self) -> None:
        body = bytes(self._received[self._body_at :])
        if sys.version_info >= (3, 12):
            loop = asyncio.get_running_loop()
            task = asyncio.Task(self._respond(body), loop=loop, eager_start=True)
        else:
            task = asyncio.create_task(self._respond(body))
        self._task = task
        if not task.done():
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _respond(self, body: bytes) -> None:
        """Write the answer, and close the connection; close it also if there will be none."""
        try:
            status, answer = await self._answer(body)
        except BaseException:
            if self._transport is not None:
                self._transport.abort()
            raise
        if (transport := self._transport) is None:
            return
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(answer)}\r\n"
            "Connection: close\r\n\r\n"
        )
        transport.write(head.encode() + answer)
        transport.close()
