"""JSON-RPC over a unix socket, TCP or TLS, as ovsdb-server and the control sockets of OVS and OVN speak it."""

import asyncio
import codecs
import itertools
import json
import re
import ssl
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ovnlet.core.errors import NodeFault, NotReady

_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_BRACE = re.compile(r"[{}]")
_SPACE = re.compile(r"\s*")


class Refused(NodeFault):
    """The server answered with an error, and did nothing."""


class Disconnected(NotReady):
    """No answer will come. Whether it was done is unknown: look again."""


class Garbled(Disconnected):
    """What came is no stream of JSON objects."""


class Frames:
    """Cuts a stream into its JSON objects, which follow each other without a delimiter.

    Decoding is tried only where an object can end, so that a dump of many reads is decoded once.
    """

    def __init__(self) -> None:
        self._text = codecs.getincrementaldecoder("utf-8")()
        self._raw_decode = json.JSONDecoder().raw_decode
        self._parts: list[str] = []
        self._depth = 0
        self._string = ""

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """The objects that these bytes complete."""
        try:
            text = self._text.decode(data)
        except UnicodeDecodeError as error:
            raise Garbled(f"not UTF-8: {error}") from None
        if self._parts and not self._closes(text):
            self._parts.append(text)
            return
        text = "".join((*self._parts, text))
        self._parts, self._depth, self._string = [], 0, ""
        at = self._past_space(text, 0)
        while at < len(text):
            try:
                value, at = self._raw_decode(text, at)
            except (ValueError, RecursionError):
                self._keep(text[at:])
                return
            if not isinstance(value, dict):
                raise Garbled(f"not a JSON object: {text[:80]!r}")
            at = self._past_space(text, at)
            yield value

    def _keep(self, rest: str) -> None:
        """An object that does not decode is unfinished, unless its last brace is there."""
        if rest[0] != "{" or self._closes(rest):
            raise Garbled(f"not JSON: {rest[:80]!r}")
        self._parts = [rest]

    def _closes(self, text: str) -> bool:
        """Whether the object that is being collected ends within this text."""
        outside, quote, string = _STRING.sub("", self._string + text).partition('"')
        self._string = quote + string
        for brace in _BRACE.findall(outside):
            self._depth += 1 if brace == "{" else -1
            if self._depth == 0:
                return True
        return False

    @staticmethod
    def _past_space(text: str, at: int) -> int:
        space = _SPACE.match(text, at)
        return space.end() if space else at


class Peer(asyncio.Protocol):
    """One connection. Calls fail with Disconnected when it ends; `closed` tells why it did."""

    def __init__(
        self, name: str, notified: Callable[[str, Any], None] = lambda _method, _params: None
    ) -> None:
        self._name = name
        self._notified = notified
        self._frames = Frames()
        self._ids = itertools.count(1)
        self._pending: dict[int, asyncio.Future[Any]] = {}
        self._fault: Exception | None = None
        self._transport: asyncio.Transport | None = None
        self.closed: asyncio.Future[Disconnected] = asyncio.get_running_loop().create_future()

    async def call(self, method: str, params: Sequence[Any]) -> Any:
        """The result. A time-out or a cancelled wait withdraws nothing from the server."""
        if self.closed.done():
            raise self.closed.result()
        identity = next(self._ids)
        answer = self._pending[identity] = asyncio.get_running_loop().create_future()
        self._send({"method": method, "params": params, "id": identity})
        try:
            return await answer
        finally:
            self._pending.pop(identity, None)

    def drop(self) -> None:
        """End the connection now, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  (for the type checker)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._frames.feed(data):
                self._take(message)
        except Garbled as error:
            self._fault = error
            self.drop()

    def connection_lost(self, exc: Exception | None) -> None:
        reason = self._fault or exc or "closed by the server"
        kind = Garbled if isinstance(self._fault, Garbled) else Disconnected
        self.closed.set_result(kind(f"connection to {self._name} lost: {reason}"))
        for answer in self._pending.values():
            if not answer.done():
                answer.set_exception(kind(f"connection to {self._name} lost: {reason}"))

    def _take(self, message: dict[str, Any]) -> None:
        match message:
            case {"method": "echo", "params": params, "id": identity}:
                self._send({"result": params, "error": None, "id": identity})
            case {"method": str(method), "params": params}:
                self._notified(method, params)
            case {"id": int(identity), "error": error} if answer := self._pending.get(identity):
                if answer.done():
                    return
                if error is None:
                    answer.set_result(message.get("result"))
                else:
                    answer.set_exception(
                        Refused(
                            f"{self._name}: {error if isinstance(error, str) else _words(error)}"
                        )
                    )

    def _send(self, message: dict[str, Any]) -> None:
        if self._transport is not None:
            self._transport.write(json.dumps(message, separators=(",", ":")).encode())


async def connect(
    remote: str,
    name: str,
    notified: Callable[[str, Any], None] = lambda _method, _params: None,
    tls: ssl.SSLContext | None = None,
) -> Peer:
    """A connection to a socket's path, or to `unix:PATH`, `tcp:HOST:PORT` or `ssl:HOST:PORT`."""
    loop = asyncio.get_running_loop()
    kind, _, where = remote.partition(":")
    try:
        if kind in ("tcp", "ssl"):
            host, _, port = where.rpartition(":")
            # OVN's own clients check the chain and not the name, which its certificates do not bear.
            options: dict[str, Any] = {"ssl": tls, "server_hostname": ""} if kind == "ssl" else {}
            _, peer = await loop.create_connection(
                lambda: Peer(name, notified), host.strip("[]"), int(port or 0), **options
            )
        else:
            _, peer = await loop.create_unix_connection(
                lambda: Peer(name, notified), remote.removeprefix("unix:")
            )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise Disconnected(f"cannot connect to {name} at {remote}: {reason}") from error
    return peer


def _words(error: Any) -> str:
    """The server's own text out of an error object."""
    if not isinstance(error, dict):
        return json.dumps(error)
    return ": ".join(str(error[part]) for part in ("error", "details") if error.get(part))
