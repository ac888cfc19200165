"""The fence: a term that is won with the Lease, and that every transaction verifies.

The server and the API server are small models of what the fence relies on: an OVSDB `wait` that is
compared in the transaction itself, and an update that fails unless its resource version is current.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ovnlet.core.errors import TermEnded
from ovnlet.drivers.northbound import fence
from ovnlet.drivers.ovsdb.jsonrpc import Refused
from ovnlet.kube.lease import Lease
from ovnlet.kube.session import Access

pytestmark = pytest.mark.review2
WRITE = {"op": "insert", "table": "Logical_Switch", "row": {}}


class Global:
    """The one row of NB_Global. ``seen`` is what a client's copy has of it."""

    def __init__(self, **external_ids: str) -> None:
        self.ids = external_ids
        self.seen = dict(external_ids)
        self.written = 0

    @property
    def rows(self) -> dict[str, dict[str, dict[str, Any]]]:
        """The client's copy."""
        return {fence.TABLE: {"u": {fence.COLUMN: self.seen}}}

    async def transact(self, ops: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Apply the operations, or raise Refused and apply none."""
        for op in ops:
            if op["op"] == "wait" and not self._holds(op):
                raise Refused("timed out")
        for op in ops:
            if op["op"] == "mutate":
                self.ids |= dict(op["mutations"][1][2][1])
            self.written += op == WRITE
        self.seen = dict(self.ids)
        return [{} for _ in ops]

    def _holds(self, op: dict[str, Any]) -> bool:
        if op["until"] == "==":
            return bool(dict(op["rows"][0][fence.COLUMN][1]) == self.ids)
        pairs = dict(op["where"][0][2][1])
        return pairs.items() <= self.ids.items()


class Api:
    """An API server with one Lease."""

    server = "https://192.0.2.1"

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0

    @asynccontextmanager
    async def session(self) -> AsyncIterator["Api"]:
        """Yield itself as a session."""
        yield self

    @asynccontextmanager
    async def request(self, method: str, _: str, **options: Any) -> AsyncIterator[Any]:
        """Answer a read or a write of the Lease."""
        status = 200
        if method == "GET":
            status = 200 if self.lease else 404
        else:
            body = options["json"]
            version = body["metadata"].get("resourceVersion", "")
            held = self.lease["metadata"]["resourceVersion"] if self.lease else ""
            status = 200 if version == held else 409
            if status == 200:
                self.version += 1
                metadata = {**body["metadata"], "resourceVersion": str(self.version)}
                self.lease = {**body, "metadata": metadata}

        async def json() -> Any:
            return self.lease

        async def text(**_: Any) -> str:
            return ""

        yield SimpleNamespace(ok=status == 200, status=status, reason="", json=json, text=text)

    def replica(self, name: str) -> Lease:
        """Return a replica's part in the election."""
        return Lease(cast("Access", self), "ns", "ovnlet", name, 10)


async def at_once() -> None:
    """Be able to lead at once."""


@pytest.fixture
def api() -> Api:
    return Api()


async def led(api: Api, name: str, database: Global) -> tuple[Lease, list[dict[str, Any]]]:
    lease = api.replica(name)
    await lease.acquire(at_once)
    return lease, await fence.claim(database, lease)


async def test_e5_a_successors_term_makes_a_write_fail(api: Api) -> None:
    database = Global(other="kept")
    first, guard = await led(api, "a", database)
    await database.transact([*guard, WRITE])
    await first.release()
    second, later = await led(api, "b", database)
    assert second.number > first.number
    with pytest.raises(Refused):  # also once its copy has the successor's term
        await database.transact([*guard, WRITE])
    await database.transact([*later, WRITE])
    assert database.written == 2
    assert database.ids["other"] == "kept"


async def test_e5_who_wakes_before_its_claim_does_not_depose_its_successor(api: Api) -> None:
    database = Global()
    asleep = api.replica("a")
    await asleep.acquire(at_once)
    assert api.lease
    api.lease["spec"]["holderIdentity"] = ""
    api.version += 1
    api.lease["metadata"]["resourceVersion"] = str(api.version)
    _, guard = await led(api, "b", database)
    with pytest.raises(TermEnded):
        await fence.claim(database, asleep)
    await database.transact([*guard, WRITE])


async def test_e5_a_claim_from_an_old_copy_is_refused(api: Api) -> None:
    database = Global()
    lease, _ = await led(api, "a", database)
    database.seen = {}
    with pytest.raises(Refused):
        await fence.claim(database, lease)


async def test_the_term_is_greater_after_a_lease_was_deleted(api: Api) -> None:
    database = Global(**{fence.KEY: "41"})
    lease, guard = await led(api, "a", database)
    assert (lease.number, database.ids[fence.KEY]) == (42, "42")
    assert api.lease
    assert api.lease["spec"]["leaseTransitions"] == 42
    await database.transact([*guard, WRITE])


async def test_a_new_process_of_the_same_name_begins_a_later_term(api: Api) -> None:
    database = Global()
    _, guard = await led(api, "a", database)
    await led(api, "a", database)
    with pytest.raises(Refused):
        await database.transact([*guard, WRITE])


async def test_a_leader_does_not_take_a_free_lease_back_in_its_term(api: Api) -> None:
    lease = api.replica("a")
    await lease.acquire(at_once)
    api.lease = None
    async with asyncio.timeout(10):
        await lease.keep()
    assert api.lease is None


async def test_e10_who_cannot_lead_does_not_ask_for_the_lease(api: Api) -> None:
    able = asyncio.Event()

    async def wait() -> None:
        await able.wait()

    asking = asyncio.create_task(api.replica("a").acquire(wait))
    await asyncio.sleep(0.05)
    assert api.lease is None
    able.set()
    await asking
    assert api.lease
