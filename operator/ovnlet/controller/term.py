"""The term of a leader: it begins in the database, and ends where a leader can do nothing.

A leader without the database keeps others from trying, which may reach it. So it gives the Lease
back, and no replica without the database asks for it.
"""

import asyncio
from collections.abc import Iterable
from typing import Protocol

import structlog

from ovnlet.core.errors import TermEnded
from ovnlet.drivers.northbound.fence import Term
from ovnlet.kube.session import ApiFault

# Seconds without the database after which a leader gives up, if its Lease is shorter. A first dump
# of many thousand rows takes some of them.
LEAST = 5.0
_AGAIN = 0.5  # seconds between two attempts while the API server does not answer
log = structlog.get_logger("controller")


class Connected(Protocol):
    """A connection to the northbound database."""

    @property
    def fault(self) -> str:
        """Why it is not connected."""

    async def ready(self) -> None:
        """Wait until it is connected."""


class Database(Connected, Protocol):
    """The part of the northbound database that a term depends on."""

    async def lead(self, term: Term, /) -> None:
        """Begin the term: from here on this replica may write."""


async def begin(database: Database, term: Term) -> None:
    """Begin the term in the database. Raise TermEnded if this replica leads no more."""
    while True:
        try:
            return await database.lead(term)
        except ApiFault as fault:
            log.warning("cannot raise the term's number in the Lease", error=str(fault))
            await asyncio.sleep(_AGAIN)


async def able(database: Connected, every: float = 10.0) -> None:
    """Wait until the database is connected, and log why it is not: somebody has to repair that."""
    while True:
        try:
            async with asyncio.timeout(every):
                return await database.ready()
        except TimeoutError:
            log.warning("the northbound database is away", error=database.fault)


def conclude_all(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Conclude with the error of each of these tasks that has ended with one."""
    for task in tasks:
        if not task.cancelled() and (error := task.exception()):
            conclude(error)


def conclude(error: BaseException) -> None:
    """Log why a term ended; raise what else than TermEnded ended it."""
    ended: BaseException | None = error if isinstance(error, TermEnded) else None
    rest: BaseException | None = None if ended else error
    if isinstance(error, BaseExceptionGroup):
        ended, rest = error.split(TermEnded)
    if rest is not None:
        raise rest
    while isinstance(ended, BaseExceptionGroup):
        ended = ended.exceptions[0]
    log.warning("the term has ended", reason=str(ended))


async def require(database: Connected, seconds: float, every: float = 1.0) -> None:
    """Raise TermEnded once the database has been away for ``seconds``, at least ``LEAST``."""
    seconds = max(seconds, LEAST)
    while True:
        try:
            async with asyncio.timeout(seconds):
                await database.ready()
        except TimeoutError:
            raise TermEnded(f"the northbound database is away: {database.fault}") from None
        await asyncio.sleep(every)
