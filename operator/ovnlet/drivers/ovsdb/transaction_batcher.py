"""Transactions of many callers, committed together."""

import asyncio
from collections.abc import Callable

from ovnlet.core.errors import OvnletError
from ovnlet.drivers.ovsdb.jsonrpc import Disconnected, Refused
from ovnlet.drivers.ovsdb.replica import Op, Replica

Build = Callable[[], list[Op]]
_Member = tuple[Build, asyncio.Future[None]]


class TransactionBatcher:
    """Whoever comes while a transaction is in flight joins the next one, without a timer.

    A refused batch is tried again member by member, so that only the bad one fails.
    """

    def __init__(self, database: Replica) -> None:
        self._database = database
        self._waiting: list[_Member] = []
        self._task: asyncio.Task[None] | None = None

    async def commit(self, build: Build) -> None:
        """Commit what ``build`` returns; it is called just before, and again for a second try."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((build, done))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._drain(), name="ovsdb commits")
        await done

    async def _drain(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            if isinstance(await self._commit(batch), Refused):
                for member in batch:
                    await self._commit([member])

    async def _commit(self, batch: list[_Member]) -> OvnletError | None:
        """Commit and tell the members, unless they are several and refused."""
        error: OvnletError | None = Disconnected("the commit was broken off")
        try:
            error = await self._try(batch)
        finally:
            if not isinstance(error, Refused) or len(batch) == 1:
                _settle(batch, error)
        return error

    async def _try(self, batch: list[_Member]) -> OvnletError | None:
        ops: list[Op] = []
        for build, done in batch:
            if done.done():  # its caller has gone, or it has failed
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


def _settle(batch: list[_Member], error: OvnletError | None) -> None:
    for _, done in batch:
        if done.done():
            continue
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)
