"""The pods of the node as last heard of: who is woken, who is forgotten, and when all are known."""

import asyncio

from ovnlet.core.identity import Pod
from ovnlet.reconcile.state import Owner, State

OWNER = ("shop", "web-0")


def pod(uid: str = "u1", name: str = "web-0", **annotations: str) -> Pod:
    return Pod("shop", name, uid, annotations, uid)


def put(state: State, now: Pod) -> None:
    state.update(state.get(now.owner), now)


def gone(state: State) -> None:
    state.update(state.get(OWNER), None)


def test_a_pod_is_unknown_then_known_then_gone() -> None:
    told: list[Owner] = []
    state = State()
    state.subscribe(told.append)
    assert state.get(OWNER) is None
    put(state, pod())
    assert state.get(OWNER) == pod()
    gone(state)
    assert state.get(OWNER) is None
    assert list(state) == []
    assert told == [OWNER, OWNER]


def test_pods_may_change_while_they_are_walked_through() -> None:
    state = State()
    put(state, pod())
    for _ in state:
        put(state, pod("u3", "web-1"))
        gone(state)
    assert [each.name for each in state] == ["web-1"]


async def test_a_waiter_hears_a_pod_that_was_not_there_yet() -> None:
    state = State()
    with state.watching(OWNER) as event:
        assert not event.is_set()
        put(state, pod())
        await asyncio.wait_for(event.wait(), 0.1)
        assert state.get(OWNER) == pod()


async def test_a_waiter_hears_every_change_once_it_has_cleared() -> None:
    state = State()
    with state.watching(OWNER) as event:
        put(state, pod())
        assert event.is_set()
        event.clear()
        put(state, pod(ip="10.16.0.5"))
        assert event.is_set()
        event.clear()
        gone(state)
        assert event.is_set()


async def test_a_waiter_does_not_hear_of_others() -> None:
    state = State()
    put(state, pod())
    with state.watching(OWNER) as event:
        put(state, pod("u3", "web-1"))
        assert not event.is_set()


async def test_all_waiters_for_a_pod_hear_and_none_is_left_behind() -> None:
    state = State()
    with state.watching(OWNER) as first:
        with state.watching(OWNER) as second:
            put(state, pod())
            assert first.is_set()
            assert second.is_set()
        first.clear()
        gone(state)
        assert first.is_set()
    assert state._waiting == {}


async def test_whoever_waits_for_a_complete_list_goes_on_with_it() -> None:
    state = State()
    waiting = asyncio.create_task(state.listed())
    await asyncio.sleep(0)
    put(state, pod())
    await asyncio.sleep(0)
    assert not waiting.done()
    state.synced.set()
    await asyncio.wait_for(waiting, 0.1)
