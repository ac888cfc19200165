"""Waiting for an API server: without an end, with short back-offs, idle when up to date.

On a fake clock.
"""

import asyncio
from itertools import islice
from typing import cast

import pytest

from ovnlet.core.identity import Pod
from ovnlet.kube import objects
from ovnlet.kube.events import BURST, MAX_KNOWN, MAX_MESSAGE, MAX_QUEUED, REFILL, Recorder
from ovnlet.kube.kopf_handlers import EndlessBackoff
from ovnlet.kube.kopf_runner import KIND_CHECK_INTERVAL, KopfRunner
from ovnlet.kube.object_store import Store
from ovnlet.kube.pods import of_node, read
from ovnlet.kube.relist import ABSENT_FIRST, ABSENT_LAST, EVERY, Relist
from ovnlet.kube.session import Access, ApiFault

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]


class Away:
    """Credentials of an API server that never answers; each session fails."""

    server = "https://192.0.2.1"

    def __init__(self, status: int = 0) -> None:
        self.tries: list[float] = []
        self._status = status

    def session(self) -> None:
        self.tries.append(asyncio.get_running_loop().time())
        raise ApiFault("no answer", self._status)


def pod(name: str = "a") -> Pod:
    return Pod("shop", name, name, {}, name)


def pods() -> Store[Pod]:
    return Store(of_node("n0"), read, lambda _was, _now: None)


async def test_the_list_is_retried_without_end_and_at_least_every_five_seconds() -> None:
    away = Away()
    listing = Relist(cast("Access", away), pods())
    task = asyncio.create_task(listing.run())
    await asyncio.sleep(12 * 60)
    assert not task.done()
    task.cancel()
    gaps = [after - before for before, after in zip(away.tries, away.tries[1:], strict=False)]
    assert max(gaps) <= 5
    assert len(gaps) < 12 * 60, "too eager"


@pytest.mark.review2
async def test_a_kind_that_the_cluster_does_not_have_is_requested_seldom_and_without_end() -> None:
    """L24: found within twice the time that it was absent; at most six LISTs an hour at rest."""
    away = Away(404)
    listing = Relist(cast("Access", away), pods())
    task = asyncio.create_task(listing.run())
    await asyncio.sleep(4 * 3600)
    gaps = [after - before for before, after in zip(away.tries, away.tries[1:], strict=False)]
    assert gaps[0] == ABSENT_FIRST
    assert all(gap <= 2 * max(at, ABSENT_FIRST) for at, gap in zip(away.tries, gaps, strict=False))
    assert sum(at > 3 * 3600 for at in away.tries) <= 3600 / ABSENT_LAST
    tries = len(away.tries)
    listing.request()
    await asyncio.sleep(0.1)
    assert len(away.tries) == tries + 1, "a watch that ended is not waited for"
    task.cancel()
    assert not listing.there
    assert not listing.store.complete.is_set()


@pytest.mark.review2
async def test_a_kind_is_listed_at_start_on_request_and_every_half_an_hour() -> None:
    """L24: nothing else lists it."""
    made = 0

    class Here(Relist[Pod]):
        async def refresh(self) -> None:
            nonlocal made
            made += 1

    listing = Here(cast("Access", Away()), pods())
    task = asyncio.create_task(listing.run())
    await asyncio.sleep(0.85 * EVERY)
    assert made == 1
    listing.request()
    listing.request()
    await asyncio.sleep(1)
    assert made == 2
    await asyncio.sleep(24 * 3600)
    assert made - 2 == pytest.approx(24 * 3600 / EVERY, abs=4)
    task.cancel()


async def test_kopfs_back_off_never_ends_and_can_restart() -> None:
    backoff = EndlessBackoff()
    for _ in range(2):
        waits = list(islice(backoff, 1000))
        assert max(waits) <= 5
        assert waits[0] < 1
    assert not hasattr(backoff, "__len__"), "kopf would take its length for the number of tries"


