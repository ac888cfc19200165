"""The metrics by which dashboards of Kube-OVN know a node's agent, on its port."""

import asyncio
import socket
import time
from contextlib import suppress

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ovnlet.agent.kube_ovn_metrics import KubeOvnMetrics
from ovnlet.agent.metrics import Metrics
from ovnlet.agent.probes import Probes
from ovnlet.agent.subnet_metrics import SubnetCount


async def scraped(port: int) -> dict[str, dict[frozenset[tuple[str, str]], float]]:
    """Return the samples at the port by name and labels, once it is served."""
    async with asyncio.timeout(20), aiohttp.ClientSession() as http:
        while True:
            try:
                async with http.get(f"http://127.0.0.1:{port}/metrics") as answer:
                    text = await answer.text()
                    break
            except OSError:
                await asyncio.sleep(0.05)
    found: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    for family in text_string_to_metric_families(text):
        for each in family.samples:
            found.setdefault(each.name, {})[frozenset(each.labels.items())] = each.value
    return found


@pytest.fixture
def taken() -> socket.socket:
    """Return a listening socket, as of a kube-ovn-cni that has not ended yet."""
    other = socket.create_server(("127.0.0.1", 0))
    return other


async def test_its_names_and_labels_beside_ours_once_the_port_is_free(
    taken: socket.socket,
) -> None:
    counted = SubnetCount("n0", "one", "10.17.0.0/16", "egress", "IPv4", 700, 7)
    ours = Metrics(lambda: ["attached"], subnets=lambda: [counted])
    theirs = KubeOvnMetrics(ours, "n0")
    count = theirs.counting(ours.served)
    count("ADD", 0, 0.2)
    count("ADD", 11, 7.0)
    count("DEL", 0, 0.01)
    count("STATUS", 0, 0.001)
    begun = time.perf_counter()
    with ours.stage("annotation"):
        await asyncio.sleep(0.05)
        with ours.stage("routed"):
            await asyncio.sleep(0.1)
    both = time.perf_counter() - begun
    with ours.stage("flows"):
        await asyncio.sleep(0.02)
    port = taken.getsockname()[1]
    probes = Probes(f"127.0.0.1:{port}", lambda: None, theirs.show)
    serving = asyncio.create_task(probes.run())
    await asyncio.sleep(0.2)
    taken.close()
    found = await scraped(port)
    serving.cancel()
    with suppress(asyncio.CancelledError):
        await serving

    node = ("node_name", "n0")
    counts = {
        (dict(labels)["method"], dict(labels)["status_code"]): value
        for labels, value in found["cni_op_latency_seconds_count"].items()
        if node in labels
    }
    assert counts == {
        ("/api/v1/add", "200"): 1,
        ("/api/v1/add", "500"): 1,
        ("/api/v1/del", "204"): 1,
    }
    waited = {
        name: found[f"cni_wait_{name}_seconds_total"][frozenset({node})]
        for name in ("address", "route", "connectivity")
    }
    assert waited["address"] >= 0.05
    assert waited["route"] >= 0.1
    assert waited["address"] + waited["route"] <= both, "a stage is without those inside it"
    assert waited["connectivity"] >= 0.02
    assert "ovnlet_attachments" in found
    assert list(found["ovn_subnet_gateway_packets"].values()) == [7], "a Subnet's counters"


async def test_a_stage_is_read_without_asking_the_kernel_for_subnets() -> None:
    asked: list[int] = []

    def subnets() -> list[SubnetCount]:
        asked.append(1)
        return []

    ours = Metrics(list, subnets=subnets)
    with ours.stage("annotation"):
        await asyncio.sleep(0.01)
    asked.clear()
    list(KubeOvnMetrics(ours, "n0").collect())
    assert asked == []
    assert ours.stage_seconds("annotation") >= 0.01
    assert ours.stage_seconds("flows") == 0.0
