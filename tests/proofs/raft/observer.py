"""What the database's own servers say: who leads, which ports there are, which term it is.

It speaks to each member's unix socket by itself, so that it shares no error with the controller.
"""

import json
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from testbed import raft
from testbed.bed import Bed

Op = dict[str, Any]
DATABASE, PORT = "OVN_Northbound", "Logical_Switch_Port"
_LEADERSHIP: Op = {
    "op": "select",
    "table": "Database",
    "where": [["name", "==", DATABASE]],
    "columns": ["leader", "connected"],
}


class Server:
    """One member's northbound server, asked over a connection that is reopened after an error."""

    def __init__(self, remote: str) -> None:
        self._path = remote.removeprefix("unix:")
        self._socket: socket.socket | None = None

    def ask(self, database: str, *ops: Op, within: float = 1.0) -> list[Any]:
        """Return the results of the operations; none if no answer comes in time."""
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX)
                self._socket.settimeout(within)
                self._socket.connect(self._path)
            call = {"method": "transact", "params": [database, *ops], "id": 1}
            self._socket.sendall(json.dumps(call).encode())
            return list(self._answer()["result"] or [])
        except (OSError, ValueError):
            if self._socket is not None:
                self._socket.close()
            self._socket = None
            return []

    def _answer(self) -> dict[str, Any]:
        """Read up to the answer. The server's own requests (echo) are left unanswered."""
        assert self._socket
        text, decoder = "", json.JSONDecoder()
        while data := self._socket.recv(65536):
            text += data.decode(errors="replace")
            while text:
                try:
                    message, end = decoder.raw_decode(text)
                except ValueError:
                    break
                text = text[end:].lstrip()
                if message.get("id") == 1 and "result" in message:
                    return dict(message)
        raise OSError("closed")


@dataclass(frozen=True, slots=True)
class Port:
    """A pod's logical switch port as a row of the database."""

    uuid: str
    name: str
    addresses: tuple[str, ...]


@dataclass
class Observer:
    """Looks ten times a second which member leads the cluster and has a quorum."""

    bed: Bed
    _seen: list[tuple[float, int | None]] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Look in a thread until `stop`."""
        threading.Thread(target=self._look, daemon=True).start()

    def stop(self) -> None:
        """End the thread."""
        self._ended.set()

    def _look(self) -> None:
        servers = [Server(member.remote) for member in raft.members(self.bed)]
        while not self._ended.wait(0.1):
            leading = [index for index, server in enumerate(servers) if _leads(server)]
            self._seen.append((time.monotonic(), leading[0] if leading else None))

    def without_quorum(self, since: float, until: float) -> float:
        """Return the seconds between two moments for which no member led with a quorum."""
        seen = [each for each in self._seen if since <= each[0] <= until]
        return sum(after[0] - before[0] for before, after in pairwise(seen) if before[1] is None)

    def query(self, *ops: Op) -> list[Any]:
        """Return what the leader answers to one transaction; wait for a leader."""
        while True:
            for member in raft.members(self.bed):
                server = Server(member.remote)
                if _leads(server) and (answer := server.ask(DATABASE, *ops, within=5.0)):
                    return answer
            time.sleep(0.1)

    def ports(self) -> dict[str, Port]:
        """Return the ports of pods by name, with the addresses they are pinned to."""
        columns = ["_uuid", "name", "addresses", "dynamic_addresses", "type"]
        rows = self.query(_select(columns))[0]["rows"]
        return {row["name"]: _port(row) for row in rows if row["type"] == ""}

    def term_and_ports(self, prefix: str) -> tuple[str, int]:
        """Return the term and the number of ports whose name begins so, read at one moment."""
        term = {"op": "select", "table": "NB_Global", "where": [], "columns": ["external_ids"]}
        rows, ports = self.query(term, _select(["name"]))
        held = dict(rows["rows"][0]["external_ids"][1])
        return held.get("ovnlet-term", ""), sum(
            row["name"].startswith(prefix) for row in ports["rows"]
        )


def duplicates(ports: Sequence[Port]) -> int:
    """Return how many addresses and MACs more than one port has."""
    every = [word for port in ports for text in port.addresses for word in text.split()]
    every = [word for word in every if word != "dynamic"]
    return len(every) - len(set(every))


def _leads(server: Server) -> bool:
    answer = server.ask("_Server", _LEADERSHIP)
    rows = answer[0].get("rows", []) if answer else []
    return bool(rows and rows[0]["leader"] and rows[0]["connected"])


def _select(columns: list[str]) -> Op:
    return {"op": "select", "table": PORT, "where": [], "columns": columns}


def _port(row: dict[str, Any]) -> Port:
    texts = [*_set(row["addresses"]), *_set(row["dynamic_addresses"])]
    return Port(row["_uuid"][1], row["name"], tuple(sorted(set(texts) - {"dynamic"})))


def _set(value: Any) -> list[str]:
    return list(value[1]) if isinstance(value, list) else [value]
