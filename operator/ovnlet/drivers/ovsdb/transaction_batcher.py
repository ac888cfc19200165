"""Group commit for OVSDB: the transactions of many callers, sent as one."""

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from ovnlet.core.errors import OvnletError
from ovnlet.drivers.ovsdb.jsonrpc import Disconnected, Refused
from ovnlet.drivers.ovsdb.replica import Ended, Op, Results

Build = Callable[[], list[Op]]
log = structlog.get_logger("ovsdb")


class Database(Protocol):
    """What commits a transaction."""

    def begin(self, ops: Sequence[Op], ended: Ended, /) -> None:
        """Send one transaction; ``ended`` gets its results or its error later.

        The error is Refused if nothing was committed, Disconnected if the outcome is unknown. Raise
        either where nothing can be sent.
        """


class Submitted:
    """The operations of one caller, which joined the next transaction."""

    def __init__(self, batcher: "TransactionBatcher", build: Build) -> None:
        self._batcher, self.build = batcher, build
        self.end: asyncio.Future[Results] = asyncio.get_running_loop().create_future()
        self.is_sent = False
        self._waiter: asyncio.Future[None] | None = None

    async def sent(self) -> None:
        """Send the next transaction, and return once that of these operations is sent.

        It is at once if none is in flight. Return also where it cannot be sent: ``end`` knows why.
        """
        self._batcher.flush()
        if not self.is_sent:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def mark_sent(self) -> None:
        """Wake who waits for it."""
        self.is_sent = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def fail(self, error: Exception) -> None:
        """End the wait for the results."""
        self.mark_sent()
        if not self.end.done():
            self.end.set_exception(error)


class TransactionBatcher:
    """A queue of transactions with at most one in flight.

    Calls that come while a transaction is in flight join the next one. No timer delays them, except
    for the pause after a transaction: ``per_member`` seconds for each of its callers, at most
    ``longest``. A transaction has ``most`` callers at most. If the server refuses a batch, each
    member is tried again alone, so only the faulty one fails.
    """

    def __init__(
        self,
        database: Database,
        *,
        per_member: float = 0.0,
        longest: float = 0.0,
        most: int = sys.maxsize,
    ) -> None:
        self._database = database
        self._per_member, self._longest, self._most = per_member, longest, most
        self._waiting: deque[Submitted] = deque()
        self._alone: deque[Submitted] = deque()
        self._in_flight = self._pumping = self._pausing = False
        self._members = 0  # since the last pause

    async def commit(self, build: Build) -> Results:
        """Commit the operations that ``build`` returns, and return the result of each.

        ``build`` runs just before the transaction is sent, and again if its batch was refused.
        What it raises is raised here, and concerns no other caller. Raise Refused if the server
        refuses these operations. With Disconnected or a cancelled wait the outcome is unknown.
        """
        submitted = self.submit(build)
        asyncio.get_running_loop().call_soon(self.flush)
        return await submitted.end

    def submit(self, build: Build) -> Submitted:
        """Have the operations join the next transaction, which ``flush`` or ``sent`` sends."""
        submitted = Submitted(self, build)
        self._waiting.append(submitted)
        return submitted

    def flush(self) -> None:
        """Send the next transaction. While one is in flight, its answer does that instead."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while not (self._in_flight or self._pausing) and (batch := self._next()):
                self._send(batch)
        finally:
            self._pumping = False

    def _next(self) -> list[Submitted]:
        if self._alone:
            return [self._alone.popleft()]
        return [self._waiting.popleft() for _ in range(min(len(self._waiting), self._most))]

    def _send(self, batch: list[Submitted]) -> None:
        """Send what the members build. One whose caller was cancelled is left out."""
        ops: list[Op] = []
        members: list[tuple[Submitted, int]] = []
        for member in batch:
            if member.end.done():
                continue
            try:
                own = member.build()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this caller's
                member.fail(error)
                continue
            ops += own
            members.append((member, len(own)))
        self._in_flight = True
        if not ops:
            self._ended(members, [])
            return
        try:
            self._database.begin(ops, lambda end: self._ended(members, end))
        except Exception as error:  # noqa: BLE001 - none of them may wait for ever
            self._ended(members, error)
        for member, _ in members:
            member.mark_sent()

    def _ended(self, members: list[tuple[Submitted, int]], end: Results | Exception) -> None:
        """Give each member its part of the results, or the error; go on with the next batch."""
        self._in_flight = False
        if isinstance(end, Refused) and len(members) > 1:
            self._alone.extend(member for member, _ in members)
            self.flush()
            return
        self._members += len(members)
        if isinstance(end, Exception):
            if not isinstance(end, OvnletError):
                log.error("unforeseen end of a transaction", members=len(members), exc_info=end)
                end = Disconnected(f"the transaction ended with {end!r}")
            for member, _ in members:
                member.fail(end)
        else:
            self._distribute(members, end)
        if not self._alone:
            self._pause()
        self.flush()

    def _pause(self) -> None:
        """Send nothing for the time that the callers since the last pause are worth."""
        pause, self._members = min(self._per_member * self._members, self._longest), 0
        if pause:
            self._pausing = True
            asyncio.get_running_loop().call_later(pause, self._resume)

    def _resume(self) -> None:
        self._pausing = False
        self.flush()

    @staticmethod
    def _distribute(members: list[tuple[Submitted, int]], results: Results) -> None:
        at = 0
        for member, count in members:
            if not member.end.done():
                member.end.set_result(results[at : at + count])
            member.mark_sent()
            at += count
