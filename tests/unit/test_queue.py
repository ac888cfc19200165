"""The queue: bursts coalesce, a pass begins after its call, failures are repeated."""

import asyncio
from itertools import pairwise

import pytest

from ovnlet.core.errors import NotReady, OvnletError
from ovnlet.reconcile.queue import DEFERRED, FIRST_RETRY, LAST_RETRY, Queue

pytestmark = pytest.mark.looptime


async def test_a_burst_of_hints_is_at_most_two_passes() -> None:
    passes: list[str] = []

    async def work(key: str) -> None:
        passes.append(key)
        await asyncio.sleep(1)

    queue: Queue[str, None] = Queue(work)
    queue.add("a")
    await asyncio.sleep(0.5)
    for _ in range(100):
        queue.add("a")
    await asyncio.sleep(10)
    assert passes == ["a", "a"]
    assert len(queue) == 0


async def test_a_caller_gets_the_result_of_a_pass_that_began_after_its_call() -> None:
    world = "old"
    started = asyncio.Event()

    async def work(_: str) -> str:
        seen = world
        started.set()
        await asyncio.sleep(1)
        return seen

    queue: Queue[str, str] = Queue(work)
    queue.add("a")
    await started.wait()
    world = "new"
    assert await queue.run("a") == "new"


async def test_keys_do_not_wait_for_each_other() -> None:
    stuck = asyncio.Event()

    async def work(key: str) -> str:
        if key == "stuck":
            await stuck.wait()
        return key

    queue: Queue[str, str] = Queue(work)
    queue.add("stuck")
    async with asyncio.timeout(0.1):
        assert await queue.run("free") == "free"
    stuck.set()


async def test_a_failed_pass_tells_its_caller_and_is_repeated_ever_more_slowly() -> None:
    times: list[float] = []
    loop = asyncio.get_running_loop()

    async def work(_: str) -> None:
        times.append(loop.time())
        raise NotReady("not yet")

    queue: Queue[str, None] = Queue(work)
    with pytest.raises(NotReady):
        await queue.run("a")
    await asyncio.sleep(300)
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert pauses[0] == pytest.approx(FIRST_RETRY, abs=0.05)
    assert pauses[1] == pytest.approx(2 * FIRST_RETRY, abs=0.05)
    assert pauses[-1] == pytest.approx(LAST_RETRY, abs=0.05)
    await queue.close()


async def test_a_failure_that_no_caller_waits_for_is_told() -> None:
    told: list[tuple[str, bool]] = []

    async def work(_: str) -> None:
        raise NotReady("not yet")

    def failed(key: str, error: OvnletError, /, *, awaited: bool) -> None:
        told.append((f"{key}: {error}", awaited))

    queue: Queue[str, None] = Queue(work, failed)
    with pytest.raises(NotReady):
        await queue.run("a")
    assert told == [("a: not yet", True)]
    await asyncio.sleep(1)
    assert set(told[1:]) == {("a: not yet", False)}
    await queue.close()


async def test_a_hint_does_not_wait_for_the_back_off() -> None:
    failing = True
    loop = asyncio.get_running_loop()

    async def work(_: str) -> str:
        if failing:
            raise NotReady("not yet")
        return "done"

    queue: Queue[str, str] = Queue(work)
    for _ in range(8):
        with pytest.raises(NotReady):
            await queue.run("a")
    failing = False
    began = loop.time()
    assert await queue.run("a") == "done"
    assert loop.time() - began < 0.01


async def test_a_crash_in_one_pass_ends_neither_the_key_nor_the_others() -> None:
    crash = True

    async def work(key: str) -> str:
        if crash and key == "a":
            raise ZeroDivisionError
        return key

    queue: Queue[str, str] = Queue(work)
    with pytest.raises(ZeroDivisionError):
        await queue.run("a")
    assert await queue.run("b") == "b"
    crash = False
    assert await queue.run("a") == "a"


async def test_cancelling_a_caller_stops_no_pass() -> None:
    done: list[str] = []

    async def work(key: str) -> str:
        await asyncio.sleep(1)
        done.append(key)
        return key

    queue: Queue[str, str] = Queue(work)
    caller = asyncio.create_task(queue.run("a"))
    await asyncio.sleep(0.5)
    caller.cancel()
    await asyncio.sleep(5)
    assert done == ["a"]


async def test_close_lets_passes_end_and_begins_none() -> None:
    done: list[str] = []

    async def work(key: str) -> str:
        await asyncio.sleep(1)
        done.append(key)
        return key

    queue: Queue[str, str] = Queue(work)
    queue.add("a")
    await asyncio.sleep(0.1)
    await queue.close()
    queue.add("b")
    await asyncio.sleep(5)
    assert done == ["a"]


async def test_hints_are_deferred_until_a_look_answers_them() -> None:
    passes: list[str] = []

    async def work(key: str) -> None:
        passes.append(key)

    queue: Queue[str, None] = Queue(work)
    with queue.defer_hints("a"):
        await queue.run("a")
        queue.hint("a")
        queue.hint("b")
        await asyncio.sleep(DEFERRED / 2)
        assert passes == ["a", "b"]
        queue.acknowledge("a")
        await asyncio.sleep(2 * DEFERRED)
    await asyncio.sleep(1)
    assert passes == ["a", "b"]
    queue.hint("a")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert passes == ["a", "b", "a"]


async def test_a_hint_that_no_look_answers_is_a_pass_after_a_while_or_at_the_end() -> None:
    times: list[float] = []
    loop = asyncio.get_running_loop()

    async def work(_: str) -> None:
        times.append(loop.time())

    queue: Queue[str, None] = Queue(work)
    began = loop.time()
    with queue.defer_hints("a"):
        queue.hint("a")
        queue.hint("a")
        await asyncio.sleep(3 * DEFERRED)
        assert times == [pytest.approx(began + DEFERRED, abs=0.05)]
        queue.hint("a")
    await asyncio.sleep(10)
    assert times[1:] == [pytest.approx(began + 3 * DEFERRED, abs=0.05)]


async def test_what_is_not_a_hint_of_the_node_does_not_wait_while_hints_are_deferred() -> None:
    passes: list[str] = []

    async def work(key: str) -> None:
        passes.append(key)

    queue: Queue[str, None] = Queue(work)
    with queue.defer_hints("a"):
        queue.add("a")
        await asyncio.sleep(DEFERRED / 10)
        assert passes == ["a"]


@pytest.mark.review2
async def test_a_report_that_fails_leaves_no_key_without_a_worker() -> None:
    """L6: what reports a failed pass has a defect; the key is worked on all the same."""
    passes: list[str] = []

    async def work(key: str) -> None:
        passes.append(key)
        if len(passes) < 3:
            raise NotReady("not yet")

    def report(_key: str, _error: OvnletError, /, *, awaited: bool) -> None:
        del awaited
        raise RuntimeError("a defect of the report")

    queue: Queue[str, None] = Queue(work, report)
    queue.add("a")
    await asyncio.sleep(10)
    assert passes == ["a", "a", "a"]
    assert len(queue) == 0


@pytest.mark.review2
async def test_a_pass_that_is_cancelled_from_within_leaves_its_key_usable() -> None:
    """L6: a driver that cancels what it waits for itself; nobody waits for ever."""
    passes: list[str] = []

    async def work(key: str) -> str:
        passes.append(key)
        if len(passes) == 1:
            raise asyncio.CancelledError
        return key

    queue: Queue[str, str] = Queue(work)
    async with asyncio.timeout(10):
        with pytest.raises(asyncio.CancelledError):
            await queue.run("a")
        assert await queue.run("a") == "a"
