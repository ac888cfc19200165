"""The pods of the node as last heard of: who is woken, who is forgotten, and what a complete list means."""

import asyncio

from ovnlet.core.attachment import Pod
from ovnlet.reconcile.state import Owner, State

OWNER = ("shop", "web-0")


def pod(uid: str = "u1", name: str = "web-0", **annotations: str) -> Pod:
    return Pod("shop", name, uid, annotations, uid)


def test_a_pod_is_unknown_then_known_then_gone() -> None:
    state = State()
    assert state.get(OWNER) is None
    state.put(pod())
    assert state.get(OWNER) == pod()
    state.gone(OWNER, "u1")
    assert state.get(OWNER) is None
    assert list(state) == []


def test_only_a_change_is_told() -> None:
    told: list[Owner] = []
    state = State(told.append)
    state.put(pod())
    state.put(pod())
    state.put(pod(ip="10.16.0.5"))
    state.gone(OWNER, "u1")
    state.gone(OWNER, "u1")
    assert told == [OWNER, OWNER, OWNER]


def test_the_end_of_an_earlier_pod_does_not_take_its_successor() -> None:
    state = State()
    state.put(pod("u2"))
    state.gone(OWNER, "u1")
    assert state.get(OWNER) == pod("u2")


def test_a_complete_list_takes_away_what_it_lacks_and_says_that_it_was_complete() -> None:
    told: list[Owner] = []
    state = State(told.append)
    state.put(pod())
    state.put(pod("u3", "web-1"))
    assert not state.complete
    told.clear()
    state.replace([pod("u3", "web-1"), pod("u4", "web-2")])
    assert state.complete
    assert {each.name for each in state} == {"web-1", "web-2"}
    assert told == [OWNER, ("shop", "web-2")]


def test_a_complete_list_with_a_successor_is_one_change() -> None:
    told: list[Owner] = []
    state = State(told.append)
    state.put(pod("u1"))
    told.clear()
    state.replace([pod("u2")])
    assert state.get(OWNER) == pod("u2")
    assert told == [OWNER]


def test_pods_may_change_while_they_are_walked_through() -> None:
    state = State()
    state.put(pod())
    for each in state:
        state.put(pod("u3", "web-1"))
        state.gone(each.owner, each.uid)
    assert [each.name for each in state] == ["web-1"]


async def test_a_waiter_hears_a_pod_that_was_not_there_yet() -> None:
    state = State()
    with state.watching(OWNER) as event:
        assert not event.is_set()
        state.put(pod())
        await asyncio.wait_for(event.wait(), 0.1)
        assert state.get(OWNER) == pod()


async def test_a_waiter_hears_every_change_once_it_has_cleared() -> None:
    state = State()
    with state.watching(OWNER) as event:
        state.put(pod())
        assert event.is_set()
        event.clear()
        state.put(pod(ip="10.16.0.5"))
        assert event.is_set()
        event.clear()
        state.gone(OWNER, "u1")
        assert event.is_set()


async def test_a_waiter_does_not_hear_of_others_nor_of_what_changes_nothing() -> None:
    state = State()
    state.put(pod())
    with state.watching(OWNER) as event:
        state.put(pod())
        state.put(pod("u3", "web-1"))
        state.gone(OWNER, "u0")
        assert not event.is_set()


async def test_all_waiters_for_a_pod_hear_and_none_is_left_behind() -> None:
    state = State()
    with state.watching(OWNER) as first:
        with state.watching(OWNER) as second:
            state.put(pod())
            assert first.is_set()
            assert second.is_set()
        first.clear()
        state.gone(OWNER, "u1")
        assert first.is_set()
    assert state._waiting == {}


async def test_whoever_waits_for_a_complete_list_goes_on_with_it() -> None:
    state = State()
    waiting = asyncio.create_task(state.listed())
    await asyncio.sleep(0)
    state.put(pod())
    await asyncio.sleep(0)
    assert not waiting.done()
    state.replace([])
    await asyncio.wait_for(waiting, 0.1)
    assert state.get(OWNER) is None