async def test_events_wait_in_a_bounded_queue_that_drops_the_oldest() -> None:
    away = Away()
    recorder = Recorder(cast("Access", away), "n0")
    task = asyncio.create_task(recorder.run())
    for number in range(2 * MAX_KNOWN):
        recorder.record(pod(str(number)), "Normal", "Repaired", "x")
        recorder.record(pod(str(number)), "Normal", "Repaired", "x")
    await asyncio.sleep(600)
    assert not task.done()
    task.cancel()
    assert (len(recorder._queue), len(recorder._known), len(recorder._buckets)) == (
        MAX_QUEUED,
        MAX_KNOWN,
        MAX_KNOWN,
    )
    assert next(iter(recorder._queue)).uid == str(2 * MAX_KNOWN - MAX_QUEUED)
    assert {event.count for event in recorder._queue.values()} == {2}
    assert (
        max(after - before for before, after in zip(away.tries, away.tries[1:], strict=False)) <= 6
    )


async def test_a_pod_gets_a_burst_and_then_one_event_a_minute() -> None:
    recorder = Recorder(cast("Access", Away()), "n0")
    for number in range(100):
        recorder.record(pod(), "Warning", "NotConverged", f"{number}" + "x" * 2 * MAX_MESSAGE)
    assert len(recorder._queue) == BURST
    assert all(len(key.message) == MAX_MESSAGE for key in recorder._queue)
    await asyncio.sleep(REFILL)
    recorder.record(pod(), "Warning", "NotConverged", "later")
    recorder.record(pod(), "Warning", "NotConverged", "too much")
    assert len(recorder._queue) == BURST + 1
    recorder.record(pod(), "Warning", "NetworkDrifted", "of another reason")
    assert len(recorder._queue) == BURST + 2


async def test_the_same_after_an_hour_is_a_new_event() -> None:
    recorder = Recorder(cast("Access", Away()), "n0")
    recorder.record(pod(), "Normal", "Repaired", "x")
    (first,) = recorder._known.values()
    await asyncio.sleep(1800)
    recorder.record(pod(), "Normal", "Repaired", "x")
    assert (first.count, *recorder._known.values()) == (2, first)
    await asyncio.sleep(3601)
    recorder.record(pod(), "Normal", "Repaired", "x")
    (second,) = recorder._known.values()
    assert (second.count, second.name != first.name) == (1, True)


NO_ITEMS: tuple[object, ...] = ("ab", [None], [{}], [{"metadata": {}}], 3)
NO_LISTS: tuple[object, ...] = (
    None,
    [],
    {},
    {"metadata": {}, "items": []},
    {"metadata": {"resourceVersion": "x"}},
)


@pytest.mark.parametrize(
    "page",
    [*NO_LISTS, *({"metadata": {"resourceVersion": "1"}, "items": items} for items in NO_ITEMS)],
)
async def test_an_answer_that_is_no_list_of_pods(page: object) -> None:
    with pytest.raises(ApiFault):
        Relist(cast("Access", Away()), pods())._read_page(page)


@pytest.mark.parametrize("late", [True, False])
async def test_kopf_misses_a_kind_that_two_checks_miss_and_none_that_it_lists_late(
    late: bool,
) -> None:
    access = cast("Access", Away())
    there = Relist(access, pods())
    late_one = Relist(access, Store(objects.SUBNETS, objects.subnet, lambda _was, _now: None))
    there.there = late_one.there = True
    runner = KopfRunner(access, "test", [there, late_one])
    runner._watched.add(there.store.kind.path)
    missed = asyncio.create_task(runner._missed_kind())
    await asyncio.sleep(1.5 * KIND_CHECK_INTERVAL)
    assert not missed.done()
    if late:
        runner._watched.add(late_one.store.kind.path)
    await asyncio.sleep(10 * KIND_CHECK_INTERVAL)
    assert missed.done() is not late
    missed.cancel()
