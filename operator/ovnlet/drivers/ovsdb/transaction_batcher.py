"""Group commit for OVSDB: the transactions of many callers, sent as one."""

import asyncio
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Protocol

import structlog

from ovnlet.core.errors import OvnletError
from ovnlet.drivers.ovsdb.jsonrpc import Disconnected, Refused
from ovnlet.drivers.ovsdb.replica import Op

Build = Callable[[], list[Op]]
Results = list[dict[str, Any]]
_Member = tuple[Build, asyncio.Future[Results]]
log = structlog.get_logger("ovsdb")


class Database(Protocol):
    """What commits a transaction."""

    async def transact(self, ops: Sequence[Op], /) -> Results:
        """Commit one transaction and return the result of each operation.

        Raise Refused if nothing was committed, Disconnected if the outcome is unknown.
        """


class TransactionBatcher:
    """A queue of transactions with at most one in flight.

    Calls that come while a transaction is in flight join the next one. No timer delays them, except
    for the pause after a transaction: ``per_member`` seconds for each of its callers, at most
    ``longest``. If the server refuses a batch, each member is tried again alone, so only the faulty
    one fails.
    """

    def __init__(
        self, database: Database, *, per_member: float = 0.0, longest: float = 0.0
    ) -> None:
        self._database = database
        self._per_member, self._longest = per_member, longest
        self._waiting: list[_Member] = []
        self._task: asyncio.Task[None] | None = None

    async def commit(self, build: Build) -> Results:
        """Commit the operations that ``build`` returns, and return the result of each.

        ``build`` runs just before the transaction is sent, and again if its batch was refused.
        What it raises is raised here, and concerns no other caller. Raise Refused if the server
        refuses these operations. With Disconnected or a cancelled wait the outcome is unknown.
        """
        done: asyncio.Future[Results] = asyncio.get_running_loop().create_future()
        self._waiting.append((build, done))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._drain(), name="ovsdb batcher")
        return await done

    async def _drain(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            if not await self._commit(batch):
                for member in batch:
                    await self._commit([member])
            if pause := min(self._per_member * len(batch), self._longest):
                await asyncio.sleep(pause)

    async def _commit(self, batch: list[_Member]) -> bool:
        """Commit a batch, resolve its members. Return False if it was refused and has several."""
        error: OvnletError = Disconnected("the commit was cancelled")
        try:
            await self._try(batch)
        except Refused as refused:
            error = refused
            return len(batch) == 1
        except OvnletError as ended:
            error = ended
        except Exception as unforeseen:
            log.exception("unforeseen end of a transaction", members=len(batch))
            error = Disconnected(f"the transaction ended with {unforeseen!r}")
        finally:
            if not isinstance(error, Refused) or len(batch) == 1:
                _fail(batch, error)
        return True

    async def _try(self, batch: list[_Member]) -> None:
        """Send what the members build, and give each its part of the results."""
        ops: list[Op] = []
        counts: list[tuple[asyncio.Future[Results], int]] = []
        for build, done in batch:
            if done.done():  # its caller was cancelled, or its build failed
                continue
            try:
                own = build()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this caller's
                done.set_exception(error)
                continue
            ops += own
            counts.append((done, len(own)))
        results = iter(await self._database.transact(ops) if ops else ())
        for done, count in counts:
            own_results = list(islice(results, count))
            if not done.done():
                done.set_result(own_results)


def _fail(batch: list[_Member], error: OvnletError) -> None:
    """End the wait of each member that still waits."""
    for _, done in batch:
        if not done.done():
            done.set_exception(error)
