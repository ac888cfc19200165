"""OpenTelemetry traces of ADDs: what a collector gets, and what nobody pays for without one."""

import asyncio
import timeit
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from aiohttp import web

from ovnlet.agent import tracing
from ovnlet.agent.tracing import Tracing, untraced
from ovnlet.reconcile.stages import untimed
from ovnlet_cni.request import Attach

REQUEST = cast("Attach", None)


@dataclass
class Request:
    """What a trace names of an ADD."""

    namespace: str = "default"
    pod: str = "web"
    uid: str = "u"
    container_id: str = "c0ffee"
    ifname: str = "eth0"


@dataclass
class Collector:
    """An OTLP collector over HTTP, which may refuse."""

    url: str = ""
    status: int = 200
    bodies: list[dict[str, Any]] = field(default_factory=list)

    def spans(self) -> list[dict[str, Any]]:
        return [
            span
            for body in self.bodies
            for one in body["resourceSpans"]
            for scope in one["scopeSpans"]
            for span in scope["spans"]
        ]

    async def take(self, request: web.Request) -> web.Response:
        assert request.path == "/v1/traces"
        assert request.content_type == "application/json"
        if self.status == 200:
            self.bodies.append(await request.json())
        return web.json_response({}, status=self.status)


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    found, app = Collector(), web.Application()
    app.router.add_post("/{path:.*}", found.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


@pytest.fixture
async def traced(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Tracing]:
    monkeypatch.setattr(tracing, "INTERVAL", 0.05)
    found = Tracing(f"{collector.url}/", "n0", untimed)
    running = asyncio.create_task(found.run())
    yield found
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def until(number: int, collector: Collector) -> list[dict[str, Any]]:
    async with asyncio.timeout(30):
        while len(collector.spans()) < number:  # noqa: ASYNC110 - the collector is in this loop
            await asyncio.sleep(0.01)
    return collector.spans()


async def attach(traced: Tracing, fault: Exception | None = None) -> None:
    """Do what an ADD does: wait in its own task, and pass in another one."""

    async def work() -> None:
        with traced.clock("kernel"):
            await asyncio.sleep(0.01)
            if fault:
                raise fault

    with traced.add(cast("Attach", Request())):
        with traced.clock("annotation"):
            await asyncio.sleep(0)
        await asyncio.create_task(work())


async def test_an_add_is_a_span_with_its_stages_below(
    traced: Tracing, collector: Collector
) -> None:
    await asyncio.gather(attach(traced), attach(traced))
    found = await until(6, collector)
    roots = [span for span in found if "parentSpanId" not in span]
    assert [root["name"] for root in roots] == ["ADD", "ADD"]
    for root in roots:
        below = [span for span in found if span.get("parentSpanId") == root["spanId"]]
        assert [span["name"] for span in below] == ["annotation", "kernel"]
        assert {span["traceId"] for span in below} == {root["traceId"]}
        assert all(
            int(root["startTimeUnixNano"]) <= int(span["startTimeUnixNano"])
            and int(span["endTimeUnixNano"]) <= int(root["endTimeUnixNano"])
            for span in below
        )
        names = {one["key"]: one["value"]["stringValue"] for one in root["attributes"]}
        assert (names["k8s.pod.name"], names["container.id"]) == ("web", "c0ffee")
    assert len({root["traceId"] for root in roots}) == 2
    assert all(len(span["traceId"]) == 32 and len(span["spanId"]) == 16 for span in found)
    resource = collector.bodies[0]["resourceSpans"][0]["resource"]["attributes"]
    assert {"key": "k8s.node.name", "value": {"stringValue": "n0"}} in resource


async def test_a_failed_add_has_its_error(traced: Tracing, collector: Collector) -> None:
    with pytest.raises(OSError, match="no room"):
        await attach(traced, OSError("no room"))
    found = await until(3, collector)
    statuses = {span["name"]: span.get("status") for span in found}
    expected = {"code": 2, "message": "OSError: no room"}
    assert statuses == {"annotation": None, "kernel": expected, "ADD": expected}


async def test_a_stage_of_no_add_is_no_span(traced: Tracing, collector: Collector) -> None:
    """A repair, or a later pass in the context of an ADD that has been answered."""
    later = asyncio.Event()

    async def work() -> None:
        await later.wait()
        with traced.clock("kernel"):
            pass

    with traced.clock("kernel"):
        pass
    with traced.add(cast("Attach", Request())):
        task = asyncio.create_task(work())
    later.set()
    await task
    await asyncio.sleep(0.2)
    assert [span["name"] for span in await until(1, collector)] == ["ADD"]


async def test_a_collector_that_refuses_gets_each_span_once_later(
    traced: Tracing, collector: Collector
) -> None:
    collector.status = 503
    await attach(traced)
    await asyncio.sleep(0.2)
    assert collector.spans() == []
    collector.status = 200
    await until(3, collector)
    await asyncio.sleep(0.2)
    assert len(collector.spans()) == 3


async def test_a_collector_that_is_away_costs_a_bounded_number_of_spans() -> None:
    away = Tracing("http://127.0.0.1:1", "n0", untimed)
    for _ in range(3 * tracing._KEPT):
        with away.add(cast("Attach", Request())):
            pass
    assert len(away._spans) == tracing._KEPT


@pytest.mark.uncovered
async def test_without_a_collector_nothing_is_made() -> None:
    """The clock is the metrics' own, so that an ADD pays for an empty context: far below 0.1 ms."""
    off = Tracing(None, "n0", untimed)
    assert off.clock is untimed
    assert off.add is untraced

    def add() -> None:
        with off.add(REQUEST):
            pass

    seconds = min(timeit.repeat(add, number=1000, repeat=5)) / 1000
    print(f"an ADD without traces pays {seconds * 1e6:.2f} us")
    assert seconds < 1e-4
    await asyncio.wait_for(off.run(), 5)
