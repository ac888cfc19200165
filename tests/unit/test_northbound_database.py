"""The client of a database that may be a cluster: whom it follows, and what it makes of answers."""

import asyncio
import copy
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from ovs.db.idl import SchemaHelper

from kit.scripted_ovsdb import Member
from ovnlet.core.errors import TermEnded
from ovnlet.drivers.northbound import database as module
from ovnlet.drivers.northbound.database import Database
from ovnlet.drivers.northbound.idl import DatabaseIdl, Listener, Update
from ovnlet.drivers.ovsdb.encoding import Column
from ovnlet.drivers.ovsdb.jsonrpc import Disconnected, Refused
from ovnlet.drivers.ovsdb.replica import Change, Replica
from ovnlet.drivers.ovsdb.transaction_batcher import TransactionBatcher

pytestmark = pytest.mark.review2
OP = {"op": "insert", "table": "T", "row": {"name": "b"}}
GUARD = {"op": "wait", "table": "T", "where": [], "until": "!=", "rows": []}
TIMED_OUT = {"error": "timed out", "details": '"wait" timed out'}
NEW = "33333333-3333-3333-3333-333333333333"


class Client:
    """A database client and what it reported."""

    def __init__(self, *members: Member) -> None:
        self.changes: list[Change] = []
        self.reloads = 0
        self.database = Database(
            ",".join(member.remote for member in members),
            "D",
            {"T": ("name",)},
            changed=self._changed,
            reloaded=self._reloaded,
        )

    def _changed(self, changes: Sequence[Change]) -> None:
        self.changes += changes

    def _reloaded(self) -> None:
        self.reloads += 1

    async def connected(self) -> Database:
        """Wait until the rows are there."""
        async with asyncio.timeout(10):
            await self.database.connected.wait()
        return self.database


@pytest.fixture
async def members(tmp_path: Path) -> AsyncIterator[list[Member]]:
    """Yield a leader and two followers."""
    three = [Member(tmp_path / f"{number}", leader=number == 0) for number in range(3)]
    for member in three:
        await member.start()
    yield three
    for member in three:
        await member.stop()


@pytest.fixture
async def client(members: list[Member]) -> AsyncIterator[Client]:
    made = Client(*members)
    made.database.start()
    yield made
    await made.database.close()


async def until(look: object, within: float = 10) -> float:
    began = monotonic()
    assert callable(look)
    while not look():
        assert monotonic() - began < within
        await asyncio.sleep(0.01)
    return monotonic() - began


async def test_it_follows_the_leader_and_reports_rows_as_values(
    members: list[Member], client: Client
) -> None:
    database = await client.connected()
    assert {row["name"] for row in database.rows["T"].values()} == {"a"}
    assert (client.reloads, client.changes) == (1, [])
    members[0].insert("b", NEW)
    await until(lambda: client.changes)
    assert client.changes == [("T", NEW, None, {"name": "b"})]
    assert database.rows["T"][NEW] == {"name": "b"}


async def test_e5_it_leaves_a_member_that_has_lost_its_quorum(
    members: list[Member], client: Client
) -> None:
    """A transaction that is under way ends as unknown then, long before its own time-out."""
    database = await client.connected()
    waiting = asyncio.create_task(database.transact([OP]))
    await until(lambda: members[0].asked)
    began = monotonic()
    members[1].leader = True
    members[0].lose_quorum()
    with pytest.raises(Disconnected):
        await waiting
    assert monotonic() - began < module.COMMIT_TIMEOUT / 2
    await client.connected()
    assert client.reloads == 2
    members[1].transactions = [[{}]]
    assert await database.transact([OP]) == [{}]


async def test_e5_every_server_is_tried_in_each_second(
    members: list[Member], client: Client
) -> None:
    """A leader that was elected just now is found within a back-off, wherever it is."""
    await client.connected()
    for member in members:
        member.lose_quorum()
    before = [member.sessions for member in members]
    await asyncio.sleep(3.5)
    assert all(m.sessions - was >= 3 for m, was in zip(members, before, strict=True))
    assert sum(member.sessions for member in members) - sum(before) < 20, "it is no busy loop"
    members[2].leader = members[2].connected = True
    assert await until(client.database.connected.is_set) < 3


