"""JSON-RPC over a unix socket, for ovsdb-server and the control sockets of daemons.

This module cuts the stream into messages and pairs answers with calls. What a method means belongs
to `replica` and `unixctl`.
"""

import asyncio
import codecs
import itertools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ovnlet.core.errors import NodeFault, NotReady

# Gets the result of a call, or the error that ended it.
Answered = Callable[[Any, NodeFault | NotReady | None], None]
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_BRACE = re.compile(r"[{}]")
_SPACE = re.compile(r"\s*")


class Refused(NodeFault):
    """The server answered with an error and did nothing."""


class Disconnected(NotReady):
    """No answer will come. The outcome of the call is unknown: read the state again."""


class Garbled(Disconnected):
    """The peer sent something other than a stream of JSON objects."""


class Frames:
    """A splitter of a byte stream into JSON objects, which follow each other without a delimiter.

    Decoding is tried only where an object can end. So a dump that arrives in many reads is decoded
    once, not once per read.
    """

    def __init__(self) -> None:
        self._text = codecs.getincrementaldecoder("utf-8")()
        self._raw_decode = json.JSONDecoder().raw_decode
        self._parts: list[str] = []
        self._depth = 0
        self._string = ""

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """Yield the objects that these bytes complete. Raise Garbled for anything else."""
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
        """Keep the start of an object until more bytes come.

        Raise Garbled if its last brace is there already: then it is complete, and still no JSON.
        """
        if rest[0] != "{" or self._closes(rest):
            raise Garbled(f"not JSON: {rest[:80]!r}")
        self._parts = [rest]

    def _closes(self, text: str) -> bool:
        """Return whether the object that is being collected ends within this text."""
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


class JsonRpcPeer(asyncio.Protocol):
    """One connection.

    Its calls fail with Disconnected when it ends. The future ``closed`` then holds the reason.
    ``notified(method, params)`` runs for each notification, in the event loop, and must not block.
    """

    def __init__(
        self, name: str, notified: Callable[[str, Any], None] = lambda _method, _params: None
    ) -> None:
        self._name = name
        self._notified = notified
        self._frames = Frames()
        self._ids = itertools.count(1)
        self._pending: dict[int, Answered] = {}
        self._fault: Exception | None = None
        self._transport: asyncio.Transport | None = None
        self.closed: asyncio.Future[Disconnected] = asyncio.get_running_loop().create_future()

    async def call(self, method: str, params: Sequence[Any]) -> Any:
        """Return the result of a call. There is no time-out of its own.

        Cancelling the wait does not withdraw the call: the server may still execute it. Raise
        Refused if the server answers with an error or if JSON cannot hold the parameters,
        Disconnected if the connection ends.
        """
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def answered(result: Any, error: NodeFault | NotReady | None) -> None:
            if answer.done():
                return
            if error is None:
                answer.set_result(result)
            else:
                answer.set_exception(error)

        identity = self.begin(method, params, answered)
        try:
            return await answer
        finally:
            self._pending.pop(identity, None)

    def begin(self, method: str, params: Sequence[Any], answered: Answered) -> int:
        """Send a call, and return its number at once. ``answered`` runs when its end is known.

        It runs in the event loop as soon as the answer is read, and must neither block nor raise.
        Raise as ``call`` does where the call cannot be sent; ``answered`` does not run then.
        """
        if self.closed.done():
            raise self.closed.result()
        identity = next(self._ids)
        try:
            self._send({"method": method, "params": params, "id": identity})
        except (TypeError, ValueError) as error:
            raise Refused(f"{self._name}: {method} cannot be sent: {error}") from error
        self._pending[identity] = answered
        return identity

    def drop(self) -> None:
        """End the connection now. Calls that are under way fail."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (asyncio calls this)."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  (for the type checker)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Handle the messages that are complete; drop the connection if the stream is malformed."""
        try:
            for message in self._frames.feed(data):
                self._handle(message)
        except Garbled as error:
            self._fault = error
            self.drop()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail all pending calls, with the reason of the loss."""
        reason = self._fault or exc or "closed by the server"
        kind = Garbled if isinstance(self._fault, Garbled) else Disconnected
        self.closed.set_result(kind(f"connection to {self._name} lost: {reason}"))
        pending, self._pending = self._pending, {}
        for answered in pending.values():
            answered(None, kind(f"connection to {self._name} lost: {reason}"))

    def _handle(self, message: dict[str, Any]) -> None:
        match message:
            case {"method": "echo", "params": params, "id": identity}:
                self._send({"result": params, "error": None, "id": identity})
            case {"method": str(method), "params": params}:
                self._notified(method, params)
            case {"id": int(identity), "error": error} if identity in self._pending:
                answered = self._pending.pop(identity)
                if error is None:
                    answered(message.get("result"), None)
                else:
                    answered(None, Refused(f"{self._name}: {_error_text(error)}"))

    def _send(self, message: dict[str, Any]) -> None:
        if self._transport is not None:
            self._transport.write(json.dumps(message, separators=(",", ":")).encode())


async def connect(
    socket: str,
    name: str,
    notified: Callable[[str, Any], None] = lambda _method, _params: None,
) -> JsonRpcPeer:
    """Return a connection to a unix socket, given by its path or as `unix:PATH`.

    Raise Disconnected if it cannot be opened. ``name`` is what error messages call the server.
    """
    try:
        _, peer = await asyncio.get_running_loop().create_unix_connection(
            lambda: JsonRpcPeer(name, notified), socket.removeprefix("unix:")
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise Disconnected(f"cannot connect to {name} at {socket}: {reason}") from error
    return peer


def _error_text(error: Any) -> str:
    """Return the server's own text out of an `error` member: a string, or OVSDB's error object."""
    if isinstance(error, str):
        return error
    if not isinstance(error, dict):
        return json.dumps(error)
    return ": ".join(str(error[part]) for part in ("error", "details") if error.get(part))
