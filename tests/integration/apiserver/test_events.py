"""Events as people see them: one that is counted up, not a row of the same."""

import asyncio
from pathlib import Path

from integration.apiserver.agent import IN_FORCE, Room, running, until
from integration.apiserver.conftest import Api, Audit
from integration.apiserver.front import Front
from ovnlet.core.identity import Pod


async def known(room: Room, name: str) -> Pod:
    await until(lambda: room.pod(name), 5, "the pod")
    pod = room.pod(name)
    assert pod
    return pod


async def sent(room: Room) -> None:
    await until(lambda: not room.recorder._queue, IN_FORCE, "the Events")


async def test_the_same_again_raises_a_count(
    account: Path, front: Front, api: Api, audit: Audit
) -> None:
    await api.create("told")
    async with running(account, front.url) as room:
        pod = await known(room, "told")
        for _ in range(3):
            room.recorder.record(pod, "Warning", "InvalidAnnotation", "x" * 5000)
            room.recorder.record(pod, "Normal", "Repaired", "a route was missing")
            await sent(room)
        events = {event["reason"]: event for event in await api.events("told")}
    invalid, repaired = events["InvalidAnnotation"], events["Repaired"]
    assert len(events) == len(await api.events("told")) == 2
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

    # The API server writes a request down after it has answered it.
    await until(lambda: len(writes()) >= 6, 5, "the audit log")
    assert writes() == ["create"] * 2 + ["patch"] * 4


async def test_one_that_the_api_server_forgot_is_created_anew(
    account: Path, front: Front, api: Api
) -> None:
    await api.create("forgotten")
    async with running(account, front.url) as room:
        pod = await known(room, "forgotten")
        room.recorder.record(pod, "Normal", "Repaired", "once")
        await sent(room)
        await api.forget_event((await api.events("forgotten"))[0]["metadata"]["name"])
        room.recorder.record(pod, "Normal", "Repaired", "once")
        await sent(room)
        assert [event["count"] for event in await api.events("forgotten")] == [2]


async def test_recorded_while_the_api_server_is_away_and_told_after(
    account: Path, front: Front, api: Api
) -> None:
    await api.create("later")
    async with running(account, front.url) as room:
        pod = await known(room, "later")
        await front.close()
        for _ in range(4):
            room.recorder.record(pod, "Warning", "NotConverged", "the same")
        await asyncio.sleep(1)
        await front.open()
        await sent(room)
        assert [event["count"] for event in await api.events("later")] == [4]


async def test_one_pod_cannot_flood_and_a_refused_event_blocks_nobody(
    account: Path, front: Front, api: Api
) -> None:
    await api.create("loud")
    await api.create("quiet")
    async with running(account, front.url) as room:
        loud, quiet = await known(room, "loud"), await known(room, "quiet")
        nowhere = Pod("no-such-namespace", "x", "u", {}, "u")
        room.recorder.record(nowhere, "Normal", "Repaired", "nobody reads it")
        for number in range(100):
            room.recorder.record(loud, "Normal", "Repaired", f"number {number}")
        room.recorder.record(quiet, "Normal", "Repaired", "once")
        await sent(room)
        assert len(await api.events("loud")) == 10
        assert len(await api.events("quiet")) == 1