async def test_e5_a_transaction_without_an_answer_ends_as_unknown(
    members: list[Member], client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The member answers probes all the while. The client reads the rows again afterwards."""
    monkeypatch.setattr(module, "COMMIT_TIMEOUT", 0.3)
    database = await client.connected()
    began = monotonic()
    with pytest.raises(Disconnected, match="in time"):
        await database.transact([OP])
    assert monotonic() - began < 2.0
    assert len(members[0].asked) == 1, "it was not sent again"
    await until(lambda: client.reloads == 2)


async def test_a_refusal_has_the_servers_words(members: list[Member], client: Client) -> None:
    database = await client.connected()
    members[0].transactions = [[{}, {"error": "constraint violation", "details": "two rows"}]]
    with pytest.raises(Refused, match="constraint violation: two rows"):
        await database.transact([OP, OP])


async def test_e5_a_failed_guard_ends_the_term(members: list[Member], client: Client) -> None:
    database = await client.connected()
    database.guard = [GUARD]
    members[0].transactions = [[{}, {"uuid": ["uuid", NEW]}], [TIMED_OUT, None]]
    assert await database.transact([OP]) == [{"uuid": ["uuid", NEW]}]
    assert members[0].asked == [[GUARD, OP]]
    with pytest.raises(TermEnded):
        await database.transact([OP])
    with pytest.raises(TermEnded):
        await database.ended()


async def test_callers_that_share_a_transaction_get_its_results_or_its_end(
    members: list[Member], client: Client
) -> None:
    """By way of the batcher: results, a refusal of one of two, and the end of the term."""
    database = await client.connected()
    batcher = TransactionBatcher(database)
    refused = {"error": "constraint violation", "details": "two rows"}
    members[0].transactions = [[{}, {"count": 1}], [{}, refused], [{"count": 2}], [refused]]

    async def both() -> list[object]:
        ends = (batcher.commit(lambda: [OP]), batcher.commit(lambda: [OP]))
        return list(await asyncio.gather(*ends, return_exceptions=True))

    assert await both() == [[{}], [{"count": 1}]]
    first, second = await both()
    assert first == [{"count": 2}]
    assert isinstance(second, Refused)
    database.guard = [GUARD]
    members[0].transactions = [[TIMED_OUT, None, None]]
    assert [type(end) for end in await both()] == [TermEnded, TermEnded]


async def test_a_guard_that_could_not_be_verified_is_no_end(
    members: list[Member], client: Client
) -> None:
    database = await client.connected()
    database.guard = [GUARD]
    members[0].transactions = [[{"error": "I/O error", "details": "disk full"}, None], [{}, {}]]
    with pytest.raises(Refused):
        await database.transact([OP])
    assert await database.transact([OP]) == [{}]


async def test_a_cancelled_caller_does_no_harm(members: list[Member], client: Client) -> None:
    database = await client.connected()
    waiting = asyncio.create_task(database.transact([OP]))
    await until(lambda: members[0].asked)
    waiting.cancel()
    await asyncio.wait({waiting})
    members[0].lose_quorum()
    members[2].leader = True
    await until(lambda: client.reloads == 2)
    members[2].transactions = [[{}]]
    assert await database.transact([OP]) == [{}]


async def test_it_finds_a_leader_that_comes_later(tmp_path: Path) -> None:
    late = Member(tmp_path / "late")
    client = Client(late)
    client.database.start()
    await asyncio.sleep(0.3)
    assert not client.database.connected.is_set()
    assert client.database.fault
    await late.start()
    await client.connected()
    await client.database.close()
    await late.stop()


ROW, PORT = "44444444-4444-4444-4444-444444444444", "55555555-5555-5555-5555-555555555555"
_SET = {"type": {"key": "string", "min": 0, "max": "unlimited"}}
_MAP = {"type": {"key": "string", "value": "string", "min": 0, "max": "unlimited"}}
_REFERENCES = {"type": {"key": {"type": "uuid"}, "min": 0, "max": "unlimited"}}
_OPTIONAL = {"type": {"key": "string", "min": 0, "max": 1}}
_FLAG = {"type": {"key": "boolean", "min": 0, "max": 1}}
TYPES = {"s": _SET, "m": _MAP, "r": _REFERENCES, "o": _OPTIONAL, "f": _FLAG, "n": _OPTIONAL}
UPDATES: list[dict[str, Any]] = [
    {"insert": {"s": "one", "m": ["map", [["a", "1"], ["b", "2"]]], "f": True}},
    {"modify": {"s": ["set", ["one", "two"]], "r": ["uuid", PORT], "o": "x"}},
    {"modify": {"m": ["map", [["a", "1"], ["b", "3"], ["c", "4"]]], "o": "y"}},
    {"modify": {"r": ["set", [["uuid", PORT], ["uuid", ROW]]], "o": ["set", []]}},
    {"modify": {"f": False, "s": ["set", ["two", "three"]]}},
    {"delete": None},
]


def test_the_idl_reads_a_row_as_the_node_client_does() -> None:
    """Two decoders of `table-updates2` that share no code agree after each update."""
    schema = {"name": "D", "version": "1.0.0", "tables": {"T": {"columns": TYPES}}}
    own = Replica("x", "D", {"T": tuple(TYPES)}, changed=lambda _: None, reloaded=lambda: None)
    own._columns = {"T": {name: Column.parse(kind["type"]) for name, kind in TYPES.items()}}
    helper = SchemaHelper(None, copy.deepcopy(schema))
    helper.register_columns("T", list(TYPES))
    read: list[Update] = []
    idl = DatabaseIdl("unix:/nowhere", helper, Listener(lambda _: None, read.extend, lambda: None))
    idl._monitored = 1
    for update in UPDATES:
        ((_, _, _, expected),) = list(own._update({"T": {ROW: copy.deepcopy(update)}}))
        idl._Idl__parse_update({"T": {ROW: copy.deepcopy(update)}}, "update3")
        idl._report(1)
        assert read.pop() == ("T", ROW, expected)


async def test_a_name_that_cannot_be_one_is_the_reason_and_other_servers_are_tried(
    members: list[Member],
) -> None:
    """`getaddrinfo` raises UnicodeError, which is no OSError, for an empty label."""
    client = Client(members[0])
    client.database._remotes = "tcp:a..b:6641"
    client.database.start()
    try:
        await until(lambda: "label" in client.database.fault, 3)
        client.database._remotes = members[0].remote
        await client.connected()
    finally:
        await client.database.close()
