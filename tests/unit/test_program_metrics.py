"""What agent and controller count of themselves, of edits and of repairs."""

import asyncio
import ssl
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import aiohttp
import pytest
from prometheus_client import generate_latest

from kit.memory import COMPLETE, World, pod
from ovnlet.agent.metrics import Metrics
from ovnlet.controller.http import HttpEndpoints
from ovnlet.core.identity import Attachment
from ovnlet.core.resources import Route
from ovnlet.kube.session import Access
from unit.test_rotated_credentials import keys, name_client, server, write_kubeconfig

# Fixtures.
__all__ = ["keys", "server"]
ROUTES = '[{"dst":"192.0.2.0/24","gw":"10.16.0.9"}]'


@pytest.mark.parametrize(
    "registry", [Metrics(lambda: []).registry, HttpEndpoints("127.0.0.1:0").registry]
)
def test_build_and_process_are_there_before_anything_happens(registry: object) -> None:
    text = generate_latest(registry).decode()  # type: ignore[arg-type]
    assert 'ovnlet_build_info{python="3.' in text
    assert f'version="{version("ovnlet")}"}} 1.0' in text
    for name in ("cpu_seconds_total", "resident_memory_bytes", "open_fds", "start_time_seconds"):
        assert f"\nprocess_{name} " in text


async def test_each_request_is_counted_by_its_method_and_status(
    keys: Path, server: tuple[str, ssl.SSLContext]
) -> None:
    url, _ = server
    (keys / "ca.crt").write_bytes((keys / "server.crt").read_bytes())
    name_client(keys, "old")
    counted: list[tuple[str, int]] = []
    metrics = Metrics(lambda: [])

    def count(method: str, status: int) -> None:
        counted.append((method, status))
        metrics.requested(method, status)

    async with Access(write_kubeconfig(keys, url), counted=count).session() as http:
        for path in ("/", "/none"):
            async with http.get(url + path):
                pass
        with pytest.raises(aiohttp.ClientConnectionError):
            await http.post("https://127.0.0.1:1/")
    assert counted == [("GET", 200), ("GET", 404), ("POST", 0)]
    text = metrics.text().decode()
    assert 'ovnlet_api_requests_total{method="GET",status="404"} 1.0' in text
    assert 'ovnlet_api_requests_total{method="POST",status="0"} 1.0' in text


@pytest.fixture
async def world() -> World:
    return World()


async def attached(world: World) -> Attachment:
    world.tell(pod())
    attachment = world.attachment()
    await world.attaching.add(attachment)
    await asyncio.sleep(5)
    return attachment


@pytest.mark.looptime
async def test_an_edit_is_timed_from_its_arrival_and_nothing_else_is(world: World) -> None:
    attachment = await attached(world)
    world.tell(pod({**COMPLETE, "unrelated": "x"}))
    await asyncio.sleep(5)
    assert world.status.edits == []
    world.tell(pod({**COMPLETE, "ovn.kubernetes.io/routes": ROUTES}))
    await asyncio.sleep(5)
    (seconds,) = world.status.edits
    assert 0 < seconds < 1
    await world.passes.run(attachment.key)
    assert world.status.edits == [seconds]


def without_routes(world: World, attachment: Attachment) -> None:
    there = world.host.networks[attachment.key]
    world.host.networks[attachment.key] = frozenset(r for r in there if not isinstance(r, Route))


@pytest.mark.looptime
async def test_a_repair_has_the_class_of_what_asked_for_the_look(world: World) -> None:
    attachment, metrics = await attached(world), Metrics(lambda: [])
    key = world.passes.key(attachment.key)
    without_routes(world, attachment)
    world.loop.queue.hint(key)
    await asyncio.sleep(5)
    without_routes(world, attachment)
    world.loop.add_all()
    await asyncio.sleep(5)
    hinted, looked = [one for one in world.outcomes if one.action == "repaired" and one.steps]
    assert (hinted.hinted, looked.hinted) == (True, False)
    for outcome in (hinted, looked, replace(looked, first=True)):
        metrics.outcome(outcome)
    text = metrics.text().decode()
    for name in ("event", "resync"):  # two routes each
        assert f'ovnlet_repaired_total{{class="{name}",kind="Route"}} 2.0' in text


@pytest.mark.looptime
async def test_a_hint_that_was_delayed_is_still_a_hint(world: World) -> None:
    attachment = await attached(world)
    key = world.passes.key(attachment.key)
    for _ in range(40):
        without_routes(world, attachment)
        world.loop.queue.hint(key)
        await asyncio.sleep(0.05)
    await asyncio.sleep(60)
    repairs = [one for one in world.outcomes if one.action == "repaired" and one.steps]
    assert world.status.waits
    assert {one.hinted for one in repairs} == {True}
