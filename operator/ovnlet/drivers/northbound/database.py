"""A live copy of a database that may be a cluster, and transactions on it, for the event loop.

The Idl runs in the thread of ovsdbapp's connection, because reading a first dump of many thousand
rows takes it seconds, and a leader must renew its Lease meanwhile. What crosses the border between
the thread and the event loop is plain values in one direction, and operations in the other.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import structlog
from ovs.db.idl import Transaction
from ovs.poller import Poller
from ovsdbapp.backend.ovs_idl import connection as ovsdbapp

from ovnlet.core.errors import NotReady, TermEnded
from ovnlet.drivers.northbound import streams
from ovnlet.drivers.northbound.idl import DatabaseIdl, Listener, Row, Update, fetch_schema
from ovnlet.drivers.ovsdb.jsonrpc import Disconnected, Refused
from ovnlet.drivers.ovsdb.replica import WAIT_FAILED, Change, Ended, Op, Results, error_text

_PAUSE = 0.5  # seconds between two attempts to read the schema
# Seconds until an answer to a transaction. A server of a cluster that has lost its quorum answers
# probes, but no transaction.
COMMIT_TIMEOUT = 5.0
log = structlog.get_logger("northbound")


class Database:
    """A live copy of some tables and columns of one database.

    ``rows[table][uuid]`` is a row as the server last reported it. A row is replaced, never changed
    in place. The rows stay as they were while there is no connection: check ``connected``.

    ``changed`` gets the changes of some messages, after all their rows are in place. ``reloaded()``
    runs after each new connection: any row may differ then, and ``changed`` does not run for them.
    Both run in the event loop and must not block.

    ``guard`` comes first in each transaction. If it fails, the transaction ends with TermEnded, and
    so does ``ended``.
    """

    def __init__(
        self,
        remotes: str,
        name: str,
        tables: Mapping[str, Sequence[str]],
        *,
        changed: Callable[[Sequence[Change]], None],
        reloaded: Callable[[], None],
    ) -> None:
        self._remotes, self._name, self._tables = remotes, name, tables
        self._changed, self._reloaded = changed, reloaded
        self._connection: _Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.rows: dict[str, dict[str, Row]] = {table: {} for table in tables}
        self.connected = asyncio.Event()
        self.guard: list[Op] = []
        self._transactions: set[asyncio.Future[Results]] = set()

    @property
    def fault(self) -> str:
        """Why the last attempt to connect failed, or the last connection ended."""
        return streams.reason() or f"no server of {self._name} has answered yet"

    def start(self) -> None:
        """Connect in the background, and reconnect until ``close``."""
        self._task = asyncio.create_task(self._run(), name=f"ovsdb {self._name}")
        self._task.add_done_callback(self._note_end)

    async def ended(self) -> None:
        """Wait until this copy is of no more use, and raise why, TermEnded for one."""
        await asyncio.shield(self._end)

    async def close(self) -> None:
        """Close the connection and wait until its thread has ended."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        self.connected.clear()
        if self._connection is not None:
            await asyncio.to_thread(self._connection.stop)
            self._connection = None
        self._end.cancel()

    async def transact(self, ops: Sequence[Op]) -> Results:
        """Commit one transaction and return the result of each operation.

        Raise Refused with the server's text if nothing was committed, TermEnded if the guard
        failed. With Disconnected, or after a cancelled wait, the outcome is unknown: read the rows
        again.
        """
        if self._connection is None or not self.connected.is_set():
            raise Disconnected(self.fault)
        guard, sent = self.guard, [*self.guard, *ops]
        attempt = _Attempt(self._connection.idl, sent)
        self._connection.queue_txn(attempt)
        results = await asyncio.wrap_future(attempt.results.future)
        if results is None:
            raise Disconnected(f"{self._name} did not answer a transaction: {attempt.reason}")
        for number, result in enumerate(results):
            if result and "error" in result:
                if number < len(guard) and result["error"] == WAIT_FAILED:
                    raise self._deposed()
                op = sent[number] if number < len(sent) else {}
                raise Refused(error_text(op, result))
        return [result or {} for result in results[len(guard) :]]

    def begin(self, ops: Sequence[Op], ended: Ended) -> None:
        """Begin one transaction and return; ``ended`` gets what ``transact`` returns or raises."""
        task = asyncio.ensure_future(self.transact(ops))
        self._transactions.add(task)

        def done(task: asyncio.Future[Results]) -> None:
            self._transactions.discard(task)
            if task.cancelled():
                ended(Disconnected("the commit was cancelled"))
            elif error := task.exception():
                ended(error if isinstance(error, Exception) else Disconnected(repr(error)))
            else:
                ended(task.result())

        task.add_done_callback(done)

    def _deposed(self) -> TermEnded:
        error = TermEnded("another controller has begun a later term")
        if not self._end.done():
            self._end.set_exception(error)
        return error

    async def _run(self) -> None:
        """Read the schema, then leave the connection to its thread."""
        loop = asyncio.get_running_loop()

        def call(function: Callable[..., None]) -> Callable[..., None]:
            return lambda *values: _post(loop, function, *values)

        while True:
            try:
                helper = await asyncio.to_thread(
                    fetch_schema, self._remotes, self._name, self._tables
                )
                break
            except NotReady as error:
                streams.note(str(error))
                await asyncio.sleep(_PAUSE)
        listener = Listener(call(self._load), call(self._update), call(self._lose))
        self._connection = _Connection(DatabaseIdl(self._remotes, helper, listener), COMMIT_TIMEOUT)
        self._connection.start()

    def _note_end(self, task: asyncio.Task[None]) -> None:
        """Let ``ended`` raise what ended the task, if that was not foreseen."""
        if not task.cancelled() and (error := task.exception()) and not self._end.done():
            self._end.set_exception(error)

    def _load(self, rows: dict[str, dict[str, Row]]) -> None:
        self.rows = rows
        self.connected.set()
        log.info("connected", database=self._name)
        self._guarded(self._reloaded)

    def _lose(self) -> None:
        if self.connected.is_set():
            self.connected.clear()
            log.warning("disconnected", database=self._name, reason=self.fault)

    def _update(self, updates: list[Update]) -> None:
        changes: list[Change] = []
        for table, row_id, new in updates:
            old = self.rows[table].pop(row_id, None)
            if new is not None:
                self.rows[table][row_id] = new
            changes.append((table, row_id, old, new))
        self._guarded(lambda: self._changed(changes))

    def _guarded(self, call: Callable[[], None]) -> None:
        """Let an unforeseen error end the copy, so that ``ended`` raises it."""
        try:
            call()
        except Exception as error:  # noqa: BLE001 - it is raised by ended()
            if not self._end.done():
                self._end.set_exception(error)


