"""Group commit for OVSDB: the transactions of many callers, sent as one."""

import asyncio
from collections.abc import Callable

from ovnlet.core.errors import OvnletError
from ovnlet.drivers.ovsdb.jsonrpc import Disconnected, Refused
from ovnlet.drivers.ovsdb.replica import Op, Replica

Build = Callable[[], list[Op]]
_Member = tuple[Build, asyncio.Future[None]]


class TransactionBatcher:
    """A queue of transactions with at most one in flight.

    Calls that come while a transaction is in flight join the next one. No timer delays them. If
    the server refuses a batch, each member is tried again alone, so only the faulty one fails.
    """

    def __init__(self, database: Replica) -> None:
        self._database = database
        self._waiting: list[_Member] = []
        self._task: asyncio.Task[None] | None = None

    async def commit(self, build: Build) -> None:
        """Commit the operations that ``build`` returns, and wait for the answer.

        ``build`` runs just before the transaction is sent, and again if its batch was refused.
        What it raises is raised here. Raise Refused if the server refuses these operations. With
        Disconnected or a cancelled wait the outcome is unknown.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((build, done))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._drain(), name="ovsdb batcher")
        await done

    async def _drain(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            if isinstance(await self._commit(batch), Refused):
                for member in batch:
                    await self._commit([member])

    async def _commit(self, batch: list[_Member]) -> OvnletError | None:
        """Commit a batch and resolve its members, unless it was refused and has several."""
        error: OvnletError | None = Disconnected("the commit was cancelled")
        try:
            error = await self._try(batch)
        finally:
            if not isinstance(error, Refused) or len(batch) == 1:
                _resolve(batch, error)
        return error

    async def _try(self, batch: list[_Member]) -> OvnletError | None:
        ops: list[Op] = []
        for build, done in batch:
            if done.done():  # its caller was cancelled, or its build failed
                continue
            try:
                ops += build()
            except OvnletError as error:
                done.set_exception(error)
        if ops:
            try:
                await self._database.transact(ops)
            except (Refused, Disconnected) as error:
                return error
        return None


def _resolve(batch: list[_Member], error: OvnletError | None) -> None:
    """End the wait of each member that still waits."""
    for _, done in batch:
        if done.done():
            continue
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)
