"""Calls from another thread into the loop: their order, and how often they wake it."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from ovnlet.kube.kopf_runner import Handover


async def test_a_burst_of_another_thread_wakes_the_loop_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The loop is busy meanwhile; then all calls are made, in their order."""
    loop, woken, seen = asyncio.get_running_loop(), [], list[int]()
    wake = loop.call_soon_threadsafe

    def count(*args: Any, **options: Any) -> asyncio.Handle:
        woken.append(args[0])
        return wake(*args, **options)

    monkeypatch.setattr(loop, "call_soon_threadsafe", count)
    handover = Handover(loop)

    def call(numbers: range) -> None:
        for number in numbers:
            handover.call(seen.append, number)

    _from_a_thread(call, range(1000))
    assert not seen
    await asyncio.sleep(0)
    assert seen == list(range(1000))
    assert len(woken) == 1
    _from_a_thread(call, range(1000, 1001))
    await asyncio.sleep(0)
    assert (seen[-1], len(woken)) == (1000, 2)


async def test_nothing_is_lost_while_both_threads_work() -> None:
    """A call that comes just as the loop has made the last one wakes it again."""
    seen: list[int] = []
    handover = Handover(asyncio.get_running_loop())

    def call() -> None:
        for number in range(100_000):
            handover.call(seen.append, number)

    await asyncio.to_thread(call)
    await asyncio.sleep(0.01)
    assert seen == list(range(100_000))


async def test_a_call_that_raises_stops_no_other() -> None:
    """The loop's handler gets the error."""
    loop, seen, errors = asyncio.get_running_loop(), list[int](), list[Any]()
    loop.set_exception_handler(lambda _, context: errors.append(context["exception"]))
    handover = Handover(loop)

    def fail(_: int) -> None:
        raise KeyError("a body that is none")

    def call() -> None:
        handover.call(fail, 0)
        handover.call(seen.append, 1)

    _from_a_thread(call)
    await asyncio.sleep(0.01)
    assert seen == [1]
    assert [type(error) for error in errors] == [KeyError]


def _from_a_thread(work: Callable[..., None], *args: Any) -> None:
    thread = threading.Thread(target=work, args=args)
    thread.start()
    thread.join()