class _Connection(ovsdbapp.Connection):  # type: ignore[misc]
    """ovsdbapp's thread and queue of transactions."""

    def start(self) -> None:
        """Start the thread at once. The library's own method waits for the first dump before."""
        self.poller = Poller()
        self.is_running = True
        self.thread = threading.Thread(target=self.run, name="northbound", daemon=True)
        self.thread.start()


class _Attempt:
    """A transaction for ovsdbapp's queue, which is sent once.

    The library's own kind sends the same commands again after a lost connection or a failed `wait`.
    What is right then has to be decided from rows that are read again.
    """

    def __init__(self, idl: DatabaseIdl, ops: Sequence[Op]) -> None:
        self._idl, self._ops = idl, ops
        self.results = _Results()
        self.reason = ""  # why there was no answer

    def do_commit(self) -> list[dict[str, Any] | None] | None:
        """Return the results of the operations, None if nothing was sent or no answer came."""
        transaction = _Transaction(self._idl)
        for op in self._ops:
            transaction.add_op(op)
        try:
            self._send(transaction)
        finally:
            self.reason = streams.reason()
            transaction.abort()  # whatever happened, the Idl must be free for the next one
        return transaction.reply

    def _send(self, transaction: Transaction) -> None:
        """Send it, and wait until there is an answer or there will be none."""
        deadline = time.monotonic() + COMMIT_TIMEOUT
        while transaction.commit() == Transaction.INCOMPLETE:
            if (left := deadline - time.monotonic()) <= 0:
                streams.note(f"{self._idl.session_name()} did not answer a transaction in time")
                self._idl.force_reconnect()
            if left <= 0 or not self._idl.up:
                return
            poller = Poller()
            self._idl.wait(poller)
            transaction.wait(poller)
            poller.timer_wait(int(1000 * left) + 1)
            poller.block()
            self._idl.run()


class _Transaction(Transaction):  # type: ignore[misc]
    """The library's transaction, with the server's answer.

    Its status is "try again" both if a `wait` failed, when nothing was committed, and if the
    connection was lost, when the outcome is unknown.
    """

    reply: list[dict[str, Any] | None] | None = None

    def _process_reply(self, msg: Any) -> None:
        if isinstance(msg.result, list):
            self.reply = msg.result
        elif msg.error is not None:
            self.reply = [{"error": str(msg.error)}]
        super()._process_reply(msg)


class _Results:
    """Where ovsdbapp's thread puts the outcome of a transaction."""

    def __init__(self) -> None:
        self.future: Future[list[dict[str, Any] | None] | None] = Future()

    def put(self, outcome: Any) -> None:
        """Hand the outcome to the caller that waits for it."""
        if not self.future.set_running_or_notify_cancel():
            return
        if isinstance(outcome, list | None):
            self.future.set_result(outcome)
        else:  # ovsdbapp's ExceptionResult
            self.future.set_exception(outcome.ex)


def _post(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *values: Any) -> None:
    """Run a function in the event loop, unless it is closed."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(function, *values)
