"""Who may block the event loop next."""

import asyncio

from ovnlet.drivers.turns import Turns


async def _order(turns: Turns, plan: list[tuple[str, bool]]) -> list[str]:
    """Have all of them wait at once, each with whether it comes last; return their order."""
    order: list[str] = []

    async def work(name: str, last: bool) -> None:
        await turns.take(name, last=last)
        order.append(name)

    await asyncio.gather(*(work(name, last) for name, last in plan))
    return order


async def test_those_that_come_last_wait_for_the_others() -> None:
    """The first has its turn at once: it does not know of the others."""
    plan = [("a", True), ("b", True), ("c", False), ("d", True), ("e", False)]
    assert await _order(Turns(), plan) == ["a", "c", "e", "b", "d"]


async def test_alone_it_waits_for_nobody() -> None:
    turns = Turns()
    await turns.take("a", last=True)
    assert turns.has("a")


async def test_nobody_waits_without_end_for_those_that_come_meanwhile() -> None:
    """A resync has one more look in each turn, and an ADD of that time would never get its link."""
    turns, looks = Turns(), 0

    async def look(number: int) -> None:
        nonlocal looks
        while True:
            await turns.take(f"look {number}")
            looks += 1
            await asyncio.sleep(0)

    streams = [asyncio.create_task(look(number)) for number in range(3)]
    await asyncio.sleep(0)
    async with asyncio.timeout(2):  # 30 ms are meant
        await turns.take("link", last=True)
    for stream in streams:
        stream.cancel()
    await asyncio.gather(*streams, return_exceptions=True)
    assert looks > 3, "looks went first meanwhile"
