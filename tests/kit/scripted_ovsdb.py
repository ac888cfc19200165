"""A scripted member of a database cluster, for the client's behaviour when answers are odd."""

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

_TEXT = {"type": "string"}
_OPTIONAL = {"type": {"key": "string", "min": 0, "max": 1}}
_FLAG = {"type": "boolean"}
SCHEMA = {"name": "D", "version": "1.0.0", "tables": {"T": {"columns": {"name": _TEXT}}}}
SERVER_SCHEMA = {
    "name": "_Server",
    "version": "1.0.0",
    "tables": {
        "Database": {
            "columns": {
                "name": _TEXT,
                "model": _TEXT,
                "schema": _OPTIONAL,
                "connected": _FLAG,
                "leader": _FLAG,
                "index": {"type": {"key": "integer", "min": 0, "max": 1}},
            }
        }
    },
}
_ROW = "11111111-1111-1111-1111-111111111111"
_NO_TRANSACTION = "00000000-0000-0000-0000-000000000000"


class Member:
    """Serves database D with one row in table T, on a unix socket.

    ``transactions`` has the answers to come; with none left, no answer is given.
    """

    def __init__(self, path: Path, *, leader: bool = True) -> None:
        self.path, self.leader, self.connected = path, leader, True
        self.rows = {"a": "22222222-2222-2222-2222-222222222222"}
        self.transactions: list[Any] = []
        self.asked: list[list[Any]] = []
        self.sessions = 0
        self._monitors: dict[asyncio.StreamWriter, dict[str, str]] = {}
        self._server: asyncio.Server | None = None

    @property
    def remote(self) -> str:
        """The member's address."""
        return f"unix:{self.path}"

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def stop(self) -> None:
        """Stop listening and cut all connections."""
        if self._server is not None:
            self._server.close()
        for writer in tuple(self._monitors):
            writer.transport.abort()

    def lose_quorum(self) -> None:
        """Report, as a member does by itself, that it has no quorum any more."""
        self.connected = self.leader = False
        change = {"Database": {_ROW: {"modify": {"connected": False, "leader": False}}}}
        for writer, monitors in self._monitors.items():
            if "_Server" in monitors:
                _send(writer, {"method": "update2", "params": [monitors["_Server"], change]})

    def insert(self, name: str, uuid: str) -> None:
        """Report a new row."""
        self.rows[name] = uuid
        change = {"T": {uuid: {"insert": {"name": name}}}}
        for writer, monitors in self._monitors.items():
            if "D" in monitors:
                params = [monitors["D"], _NO_TRANSACTION, change]
                _send(writer, {"method": "update3", "params": params})

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.sessions += 1
        self._monitors[writer] = {}
        decoder, text = json.JSONDecoder(), ""
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                text += data.decode()
                while text:
                    call, end = decoder.raw_decode(text)
                    text = text[end:]
                    self._answer(writer, call["method"], call["params"], call["id"])
        del self._monitors[writer]
        writer.close()

    def _answer(
        self, writer: asyncio.StreamWriter, method: str, params: list[Any], identity: Any
    ) -> None:
        result: Any = {}
        match method:
            case "get_schema":
                result = SERVER_SCHEMA if params[0] == "_Server" else SCHEMA
            case "monitor_cond" | "monitor_cond_since":
                self._monitors[writer][params[0]] = params[1]
                rows = {uuid: {"initial": {"name": name}} for name, uuid in self.rows.items()}
                result = [False, _NO_TRANSACTION, {"T": rows}]
                if params[0] == "_Server":
                    result = {"Database": {_ROW: {"initial": self._state()}}}
            case "transact":
                self.asked.append(params[1:])
                if not self.transactions:
                    return
                result = self.transactions.pop(0)
            case "echo":
                result = params
            case _:
                pass
        _send(writer, {"id": identity, "result": result, "error": None})

    def _state(self) -> dict[str, Any]:
        state = {"leader": self.leader, "connected": self.connected}
        return {"name": "D", "model": "clustered", "schema": "{}", "index": 1, **state}


def _send(writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
    writer.write(json.dumps({"id": None, **message}).encode())
