"""The OVSDB replica behind a server whose answers are not as foreseen: it goes on by itself."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ovnlet.drivers.ovsdb.jsonrpc import Disconnected, Refused
from ovnlet.drivers.ovsdb.replica import Replica

pytestmark = pytest.mark.review2
TEXT = {"type": "string"}
SCHEMA = {"version": "1", "tables": {"T": {"columns": {"name": TEXT}}}}
DUMP = {"T": {"u1": {"initial": {"name": "a"}}}}
GOOD: dict[str, Any] = {
    "get_schema": SCHEMA,
    "monitor_cond": DUMP,
    "echo": [],
    "transact": [{"count": 1}],
}


class ScriptedServer:
    """Answers as ``GOOD`` says, but ``odd`` comes first: an answer of one method, once."""

    def __init__(self) -> None:
        self.odd: dict[str, Any] = {}
        self.update: Any = None
        self.sessions = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection; with ``update`` set, send it after the dump."""
        self.sessions += 1
        decoder, text = json.JSONDecoder(), ""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while data := await reader.read(65536):
                text += data.decode()
                while text:
                    call, end = decoder.raw_decode(text)
                    text = text[end:]
                    method = call["method"]
                    result = self.odd.pop(method) if method in self.odd else GOOD[method]
                    self._send(writer, {"id": call["id"], "result": result, "error": None})
                    if method == "monitor_cond" and self.update is not None:
                        update, self.update = self.update, None
                        self._send(writer, {"id": None, "method": "update2", "params": update})
        writer.close()

    @staticmethod
    def _send(writer: asyncio.StreamWriter, message: Any) -> None:
        writer.write(json.dumps(message).encode())


class Follower:
    """Raises the first of ``failures`` at each notification while there is one."""

    def __init__(self) -> None:
        self.failures: list[Exception] = []
        self.reloads = 0

    def changed(self, _: Any) -> None:
        """Take a change."""
        if self.failures:
            raise self.failures.pop(0)

    def reloaded(self) -> None:
        """Take a first dump."""
        if self.failures:
            raise self.failures.pop(0)
        self.reloads += 1


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ScriptedServer]:
    scripted = ScriptedServer()
    async with await asyncio.start_unix_server(scripted.serve, tmp_path / "db.sock"):
        yield scripted


@pytest.fixture
async def follower() -> Follower:
    return Follower()


async def kept(run: Callable[[], Any]) -> None:
    """Run it again after whatever ends it, as a supervisor does."""
    while True:
        with suppress(Exception):
            await run()
        await asyncio.sleep(0.05)


@pytest.fixture
async def bare(
    tmp_path: Path, server: ScriptedServer, follower: Follower
) -> AsyncIterator[Replica]:
    """Yield a replica that does not run yet."""
    del server
    made = Replica(
        str(tmp_path / "db.sock"),
        "D",
        {"T": ("name",)},
        changed=follower.changed,
        reloaded=follower.reloaded,
    )
    yield made
    await made.close()


@pytest.fixture
async def replica(bare: Replica) -> AsyncIterator[Replica]:
    """Yield a replica that is run for ever, from the test's first wait on."""
    running = asyncio.create_task(kept(bare.run))
    yield bare
    running.cancel()
    await asyncio.wait({running})


async def connected(replica: Replica) -> None:
    async with asyncio.timeout(5):
        await replica.connected.wait()


ODD: list[tuple[str, Any]] = [
    ("get_schema", None),
    ("get_schema", {"tables": None}),
    ("get_schema", {"version": "1", "tables": {"T": {"columns": {"name": {"type": 5}}}}}),
    ("monitor_cond", None),
    ("monitor_cond", {"unknown": {"u": {"initial": {}}}}),
    ("monitor_cond", {"T": {"u": {"initial": {"unknown": "x"}}}}),
    ("monitor_cond", {"T": {"u": {}}}),
]


@pytest.mark.parametrize(("method", "answer"), ODD)
async def test_an_unforeseen_answer_ends_one_session_only(
    replica: Replica, server: ScriptedServer, method: str, answer: Any
) -> None:
    """L6: on the old code the task ended silently, and `connected` was never set."""
    server.odd[method] = answer
    await connected(replica)
    assert not server.odd, "the odd answer was not asked for"
    assert replica.rows == {"T": {"u1": {"name": "a"}}}


async def test_what_ends_a_session_unforeseen_is_raised_and_told(
    bare: Replica, server: ScriptedServer
) -> None:
    """L6: whoever runs the replica learns of it; STATUS has the words meanwhile."""
    server.odd["monitor_cond"] = {"unknown": {}}
    with pytest.raises(KeyError):
        await bare.run()
    assert "unknown" in bare.fault


async def test_a_task_of_its_own_does_not_end_silently(
    bare: Replica, server: ScriptedServer
) -> None:
    """L6: a user without a supervisor can wait for the task's end."""
    server.odd["monitor_cond"] = {"unknown": {}}
    bare.start()
    async with asyncio.timeout(5):
        with pytest.raises(KeyError):
            await bare.ended()


@pytest.mark.parametrize("update", [[], [None, {"unknown": {"u": {}}}], [None, {"T": {"u": 5}}]])
async def test_an_unforeseen_notification_makes_a_new_session(
    replica: Replica, server: ScriptedServer, update: Any
) -> None:
    """L6: the rows are read anew."""
    server.update = update
    async with asyncio.timeout(5):
        while server.sessions < 2:  # noqa: ASYNC110 - no event tells of a session
            await asyncio.sleep(0.01)
    await connected(replica)


async def test_a_follower_that_fails_gets_a_dump_again(
    replica: Replica, server: ScriptedServer, follower: Follower
) -> None:
    """L6: a defect of ours in what follows the rows costs one session."""
    follower.failures = [RuntimeError("one"), RuntimeError("two")]
    server.update = [None, {"T": {"u2": {"insert": {"name": "b"}}}}]
    async with asyncio.timeout(5):
        while not follower.reloads:  # noqa: ASYNC110 - the follower sets no event
            await asyncio.sleep(0.01)
    await connected(replica)


@pytest.mark.parametrize("answer", [None, 5, ["x"], {"a": 1}])
async def test_an_unforeseen_answer_to_a_transaction_leaves_its_outcome_unknown(
    replica: Replica, server: ScriptedServer, answer: Any
) -> None:
    """L6: it is an error that every caller knows, and the next transaction is answered."""
    await connected(replica)
    server.odd["transact"] = answer
    with pytest.raises(Disconnected):
        await replica.transact([{"op": "comment", "comment": ""}])
    await asyncio.sleep(0.2)
    await connected(replica)
    assert await replica.transact([{"op": "comment", "comment": ""}]) == [{"count": 1}]


async def test_what_cannot_be_sent_is_refused(replica: Replica) -> None:
    """L6: the transaction batcher then tries each member alone."""
    await connected(replica)
    with pytest.raises(Refused):
        await replica.transact([{"op": "insert", "row": {"x": object()}}])
