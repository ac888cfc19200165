"""Pods of this node enter the state, and leave it, even when the watch breaks."""

import statistics
from functools import partial
from pathlib import Path
from time import monotonic
from urllib.parse import unquote

from integration.apiserver.agent import IN_FORCE, NODE, AgentUnderTest, running, until
from integration.apiserver.conftest import Api, Audit
from integration.apiserver.proxy import ApiProxy
from ovnlet.kube.kopf_runner import NO_OBJECT
from testbed.bed import Bed


async def test_an_edit_reaches_the_state_in_milliseconds(
    account: Path, proxy: ApiProxy, api: Api
) -> None:
    await api.create("edited")
    async with running(account, proxy.url) as agent:
        await until(lambda: agent.pod("edited"), 15, "the pod")
        times = []
        for number in range(40):
            with agent.state.watching(("default", "edited")) as changed:
                began = monotonic()
                await api.note("edited", str(number))
                await changed.wait()
                times.append((monotonic() - began) * 1000)
            assert agent.note("edited") == str(number)
    print(
        f"PATCH to state: median {statistics.median(times):.1f} ms,"
        f" worst {max(times):.1f} ms, n={len(times)}"
    )
    assert max(times) < 1000


async def test_only_what_is_needed_of_a_pod_is_kept(
    account: Path, proxy: ApiProxy, api: Api
) -> None:
    body = await api.create(
        "kept", annotations={"ovn.kubernetes.io/note": "yes", "example.com/other": "no"}
    )
    await api.create(
        "static",
        annotations={"kubernetes.io/config.mirror": "0123", "kubernetes.io/config.hash": "0123"},
    )
    await api.create("host", hostNetwork=True)
    await api.create("elsewhere", nodeName="n1")
    async with running(account, proxy.url) as agent:
        await until(lambda: agent.state.complete and agent.pod("static"), 15, "the pods")
        kept, static = agent.pod("kept"), agent.pod("static")
        assert kept is not None
        assert static is not None
        assert kept.annotations == {"ovn.kubernetes.io/note": "yes"}
        assert kept.uid == kept.object_uid == body["metadata"]["uid"]
        assert (static.uid, static.object_uid == "0123") == ("0123", False)
        assert {pod.name for pod in agent.state} == {"kept", "static"}


async def test_a_finished_pod_stays_until_it_is_deleted(
    account: Path, proxy: ApiProxy, api: Api
) -> None:
    await api.create("finished")
    async with running(account, proxy.url) as agent:
        await until(lambda: agent.pod("finished"), 15, "the pod")
        await api.finish("finished")
        await api.note("finished", "after the end")
        await until(lambda: agent.note("finished") == "after the end", 15, "the edit after the end")
        await api.delete("finished")
        await until(lambda: agent.pod("finished") is None, 15, "the deletion")


async def test_a_pod_of_the_same_name_takes_the_place_of_the_deleted_one(
    account: Path, proxy: ApiProxy, api: Api
) -> None:
    await api.create("again")
    async with running(account, proxy.url) as agent:
        await until(lambda: agent.pod("again"), 15, "the pod")
        for _ in range(5):
            await api.delete("again")
            body = await api.create("again")
            new = body["metadata"]["uid"]
            await until(partial(_is_now, agent, new), 15, "the new pod")


async def test_a_pod_deleted_while_the_watch_was_cut_and_its_history_lost_is_gone(
    bed: Bed, account: Path, proxy: ApiProxy, api: Api
) -> None:
    await api.create("stays")
    await api.create("leaves")
    async with running(account, proxy.url) as agent:
        await until(lambda: agent.pod("stays") and agent.pod("leaves"), 15, "the pods")
        await proxy.close()
        await api.delete("leaves")
        await api.note("stays", "edited during the outage")
        # A new API server has no watch history: a watch from an older version gets 410 Gone.
        bed.control_plane.space.restart("kube-apiserver").wait_ready(
            lambda: bed.control_plane.answers(bed.api_url)
        )
        assert agent.pod("leaves")
        await proxy.open()
        seconds = await until(lambda: agent.pod("leaves") is None, IN_FORCE, "the deletion")
        await until(
            lambda: agent.note("stays") == "edited during the outage",
            IN_FORCE - seconds,
            "the edit",
        )
        print(
            f"a pod deleted during the outage: gone {seconds:.1f} s after the API server was back"
        )


async def test_the_agents_role_suffices_and_is_used_for_nothing_else(
    account: Path, proxy: ApiProxy, api: Api, audit: Audit
) -> None:
    await api.create("watched")
    async with running(account, proxy.url) as agent:
        await until(lambda: agent.pod("watched"), 15, "the pod")
        await api.note("watched", "edited")
        await until(lambda: agent.note("watched") == "edited", 15, "the edit")
        pod = agent.pod("watched")
        assert pod
        for count in (1, 2):
            agent.recorder.record(pod, "Warning", "Test", "the same twice")
            await until(lambda: not agent.recorder._queue, 15, f"Event {count}")
        await api.delete("watched")
        await until(lambda: agent.pod("watched") is None, 15, "the deletion")
    # The audit log has a watch only once it has ended.
    await until(lambda: ("watch", "pods") in audit.verbs(), 10, "the watch's audit")
    asked = audit.asked()
    # This cluster has no Subnet CRD; the agent checks for it from time to time.
    refused = [entry for entry in asked if entry["responseStatus"]["code"] >= 400]
    assert {
        (entry["objectRef"]["resource"], entry["responseStatus"]["code"]) for entry in refused
    } <= {("subnets", 404)}
    verbs = {("list", "pods"), ("watch", "pods"), ("create", "events"), ("patch", "events")}
    assert audit.verbs() - {("list", "subnets")} == verbs
    lists = [
        entry["requestURI"]
        for entry in asked
        if entry["verb"] in ("list", "watch") and entry not in refused
    ]
    ours, none = f"fieldSelector=spec.nodeName={NODE}", f"fieldSelector={NO_OBJECT}"
    assert all(ours in unquote(uri) or none in unquote(uri) for uri in lists), lists
    assert any(none in unquote(uri) for uri in lists), "kopf's own list has no object"


def _is_now(agent: AgentUnderTest, uid: str) -> bool:
    pod = agent.pod("again")
    return pod is not None and pod.uid == uid
