"""An independent OVSDB client: a monitor over the unix socket that reconnects when disconnected."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

SOCKET = "/run/openvswitch/db.sock"
_COLUMNS = {
    "Open_vSwitch": ["external_ids"],
    "Bridge": ["name", "ports"],
    "Port": ["name", "interfaces", "qos"],
    "Interface": [
        "name",
        "external_ids",
        "ofport",
        "type",
        "ingress_policing_rate",
        "ingress_policing_burst",
    ],
    "QoS": ["type", "queues", "other_config", "external_ids"],
    "Queue": ["other_config", "external_ids"],
}
Row = dict[str, Any]
_NOISE = ("ovn-installed-ts",)


class Rows:
    """A copy of the monitored tables: `tables` has rows by UUID, as of the last `pump`.

    `changes` counts row updates since it was last reset.
    """

    def __init__(self, path: str = SOCKET) -> None:
        self._path = path
        self._socket: socket.socket | None = None
        self._buffer = ""
        self._tried = 0.0
        self._marks = 0
        self._answered = 0
        self.tables: dict[str, dict[str, Row]] = {}
        self.changes = 0

    def fileno(self) -> int:
        """Return the socket's descriptor, or -1 without a connection."""
        return self._socket.fileno() if self._socket else -1

    def pump(self) -> None:
        """Read what has arrived without blocking; connect if there is no connection."""
        if self._socket is None:
            self._connect()
            return
        while True:
            try:
                data = self._socket.recv(1 << 18)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                self._disconnect()
                return
            self._buffer += data.decode()
        self._decode()

    def barrier(self, timeout: float = 0.5) -> None:
        """Wait until everything committed so far has arrived, but at most ``timeout`` seconds."""
        if self._socket is None:
            return
        self._marks += 1
        self._send({"method": "echo", "id": f"mark {self._marks}", "params": []})
        end = time.monotonic() + timeout
        while self._answered < self._marks and time.monotonic() < end and self._socket is not None:
            time.sleep(0.0005)
            self.pump()

    def interfaces(self, name: str) -> list[Row]:
        """Return the Interface rows of this name."""
        return [row for row in self.tables.get("Interface", {}).values() if row["name"] == name]

    def facts(self, port: str, iface_id: str) -> Iterator[tuple[str, str]]:
        """Yield what is compared of one port, its interface, and the interfaces of the same
        iface-id.
        """
        if self._socket is None:
            yield "ovsdb", "away"
            return
        ports = {uuid for uuid, row in self.tables["Port"].items() if row["name"] == port}
        bridges = [
            row["name"] for row in self.tables["Bridge"].values() if ports & _set(row["ports"])
        ]
        yield "port on", " ".join(sorted(bridges))
        for row in self.interfaces(port):
            for key, value in _map(row["external_ids"]).items():
                if key not in _NOISE:
                    yield f"external_ids {key}", value
            plugged = [number for number in _set(row["ofport"]) if number > 0]
            yield "ofport", "yes" if plugged else "no"
            yield (
                "policing",
                f"{row['ingress_policing_rate']} burst {row['ingress_policing_burst']}",
            )
        yield "claims", str(len(self._labelled("Interface", iface_id)))
        yield from self._limits(port, iface_id)

    def _limits(self, port: str, iface_id: str) -> Iterator[tuple[str, str]]:
        """Yield the port's QoS row, and how many rows are labelled as this port's, bound or not."""
        bound = {
            uuid
            for row in self.tables["Port"].values()
            if row["name"] == port
            for uuid in _set(row["qos"])
        }
        for uuid in bound:
            row = self.tables["QoS"].get(uuid, {})
            yield "qos", f"{row.get('type')} {_words(row)}"
            for number, queue in _map(row.get("queues", ["map", []])).items():
                yield f"queue {number}", _words(self.tables["Queue"].get(queue[1], {}))
        for table in ("QoS", "Queue"):
            yield f"{table} rows", str(len(self._labelled(table, iface_id)))

    def _labelled(self, table: str, iface_id: str) -> list[Row]:
        return [
            r
            for r in self.tables[table].values()
            if _map(r["external_ids"]).get("iface-id") == iface_id
        ]

    def _connect(self) -> None:
        if time.monotonic() - self._tried < 0.02:
            return
        self._tried = time.monotonic()
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.settimeout(0.2)
            sock.connect(self._path)
        except OSError:
            sock.close()
            return
        sock.setblocking(False)
        self._socket, self._buffer, self.tables = sock, "", {table: {} for table in _COLUMNS}
        self._marks = self._answered = 0
        request = {table: [{"columns": names}] for table, names in _COLUMNS.items()}
        self._send(
            {"method": "monitor", "id": "monitor", "params": ["Open_vSwitch", "drift", request]}
        )
        self.barrier(2.0)

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def _send(self, message: dict[str, Any]) -> None:
        assert self._socket is not None
        try:
            self._socket.sendall(json.dumps(message).encode())
        except OSError:
            self._disconnect()

    def _decode(self) -> None:
        decoder, at = json.JSONDecoder(), 0
        while at < len(self._buffer):
            try:
                message, at = decoder.raw_decode(self._buffer, at)
            except ValueError:
                break
            self._take(message)
        self._buffer = self._buffer[at:]

    def _take(self, message: dict[str, Any]) -> None:
        if message.get("method") == "echo":
            self._send({"id": message["id"], "result": message["params"], "error": None})
        elif message.get("method") == "update":
            self._update(message["params"][1])
        elif message.get("id") == "monitor":
            self._update(message["result"])
        elif str(message.get("id")).startswith("mark"):
            self._answered += 1

    def _update(self, tables: dict[str, dict[str, dict[str, Row]]]) -> None:
        for table, rows in tables.items():
            for uuid, change in rows.items():
                self.changes += 1
                if "new" in change:
                    self.tables[table][uuid] = change["new"]
                else:
                    self.tables[table].pop(uuid, None)


def _set(value: Any) -> set[Any]:
    """Return a column as a set.

    OVSDB writes a set of one as the value itself, and a reference as a pair.
    """
    if isinstance(value, list) and value[0] == "set":
        return {item[1] if isinstance(item, list) else item for item in value[1]}
    return {value[1] if isinstance(value, list) else value}


def _map(value: Any) -> dict[Any, Any]:
    return dict(value[1])


def _words(row: Row) -> str:
    """Return both maps of a QoS or a Queue row as text."""
    return str(
        [
            sorted(_map(row[column]).items())
            for column in ("other_config", "external_ids")
            if column in row
        ]
    )
