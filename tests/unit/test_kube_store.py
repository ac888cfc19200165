"""In any order of watch events and lists, the newest version of a pod is kept."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.recorded import recorded
from ovnlet.core.identity import Pod
from ovnlet.kube.object_store import Store, Version
from ovnlet.kube.pods import of_node, read
from ovnlet.reconcile.state import State


def body(name: str = "a", version: int = 1, **more: Any) -> dict[str, Any]:
    found = recorded("pods", "bound")
    found["metadata"] |= {
        "namespace": "shop",
        "name": name,
        "uid": f"uid-{name}",
        "resourceVersion": str(version),
        **more,
    }
    return found


Seen = Version[Pod]


def seen(name: str, version: int, uid: str = "") -> Seen:
    return Seen(
        ("shop", name), version, Pod("shop", name, uid or name, {"v": str(version)}, uid or name)
    )


def follow(state: State) -> Store[Pod]:
    """Return a store that updates ``state``, as in the agent."""
    return Store(of_node("n0"), read, state.update, state.synced)


def uid_of(seen: Seen) -> str:
    assert seen.value
    return seen.value.uid


def names(state: State) -> dict[str, str]:
    return {pod.name: pod.annotations["v"] for pod in state}


def test_a_pod_is_read_without_what_the_agent_does_not_need() -> None:
    wanted = {
        "ovn.kubernetes.io/ip_address": "10.16.0.5",
        "net1.shop.kubernetes.io/routes": "[]",
        "ovnlet.io/x": "1",
    }
    others = {
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
        "fakekubernetes.io/x": "",
        "plain": "",
    }
    pod = read(body(version=7, annotations={**wanted, **others}))
    assert pod == Pod("shop", "a", "uid-a", wanted, "uid-a")


def test_only_a_change_is_notified_and_a_complete_list_is_known() -> None:
    notified: list[tuple[str, str]] = []
    state = State()
    state.subscribe(notified.append)
    pods = follow(state)
    pods.update(seen("a", 5))
    pods.update(seen("a", 5))
    assert not state.complete
    pods.replace([seen("a", 5)], 6)
    assert state.complete
    assert notified == [("shop", "a")]
    pods.replace([seen("a", 7, "successor")], 8)
    assert notified == [("shop", "a"), ("shop", "a")]


def test_a_pod_on_the_hosts_network_is_ignored() -> None:
    assert read({**body(), "spec": {"hostNetwork": True}}) is None


@pytest.mark.review2
def test_a_pod_that_is_being_deleted_is_known_as_such_k2() -> None:
    """K2: its logical port may be gone before the pod is."""
    metadata = {**body()["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}
    leaving, staying = read({**body(), "metadata": metadata}), read(body())
    assert leaving
    assert staying
    assert (leaving.deleting, staying.deleting) == (True, False)


def test_a_static_pod_goes_by_the_uid_that_the_runtime_knows() -> None:
    pod = read(body(annotations={"kubernetes.io/config.mirror": "0123"}))
    assert pod
    assert (pod.uid, pod.object_uid) == ("0123", "uid-a")


def test_a_list_begun_before_newer_events_rolls_nothing_back() -> None:
    state = State()
    pods = follow(state)
    pods.update(seen("edited", 5))
    pods.update(seen("deleted", 4))
    pods.delete(seen("deleted", 12))
    pods.update(seen("edited", 13))
    pods.update(seen("created", 14))
    assert pods.replace([seen("edited", 5), seen("deleted", 4), seen("quiet", 2)], 10)
    assert names(state) == {"edited": "13", "created": "14", "quiet": "2"}


def test_what_a_list_lacks_is_deleted() -> None:
    state = State()
    pods = follow(state)
    pods.update(seen("lost", 5))
    pods.replace([seen("stays", 6)], 10)
    assert names(state) == {"stays": "6"}
    assert pods._newest.keys() == {("shop", "stays")}


def test_an_old_deletion_keeps_the_successor() -> None:
    state = State()
    pods = follow(state)
    pods.update(seen("web-0", 5, "first"))
    pods.update(seen("web-0", 9, "second"))
    pods.delete(seen("web-0", 8, "first"))
    assert [pod.uid for pod in state] == ["second"]


def test_a_cluster_restored_from_a_backup_is_accepted() -> None:
    state = State()
    pods = follow(state)
    pods.replace([seen("a", 900), seen("b", 901)], 1000)
    assert not pods.replace([seen("a", 90)], 100)
    pods.update(seen("a", 101))
    assert names(state) == {"a": "101"}


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[tuple[str, Seen]], list[tuple[list[Seen], int]]]:
    """Draw events in order, and what a list would contain after each of them."""
    alive: dict[str, Seen] = {}
    events: list[tuple[str, Seen]] = []
    lists: list[tuple[list[Seen], int]] = [([], 1)]
    for version in range(2, draw(st.integers(2, 14))):
        name = draw(st.sampled_from("abc"))
        if name in alive and draw(st.booleans()):
            events.append(("gone", seen(name, version, uid_of(alive.pop(name)))))
        else:
            uid = uid_of(alive[name]) if name in alive else f"{name}{version}"
            alive[name] = seen(name, version, uid)
            events.append(("seen", alive[name]))
        lists.append((list(alive.values()), version))
    return events, lists


@given(histories(), st.data())
def test_any_interleaving_ends_with_the_last_list(
    history: tuple[list[tuple[str, Seen]], list[tuple[list[Seen], int]]], data: st.DataObject
) -> None:
    """Lists arrive in order with any delay, events are lost or late; the last list decides."""
    events, lists = history
    state = State()
    pods = follow(state)
    delivered = data.draw(st.permutations([event for event in events if data.draw(st.booleans())]))
    chosen = sorted(data.draw(st.lists(st.sampled_from(range(len(lists))), max_size=4)))
    turns = data.draw(st.permutations(["event"] * len(delivered) + ["list"] * len(chosen)))
    delivered, chosen = list(delivered), list(chosen)
    for turn in turns:
        if turn == "event":
            kind, pod = delivered.pop(0)
            (pods.update if kind == "seen" else pods.delete)(pod)
        else:
            pods.replace(*lists[chosen.pop(0)])
    pods.replace(*lists[-1])
    assert {pod.owner: pod for pod in state} == {each.owner: each.value for each in lists[-1][0]}
