"""The transaction batcher where a build or an answer is not as foreseen: later commits go on."""

import asyncio
from typing import Any, cast

import pytest

from ovnlet.core.errors import NotReady
from ovnlet.drivers.ovsdb.jsonrpc import Refused
from ovnlet.drivers.ovsdb.replica import Op, Replica
from ovnlet.drivers.ovsdb.transaction_batcher import TransactionBatcher

pytestmark = [pytest.mark.review2, pytest.mark.looptime]
OP: Op = {"op": "comment", "comment": "x"}


class Database:
    """Answers every transaction after a second; ``failures`` are raised first, one by one."""

    def __init__(self) -> None:
        self.sent: list[list[Op]] = []
        self.failures: list[Exception] = []

    async def transact(self, ops: list[Op]) -> list[dict[str, Any]]:
        """Return one result for each operation."""
        self.sent.append(ops)
        await asyncio.sleep(1)
        if self.failures:
            raise self.failures.pop(0)
        return [{"count": number} for number, _ in enumerate(ops)]


@pytest.fixture
async def database() -> Database:
    return Database()


@pytest.fixture
async def batcher(database: Database) -> TransactionBatcher:
    return TransactionBatcher(cast("Replica", database))


def bad() -> list[Op]:
    raise KeyError("a row that is gone")


async def test_a_bad_build_fails_its_own_caller_only(
    batcher: TransactionBatcher, database: Database
) -> None:
    """L6: those before it, those behind it and those of the next transaction are committed."""
    first = asyncio.create_task(batcher.commit(lambda: [OP]))
    await asyncio.sleep(0.5)  # in flight: the others gather
    others = [
        asyncio.create_task(batcher.commit(build)) for build in (lambda: [OP], bad, lambda: [OP])
    ]
    await asyncio.sleep(0.8)
    last = asyncio.create_task(batcher.commit(lambda: [OP]))
    async with asyncio.timeout(10):
        ends = await asyncio.gather(first, *others, last, return_exceptions=True)
    failed = [end for end in ends if isinstance(end, BaseException)]
    assert [type(end) for end in failed] == [KeyError]
    assert isinstance(ends[2], KeyError)
    assert [len(ops) for ops in database.sent] == [1, 2, 1]


@pytest.mark.parametrize("error", [RuntimeError("unforeseen"), TypeError(), OSError(24, "EMFILE")])
async def test_an_unforeseen_answer_fails_its_batch_and_no_later_one(
    batcher: TransactionBatcher, database: Database, error: Exception
) -> None:
    """L6: the outcome is unknown, so both callers look again; a later commit is served."""
    database.failures = [error]
    early = [asyncio.create_task(batcher.commit(lambda: [OP])) for _ in range(2)]
    await asyncio.sleep(0.5)
    late = asyncio.create_task(batcher.commit(lambda: [OP]))
    async with asyncio.timeout(10):
        ends = await asyncio.gather(*early, late, return_exceptions=True)
    assert all(isinstance(end, NotReady) for end in ends[:2])
    assert type(error).__name__ in str(ends[0])
    assert not isinstance(ends[2], BaseException)


async def test_each_caller_gets_the_results_of_its_own_operations(
    batcher: TransactionBatcher, database: Database
) -> None:
    """L15: a barrier reads the number that its own operation has set."""
    one, two = await asyncio.gather(batcher.commit(lambda: [OP]), batcher.commit(lambda: [OP, OP]))
    assert (one, two) == ([{"count": 0}], [{"count": 1}, {"count": 2}])
    database.failures = [Refused("bad"), Refused("bad")]
    ends = await asyncio.gather(
        *(batcher.commit(lambda: [OP]) for _ in range(2)), return_exceptions=True
    )
    assert isinstance(ends[0], Refused)
    assert ends[1] == [{"count": 0}]


async def test_a_pause_after_each_transaction_gathers_a_burst(database: Database) -> None:
    """Callers of a burst share transactions; a single one finds the pause of its own size over."""
    batcher = TransactionBatcher(cast("Replica", database), per_member=0.5, longest=4)
    await batcher.commit(lambda: [OP])
    await asyncio.sleep(0.5)
    began = asyncio.get_running_loop().time()
    first = [asyncio.create_task(batcher.commit(lambda: [OP])) for _ in range(3)]
    await asyncio.gather(*first)
    assert asyncio.get_running_loop().time() - began == pytest.approx(1)  # it waited for nothing
    late = []
    for _ in range(3):
        late.append(asyncio.create_task(batcher.commit(lambda: [OP])))
        await asyncio.sleep(0.4)
    await asyncio.gather(*late)
    assert asyncio.get_running_loop().time() - began == pytest.approx(1 + 3 * 0.5 + 1)
    assert [len(ops) for ops in database.sent] == [1, 3, 3]
    many = [asyncio.create_task(batcher.commit(lambda: [OP])) for _ in range(20)]
    began = asyncio.get_running_loop().time()
    await asyncio.gather(*many)
    await batcher.commit(lambda: [OP])
    assert asyncio.get_running_loop().time() - began == pytest.approx(3 * 0.5 + 1 + 4 + 1)
