"""Each metric of the controller changes with what it counts, and no label names a pod."""

import socket

import aiohttp
import pytest

from integration.controller.admin import ClusterAdmin, until
from integration.controller.replicas import Replicas
from ovnlet.controller.http import HttpEndpoints
from testbed import figures

DUAL = "10.16.0.0/16,fd00:10:16::/64"


@pytest.fixture
def listen() -> str:
    """Return an address with a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


async def scrape(listen: str) -> str:
    try:
        async with aiohttp.request("GET", f"http://{listen}/metrics") as answer:
            return await answer.text()
    except aiohttp.ClientError:
        return ""


async def test_every_figure_of_the_controller_moves(
    admin: ClusterAdmin, replicas: Replicas, listen: str
) -> None:
    replicas.start(listen=listen)
    await admin.subnet("ovn-default", DUAL, default=True)
    await admin.node("n0", "192.0.2.1")
    await admin.pod("one", ip_address="10.16.0.77")
    await admin.pod("lost", logical_switch="nowhere")
    await admin.allocated("one")
    await admin.pod("two", ip_address="10.16.0.77")
    await admin.event("two", "AddressTaken", "10.16.0.77")
    await admin.annotate("one", ip_address="10.16.0.200")
    await admin.event("one", "AnnotationRestored", "10.16.0.200")
    every = {family.name for family in HttpEndpoints("127.0.0.1:0").registry.collect()}
    text = ""

    async def all_moved() -> bool:
        nonlocal text
        text = await scrape(listen)
        return figures.moved({}, figures.values(text)) >= every

    await until(all_moved, 20, f"{every} to move")
    assert figures.unbounded(text, figures.CONTROLLER) == []
