"""A live copy of some columns of an OVSDB, and transactions on it.

It uses one connection in the event loop, without a thread. A lost connection is reopened without
end. An open one is probed, because nothing else shows that a server behind a unix socket hangs.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ovnlet.core.errors import NodeFault, OvnletError
from ovnlet.drivers.ovsdb import jsonrpc
from ovnlet.drivers.ovsdb.encoding import Column
from ovnlet.drivers.ovsdb.jsonrpc import Disconnected, Garbled, JsonRpcPeer, Refused

Row = dict[str, Any]
Op = dict[str, Any]
Results = list[dict[str, Any]]
Ended = Callable[[Results | Exception], None]
Change = tuple[str, str, Row | None, Row | None]  # table, UUID, the row before, the row after

WAIT_FAILED = "timed out"  # RFC 7047, section 5.2.6
# Seconds: between two probes, and until the answer to one of them.
PROBE = 2.0
# Seconds. A first dump of many thousand rows takes well under one.
_LOAD_TIMEOUT = 10.0
# Seconds between two attempts to connect: the first, and the limit of the doubling.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0


class Replica:
    """A live copy of some tables and columns of one database.

    ``rows[table][uuid]`` is a row as the server last reported it. A row is replaced, never changed
    in place. The rows stay as they were while there is no connection: check ``connected``.

    ``changed`` gets the changes of one message, which often is one transaction, after all its rows
    are in place. ``reloaded()`` runs after the first dump of each session. Any row may differ then,
    and ``changed`` does not run for them. Both run in the event loop and must not block.

    ``remote`` is the server's unix socket.
    """

    def __init__(
        self,
        remote: str,
        name: str,
        tables: Mapping[str, Sequence[str]],
        *,
        changed: Callable[[Sequence[Change]], None],
        reloaded: Callable[[], None],
    ) -> None:
        self._remote, self._name, self._tables = remote, name, tables
        self._changed, self._reloaded = changed, reloaded
        self._columns: dict[str, dict[str, Column]] = {}
        self._peer: JsonRpcPeer | None = None
        self._buffered: list[Any] | None = None
        self._task: asyncio.Task[None] | None = None
        self.rows: dict[str, dict[str, Row]] = {table: {} for table in tables}
        self.session = 0
        self.connected = asyncio.Event()
        self.last_answer = float("-inf")
        self.fault = "not connected yet"

    def start(self) -> None:
        """Start ``run`` in a task. ``connected`` is set while the rows are current."""
        self._task = asyncio.create_task(self.run(), name=f"ovsdb {self._name}")

    async def ended(self) -> None:
        """Wait for the end of the task that ``start`` began, and raise what ended it."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def close(self) -> None:
        """Close the connection and wait until its task has ended."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def transact(self, ops: Sequence[Op]) -> Results:
        """Commit one transaction and return the result of each operation.

        Raise Refused with the server's text if nothing was committed. With Disconnected, or after a
        cancelled wait, the outcome is unknown.
        """
        end: asyncio.Future[Results | Exception] = asyncio.get_running_loop().create_future()
        self.begin(ops, lambda ended: None if end.done() else end.set_result(ended))
        if isinstance(ended := await end, Exception):
            raise ended
        return ended

    def begin(self, ops: Sequence[Op], ended: Ended) -> None:
        """Send one transaction and return at once. ``ended`` runs when its end is known.

        It gets the result of each operation, or the error that ``transact`` would raise. It runs in
        the event loop as soon as the answer is read, after the changes that the server reported
        before, and must neither block nor raise. Raise Disconnected or Refused where nothing can be
        sent; ``ended`` does not run then.
        """
        if (peer := self._peer) is None or not self.connected.is_set():
            raise Disconnected(self.fault)

        def answered(results: Any, error: OvnletError | None) -> None:
            ended(error or self._judged(peer, ops, results))

        peer.begin("transact", [self._name, *ops], answered)

    def _judged(self, peer: JsonRpcPeer, ops: Sequence[Op], results: Any) -> Results | OvnletError:
        """Return the results of a transaction's operations, or the error that they report."""
        if not _are_results(results):
            peer.drop()
            return Garbled(f"{self._name} answered a transaction with {str(results)[:80]!r}")
        self.last_answer = asyncio.get_running_loop().time()
        for number, result in enumerate(results):
            if result and "error" in result:
                return Refused(error_text(ops[number] if number < len(ops) else {}, result))
        return [result or {} for result in results]

    async def run(self) -> None:
        """Open one session after the other. The pause is short again after one that loaded.

        Return only when cancelled. Raise what is not foreseen, such as KeyError for an answer of
        another form; another call goes on with a new session.
        """
        pause = _FIRST_PAUSE
        while True:
            session = self.session
            try:
                await self._serve()
            except (OSError, OvnletError) as error:
                self.fault = str(error) or f"{self._name} does not answer"
            except Exception as error:
                self.fault = f"the session with {self._name} ended with {error!r}"
                raise
            pause = _FIRST_PAUSE if self.session != session else min(2 * pause, _LONGEST_PAUSE)
            await asyncio.sleep(pause)

    async def _serve(self) -> None:
        """Run one session from connecting to its loss. It always ends with an exception."""
        self._buffered = []
        peer = await jsonrpc.connect(self._remote, self._name, self._notified)
        try:
            async with asyncio.timeout(_LOAD_TIMEOUT):
                await self._load(peer)
            while not (await asyncio.wait({peer.closed}, timeout=PROBE))[0]:
                async with asyncio.timeout(PROBE):
                    await peer.call("echo", [])
                self.last_answer = asyncio.get_running_loop().time()
            raise peer.closed.result()
        finally:
            self.connected.clear()
            self._peer = None
            peer.drop()

    async def _load(self, peer: JsonRpcPeer) -> None:
        """Read the schema and the first dump. Raise NodeFault if the schema lacks a column."""
        schema = await peer.call("get_schema", [self._name])
        try:
            self._columns = {
                table: {
                    column: Column.parse(schema["tables"][table]["columns"][column]["type"])
                    for column in columns
                }
                for table, columns in self._tables.items()
            }
        except KeyError as missing:
            raise NodeFault(
                f"{self._name} {schema.get('version')} has no table or column {missing}"
            ) from None
        wanted = {table: {"columns": list(columns)} for table, columns in self._tables.items()}
        dump = await peer.call("monitor_cond", [self._name, None, wanted])
        # Later changes may arrive in the same read as the dump, before this line runs.
        buffered, self._buffered = self._buffered or [], None
        self.rows = {table: {} for table in self._tables}
        for updates in (dump, *buffered):
            list(self._update(updates))
        self._peer = peer
        self.session += 1
        self.last_answer = asyncio.get_running_loop().time()
        self.connected.set()
        self._reloaded()

    def _notified(self, method: str, params: Any) -> None:
        if method == "update2":
            if self._buffered is not None:
                self._buffered.append(params[1])
                return
            self._changed(tuple(self._update(params[1])))
        elif method == "monitor_canceled" and self._peer is not None:
            self._peer.drop()  # the server sends it when the schema is converted

    def _update(self, updates: Any) -> Iterator[Change]:
        """Apply a `table-updates2` (ovsdb-server(7)) and yield each row's change.

        Columns that have their default value are not in an `initial` or `insert`.
        """
        for table, rows in updates.items():
            columns, here = self._columns[table], self.rows[table]
            for uuid, update in rows.items():
                ((verb, values),) = update.items()
                old, new = here.pop(uuid, None), None
                if verb == "modify" and old is not None:
                    new = old | {
                        name: columns[name].patch(old[name], value)
                        for name, value in values.items()
                    }
                elif verb in ("initial", "insert"):
                    new = {name: column.default for name, column in columns.items()}
                    new |= {name: columns[name].decode(value) for name, value in values.items()}
                if new is not None:
                    here[uuid] = new
                yield table, uuid, old, new


def _are_results(answer: Any) -> bool:
    """Return whether an answer to a transaction has the form of RFC 7047, section 4.1.3."""
    return isinstance(answer, list) and all(isinstance(each, dict | None) for each in answer)


def error_text(op: Op, result: dict[str, Any]) -> str:
    """Return the server's text. For a `wait` that failed, say what it waited for instead.

    The server itself only reports a time-out then.
    """
    if op.get("op") == "wait" and result["error"] == WAIT_FAILED:
        what = f"{op['table']} {op['where'][0][2]}"
        return f"there is no {what}" if op["rows"] else f"there is a {what} already"
    return ": ".join(str(result[part]) for part in ("error", "details") if result.get(part))
