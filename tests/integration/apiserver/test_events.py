"""Events as people see them: a repeated Event raises a count instead of adding objects."""

import asyncio
from pathlib import Path

from integration.apiserver.agent import IN_FORCE, AgentUnderTest, running, until
from integration.apiserver.conftest import Api, Audit
from integration.apiserver.proxy import ApiProxy
from ovnlet.core.identity import Pod


async def known(agent: AgentUnderTest, name: str) -> Pod:
    await until(lambda: agent.pod(name), 15, "the pod")
    pod = agent.pod(name)
    assert pod
    return pod


async def sent(agent: AgentUnderTest) -> None:
    await until(lambda: not agent.recorder._queue, IN_FORCE, "the Events")


async def test_the_same_again_raises_a_count(
    account: Path, proxy: ApiProxy, api: Api, audit: Audit
) -> None:
    await api.create("repeated")
    async with running(account, proxy.url) as agent:
        pod = await known(agent, "repeated")
        for _ in range(3):
            agent.recorder.record(pod, "Warning", "InvalidAnnotation", "x" * 5000)
            agent.recorder.record(pod, "Normal", "Repaired", "a route was missing")
            await sent(agent)
        events = {event["reason"]: event for event in await api.events("repeated")}
    invalid, repaired = events["InvalidAnnotation"], events["Repaired"]
    assert len(events) == len(await api.events("repeated")) == 2
    assert (invalid["count"], repaired["count"]) == (3, 3)
    assert (invalid["type"], repaired["type"]) == ("Warning", "Normal")
    assert len(invalid["message"]) == 1024
    assert repaired["reportingComponent"] == repaired["source"]["component"] == "ovnlet"
    assert repaired["reportingInstance"] == "n0"
    assert repaired["involvedObject"]["uid"] == pod.object_uid

    def writes() -> list[str]:
        return sorted(
            entry["verb"] for entry in audit.asked() if entry["verb"] in ("create", "patch")
        )

    # The API server writes its audit log after it has answered.
    await until(lambda: len(writes()) >= 6, 15, "the audit log")
    assert writes() == ["create"] * 2 + ["patch"] * 4


async def test_an_expired_event_is_created_again(account: Path, proxy: ApiProxy, api: Api) -> None:
    await api.create("forgotten")
    async with running(account, proxy.url) as agent:
        pod = await known(agent, "forgotten")
        agent.recorder.record(pod, "Normal", "Repaired", "once")
        await sent(agent)
        await api.forget_event((await api.events("forgotten"))[0]["metadata"]["name"])
        agent.recorder.record(pod, "Normal", "Repaired", "once")
        await sent(agent)
        assert [event["count"] for event in await api.events("forgotten")] == [2]


async def test_events_recorded_during_an_outage_are_sent_after_it(
    account: Path, proxy: ApiProxy, api: Api
) -> None:
    await api.create("later")
    async with running(account, proxy.url) as agent:
        pod = await known(agent, "later")
        await proxy.close()
        for _ in range(4):
            agent.recorder.record(pod, "Warning", "NotConverged", "the same")
        await asyncio.sleep(1)
        await proxy.open()
        await sent(agent)
        assert [event["count"] for event in await api.events("later")] == [4]


async def test_one_pod_cannot_flood_and_a_refused_event_blocks_no_other(
    account: Path, proxy: ApiProxy, api: Api
) -> None:
    await api.create("loud")
    await api.create("quiet")
    async with running(account, proxy.url) as agent:
        loud, quiet = await known(agent, "loud"), await known(agent, "quiet")
        nowhere = Pod("no-such-namespace", "x", "u", {}, "u")
        agent.recorder.record(nowhere, "Normal", "Repaired", "refused: no such namespace")
        for number in range(100):
            agent.recorder.record(loud, "Normal", "Repaired", f"number {number}")
        agent.recorder.record(quiet, "Normal", "Repaired", "once")
        await sent(agent)
        assert len(await api.events("loud")) == 10
        assert len(await api.events("quiet")) == 1
