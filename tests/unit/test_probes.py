"""Probes are answered without any look at the node, and wait for a port that is in use."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress

import aiohttp
import pytest

from ovnlet.agent.metrics import Metrics
from ovnlet.agent.probes import Probes
from ovnlet.drivers.ovs.health import Verdict

Answer = tuple[int, str]


class Node:
    """The node's state that the probes answer with."""

    verdict: Verdict | None = None


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
async def node(port: int) -> AsyncIterator[Node]:
    node = Node()
    metrics = Metrics(lambda: ["attached"], queued=lambda: 3)
    running = asyncio.create_task(
        Probes(f"127.0.0.1:{port}", lambda: node.verdict, metrics.show).run()
    )
    yield node
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def ask(port: int, path: str) -> Answer:
    """Return status and text of a request, retried until the port is served."""
    async with asyncio.timeout(20), aiohttp.ClientSession() as http:
        while True:
            try:
                async with http.get(f"http://127.0.0.1:{port}{path}") as answer:
                    return answer.status, await answer.text()
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.01)


async def test_a_faulty_node_is_alive_and_not_ready(node: Node, port: int) -> None:
    assert await ask(port, "/readyz") == (200, "ok\n")
    node.verdict = Verdict("ovs-vswitchd: no answer")
    assert await ask(port, "/readyz") == (503, "ovs-vswitchd: no answer\n")
    assert await ask(port, "/healthz") == (200, "ok\n")


async def test_metrics_are_served_there_too(node: Node, port: int) -> None:
    status, text = await ask(port, "/metrics")
    assert status == 200
    assert 'ovnlet_attachments{state="attached"} 1.0' in text
    assert "ovnlet_queue_depth 3.0" in text


async def test_a_port_in_use_is_retried(port: int) -> None:
    taken = socket.create_server(("127.0.0.1", port))
    running = asyncio.create_task(
        Probes(f"127.0.0.1:{port}", lambda: None, Metrics(lambda: []).show).run()
    )
    try:
        await asyncio.sleep(0.1)
        assert not running.done()
        taken.close()
        assert (await ask(port, "/healthz"))[0] == 200
    finally:
        taken.close()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


@pytest.mark.review2
async def test_a_part_that_needs_a_new_process_is_unhealthy(port: int) -> None:
    """L6: kubelet restarts the pod then."""
    reasons: list[str] = []
    metrics = Metrics(lambda: [])
    probes = Probes(
        f"127.0.0.1:{port}", lambda: None, metrics.show, lambda: "; ".join(reasons) or None
    )
    running = asyncio.create_task(probes.run())
    assert await ask(port, "/healthz") == (200, "ok\n")
    reasons.append("Events has failed 5 times in a minute: KeyError: 1")
    metrics.part_failed("Events")
    assert await ask(port, "/healthz") == (503, f"{reasons[0]}\n")
    assert (await ask(port, "/readyz"))[0] == 200
    assert 'ovnlet_part_failures_total{part="Events"} 1.0' in (await ask(port, "/metrics"))[1]
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
