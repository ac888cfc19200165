"""E10: when a leader's term ends, and what of it reaches the process."""

import asyncio

import pytest

from ovnlet.controller import term
from ovnlet.core.errors import NodeFault, TermEnded
from ovnlet.core.settings import ControllerSettings
from ovnlet.drivers.northbound import fence
from ovnlet.drivers.northbound.session import Session
from ovnlet.kube.session import ApiFault

pytestmark = [pytest.mark.review2, pytest.mark.looptime]


class Connection:
    """A connection to the database that a test opens and closes."""

    fault = "nobody answers"

    def __init__(self) -> None:
        self.there = asyncio.Event()
        self.there.set()

    async def ready(self) -> None:
        """Wait until it is there."""
        await self.there.wait()


async def test_e10_a_leader_gives_up_after_as_long_as_a_lease_lasts() -> None:
    loop, connection = asyncio.get_running_loop(), Connection()
    leading = asyncio.create_task(term.require(connection, 10))
    await asyncio.sleep(60)
    assert not leading.done()
    connection.there.clear()
    began = loop.time()
    with pytest.raises(TermEnded, match="nobody answers"):
        await leading
    assert 10 <= loop.time() - began <= 12


async def test_e10_a_short_outage_ends_no_term() -> None:
    connection = Connection()
    leading = asyncio.create_task(term.require(connection, 2))
    for _ in range(5):
        connection.there.clear()
        await asyncio.sleep(3)
        connection.there.set()
        await asyncio.sleep(3)
    assert not leading.done()
    leading.cancel()


async def test_an_unforeseen_error_ends_the_process_also_beside_an_ended_term() -> None:
    term.conclude(ExceptionGroup("parts", [TermEnded("another leads")]))
    term.conclude(TermEnded("another leads"))
    for error in (NodeFault("x"), ExceptionGroup("parts", [TermEnded("y"), NodeFault("x")])):
        with pytest.raises((NodeFault, ExceptionGroup)):
            term.conclude(error)


class Unanswered:
    """A term whose number the API server does not raise."""

    number = 1

    async def advance(self, least: int) -> int:
        """Raise ApiFault."""
        raise ApiFault(f"PUT {least}: 503", 503)


async def test_why_a_terms_number_is_not_raised_reaches_the_log() -> None:
    """The database has a later number, and the API server is away."""
    settings = ControllerSettings.of({"identity": "a"})
    session = Session(settings, {}, lambda _: None, lambda: None)
    session._database.rows[fence.TABLE]["u"] = {fence.COLUMN: {fence.KEY: "41"}}
    session._database.connected.set()
    with pytest.raises(ApiFault, match="PUT 42"):
        async with asyncio.timeout(5):
            await session.lead(Unanswered())


async def test_an_error_of_a_task_beside_the_term_reaches_the_process() -> None:
    async def fails() -> None:
        raise NodeFault("the Lease cannot be kept")

    tasks = [asyncio.create_task(asyncio.sleep(60)), asyncio.create_task(fails())]
    await asyncio.sleep(1)
    tasks[0].cancel()
    await asyncio.wait(tasks)
    with pytest.raises(NodeFault, match="the Lease cannot be kept"):
        term.conclude_all(tasks)
