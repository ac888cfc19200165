"""The Idl of `ovs` for one database: it reports what changed as plain values.

Everything here runs in the thread of ovsdbapp's connection, except for ``fetch_schema``, which runs
in a worker thread.
"""

import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ovs import jsonrpc
from ovs.db.idl import ROW_DELETE, SchemaHelper
from ovs.poller import Poller
from ovs.stream import Stream
from ovsdbapp.backend.ovs_idl.connection import OvsdbIdl

from ovnlet.core.errors import NotReady
from ovnlet.drivers.northbound import streams

# Milliseconds. With the library's defaults (8 s and 5 s) a killed server of a cluster costs 8 to
# 16 s, with these at most 4 s. The library allows no back-off below a second.
BACKOFF, PROBE = 1000, 2000
_FAULT_PAUSE = 1.0  # seconds
_SCHEMA_TIMEOUT = 2.0  # seconds, for each server

Row = dict[str, Any]
Update = tuple[str, str, Row | None]  # table, UUID, and the row, None if it was deleted


@dataclass(frozen=True, slots=True)
class Listener:
    """What the Idl calls, in its thread.

    ``loaded(rows)`` has all rows, after each connection; ``updated`` the changes of some messages,
    in their order; ``lost()`` says that the rows are no longer current.
    """

    loaded: Callable[[dict[str, dict[str, Row]]], None]
    updated: Callable[[list[Update]], None]
    lost: Callable[[], None]


class DatabaseIdl(OvsdbIdl):  # type: ignore[misc]
    """A live copy of some tables, from the leader of a cluster or from a single server.

    The library leaves a server that is not the leader or has no quorum, probes the connection, and
    asks after a reconnect for what has changed since.
    """

    def __init__(self, remotes: str, helper: SchemaHelper, listener: Listener) -> None:
        super().__init__(remotes, helper, probe_interval=PROBE, leader_only=True)
        self._session.reconnect.set_backoff(BACKOFF, BACKOFF)
        # The library turns probes off if the first remote is unix:, but that server can hang too.
        self._session.reconnect.set_probe_interval(PROBE)
        self._listener = listener
        self._monitored: int | None = None  # the connection whose rows were reported
        self._updates: list[Update] = []
        self._round = float("-inf")  # when the last round of attempts began

    @property
    def up(self) -> bool:
        """Whether the rows are current."""
        return self._monitored is not None

    def cooperative_yield(self) -> None:
        """Do nothing (the library calls this before each row).

        Its own method sleeps for no time, which takes 90 us and gives the processor away: on a busy
        machine the first dump of 5,000 ports took 6 s. Threads need no help to take turns.
        """

    def notify(self, event: str, row: Any, updates: Any = None) -> None:
        """Keep one changed row (the library calls this after each message)."""
        del updates
        if self.up:
            value = None if event == ROW_DELETE else _columns(row)
            self._updates.append((row._table.name, str(row.uuid), value))

    def run(self) -> bool:
        """Process what has arrived, and report it. Never raise: the caller would try at once."""
        self._begin_round()
        try:
            changed = bool(super().run())
        except Exception as error:  # noqa: BLE001 - whatever a server sent, another one may do better
            streams.note(f"the session with {self.session_name()} ended with {error!r}")
            self._report(None)
            time.sleep(_FAULT_PAUSE)
            self.force_reconnect()
            return False
        up = self.state == self.IDL_S_MONITORING and self._session.is_connected()
        self._report(self._last_seqno if up else None)
        return changed

    def _begin_round(self) -> None:
        """Allow one attempt for each server at once, again after each back-off.

        The library tries one server after each back-off. Any of them may have become the leader.
        """
        now = time.monotonic()
        if not self.up and 1000 * (now - self._round) >= BACKOFF:
            self._round = now
            self._session.reset_backoff()

    def _report(self, session: int | None) -> None:
        updates, self._updates = self._updates, []
        if session == self._monitored:
            if updates:
                self._listener.updated(updates)
            return
        self._monitored = session
        if session is None:
            self._listener.lost()
        else:
            self._listener.loaded(
                {
                    name: {str(row.uuid): _columns(row) for row in table.rows.values()}
                    for name, table in self.tables.items()
                }
            )


def _columns(row: Any) -> Row:
    return {name: _value(row._data[name]) for name in row._table.columns}


def _value(datum: Any) -> Any:
    """Return a map as a dict, a set as a frozenset, an optional value as an atom or None."""
    if datum.type.is_map():
        return {_atom(key): _atom(value) for key, value in datum.values.items()}
    atoms = map(_atom, datum.values)
    return frozenset(atoms) if datum.type.n_max != 1 else next(atoms, None)


def _atom(atom: Any) -> Any:
    return str(atom.value) if isinstance(atom.value, uuid.UUID) else atom.value


def fetch_schema(remotes: str, name: str, tables: Mapping[str, Sequence[str]]) -> SchemaHelper:
    """Return the types of these columns from the first server that answers.

    The Idl has to know them before it connects. It blocks for some seconds at most for each server.
    Raise NotReady if no server answers, or if the schema lacks a column.
    """
    for remote in _shuffled(remotes):
        schema = _schema_of(remote, name)
        if schema is not None:
            helper = SchemaHelper(None, schema)
            for table, columns in tables.items():
                known = schema["tables"].get(table, {}).get("columns", {})
                if missing := [column for column in columns if column not in known]:
                    raise NotReady(f"{name} {schema.get('version')} has no {table}.{missing[0]}")
                helper.register_columns(table, list(columns))
            return helper
    raise NotReady(streams.reason() or f"no server of {name} answers")


def _shuffled(remotes: str) -> Iterator[str]:
    each = remotes.split(",")
    yield from random.sample(each, len(each))


def _schema_of(remote: str, name: str) -> dict[str, Any] | None:
    """Return the schema as one server knows it, None if it does not answer in time."""
    deadline = time.monotonic() + _SCHEMA_TIMEOUT
    error, stream = Stream.open_block(Stream.open(remote), timeout=int(1000 * _SCHEMA_TIMEOUT))
    if error:
        streams.note(remote, error)
        return None
    rpc = jsonrpc.Connection(stream)
    try:
        request = jsonrpc.Message.create_request("get_schema", [name])
        rpc.send(request)
        while not rpc.get_status() and (left := deadline - time.monotonic()) > 0:
            _, answer = rpc.recv()
            if answer is not None and answer.id == request.id:
                return answer.result if isinstance(answer.result, dict) else None
            poller = Poller()
            rpc.run()
            rpc.wait(poller)
            rpc.recv_wait(poller)
            poller.timer_wait(int(1000 * left) + 1)
            poller.block()
        status = rpc.get_status()
        streams.note(*((remote, status) if status > 0 else (f"{remote} does not answer",)))
        return None
    finally:
        rpc.close()
