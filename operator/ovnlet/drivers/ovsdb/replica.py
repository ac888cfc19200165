"""A live copy of some columns of an OVSDB, and transactions on it.

One connection in the event loop, without a thread: it comes back for ever, and is probed, since
nothing else notices a server that hangs behind a unix socket.
"""

import asyncio
import itertools
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from ovnlet.core.errors import NodeFault, OvnletError
from ovnlet.drivers.ovsdb import jsonrpc
from ovnlet.drivers.ovsdb.jsonrpc import Disconnected, Peer, Refused

Row = dict[str, Any]
Op = dict[str, Any]
Change = tuple[str, str, Row | None, Row | None]  # table, UUID, the row before, the row after

PROBE = 2.0
_OPENING = 10.0  # a first dump of many thousand rows takes well under a second
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0
_DEFAULTS = {
    "string": "",
    "integer": 0,
    "real": 0.0,
    "boolean": False,
    "uuid": "00000000-0000-0000-0000-000000000000",
}


@dataclass(frozen=True, slots=True)
class Column:
    """How a column's values look in Python, and whether OVSDB tells differences of them (``composite``)."""

    shape: Literal["map", "set", "optional", "value"]
    composite: bool
    default: Any

    @classmethod
    def parse(cls, description: Any) -> Self:
        """From a schema's column type (RFC 7047, section 3.2)."""
        if isinstance(description, str):
            description = {"key": description}
        key = description["key"]
        composite = description.get("max", 1) != 1
        if "value" in description:
            return cls("map", composite, {})
        if composite:
            return cls("set", composite, frozenset())
        if description.get("min", 1) == 0:
            return cls("optional", composite, None)
        return cls("value", composite, _DEFAULTS[key if isinstance(key, str) else key["type"]])

    def decode(self, value: Any) -> Any:
        """A dict, a frozenset, or an atom that is None for an empty set."""
        if self.shape == "map":
            return {_atom(key): _atom(item) for key, item in value[1]}
        atoms = (
            [_atom(atom) for atom in value[1]]
            if isinstance(value, list) and value[0] == "set"
            else [_atom(value)]
        )
        if self.shape == "set":
            return frozenset(atoms)
        return atoms[0] if atoms else None

    def patch(self, old: Any, value: Any) -> Any:
        """Apply the column of a `modify`: a difference only if composite, else the new value itself."""
        new = self.decode(value)
        if not self.composite:
            return new
        if self.shape == "set":
            return old ^ new
        kept = {key: item for key, item in old.items() if key not in new}
        return kept | {key: item for key, item in new.items() if old.get(key) != item}


def _atom(value: Any) -> Any:
    return value[1] if isinstance(value, list) else value


class Replica:
    """``rows[table][uuid]`` is as the server last told; a row is replaced, never changed in place.

    ``changed`` is given the changes of one message, which often is one transaction, once all its
    rows are in place. ``renewed()`` follows the first dump of each session: everything may have
    changed, and nothing is told of single rows.

    ``remotes`` are tried in turn, separated by commas. With a ``lock``, a session takes the database's lock of that
    name from whoever has it, and every transaction fails once another has taken it.
    """

    def __init__(  # noqa: PLR0913 - what a session needs to know
        self,
        remotes: str,
        name: str,
        tables: Mapping[str, Sequence[str]],
        *,
        changed: Callable[[Sequence[Change]], None],
        renewed: Callable[[], None],
        tls: ssl.SSLContext | None = None,
        lock: str | None = None,
    ) -> None:
        self._remotes = itertools.cycle(remotes.split(","))
        self._name, self._tables, self._tls = name, tables, tls
        self._lock = lock
        self._guard: list[Op] = [{"op": "assert", "lock": lock}] if lock else []
        self._changed, self._renewed = changed, renewed
        self._columns: dict[str, dict[str, Column]] = {}
        self._peer: Peer | None = None
        self._early: list[Any] | None = None
        self._task: asyncio.Task[None] | None = None
        self.rows: dict[str, dict[str, Row]] = {table: {} for table in tables}
        self.session = 0
        self.connected = asyncio.Event()
        self.last_answer = float("-inf")
        self.fault = "not connected yet"

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"ovsdb {self._name}")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def transact(self, ops: Sequence[Op]) -> list[dict[str, Any]]:
        """Commit, or raise Refused with the server's text.

        Disconnected and a time-out both mean that the outcome is unknown.
        """
        if self._peer is None or not self.connected.is_set():
            raise Disconnected(self.fault)
        ops = [*self._guard, *ops]
        results: list[dict[str, Any] | None] = await self._peer.call("transact", [self._name, *ops])
        self.last_answer = asyncio.get_running_loop().time()
        for number, result in enumerate(results):
            if result and "error" in result:
                raise Refused(_why(ops[number] if number < len(ops) else {}, result))
        return [result or {} for result in results[len(self._guard) :]]

    async def _run(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            session = self.session
            try:
                await self._serve()
            except (OSError, OvnletError) as error:
                self.fault = str(error) or f"{self._name} does not answer"
            pause = _FIRST_PAUSE if self.session != session else min(2 * pause, _LONGEST_PAUSE)
            await asyncio.sleep(pause)

    async def _serve(self) -> None:
        """One session, from connecting to its loss; it ends by raising."""
        self._early = []
        peer = await jsonrpc.connect(next(self._remotes), self._name, self._notified, self._tls)
        try:
            async with asyncio.timeout(_OPENING):
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

    async def _load(self, peer: Peer) -> None:
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
        if self._lock:
            await peer.call("steal", [self._lock])
        wanted = {table: {"columns": list(columns)} for table, columns in self._tables.items()}
        dump = await peer.call("monitor_cond", [self._name, None, wanted])
        # What changed since may have come in the same read as the dump, before this line runs.
        early, self._early = self._early or [], None
        self.rows = {table: {} for table in self._tables}
        for updates in (dump, *early):
            list(self._take(updates))
        self._peer = peer
        self.session += 1
        self.last_answer = asyncio.get_running_loop().time()
        self.connected.set()
        self._renewed()

    def _notified(self, method: str, params: Any) -> None:
        if method == "update2":
            if self._early is not None:
                self._early.append(params[1])
                return
            self._changed(tuple(self._take(params[1])))
        elif method == "monitor_canceled" and self._peer is not None:
            self._peer.drop()  # the schema was converted under us

    def _take(self, updates: Any) -> Iterator[Change]:
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
                    new = {
                        name: column.default for name, column in columns.items()
                    }  # defaults are not sent
                    new |= {name: columns[name].decode(value) for name, value in values.items()}
                if new is not None:
                    here[uuid] = new
                yield table, uuid, old, new


def _why(op: Op, result: dict[str, Any]) -> str:
    """The server's words; for a guard that did not hold, what it guards instead of its time-out."""
    if op.get("op") == "wait":
        what = f"{op['table']} {op['where'][0][2]}"
        return f"there is no {what}" if op["rows"] else f"there is a {what} already"
    return ": ".join(str(result[part]) for part in ("error", "details") if result.get(part))
