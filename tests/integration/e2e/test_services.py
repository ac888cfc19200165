"""Services by traffic, on two nodes that stand alone: who answers, and whom the server sees."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from integration.e2e.service_traffic import (
    COUNT,
    Answers,
    answered,
    ask,
    labelled,
    service,
    serving,
)
from testbed.workloads import Cluster, Running

pytestmark = pytest.mark.review2


def addresses(cluster: Cluster, name: str) -> list[str]:
    """Return a Service's addresses, IPv4 first."""
    found: dict[str, Any] = json.loads(cluster.bed.kubectl("get", "service", name, "-o", "json"))
    return list(found["spec"]["clusterIPs"])


@pytest.fixture
def pods(two: Cluster) -> Iterator[dict[str, Running]]:
    """Give a client and a server on the first node and a server on the second, all serving."""
    two.apply(
        labelled("client", "n0"),
        labelled("near", "n0", app="web", which="near"),
        labelled("far", "n1", app="web", which="far"),
        service("both", {"app": "web"}),
        service("near", {"which": "near"}),
        service("far", {"which": "far"}),
    )
    running = {each.name: each for each in two.running(3)}
    with serving(running["near"], running["far"]):
        yield running


def show(what: str, seen: Answers) -> None:
    print(f"{what:<44} {seen}")


def test_a_pod_reaches_a_cluster_ip_e1(two: Cluster, pods: dict[str, Running]) -> None:
    """E1: from a pod to endpoints on its node, on the other node, on both, and itself."""
    client = pods["client"]
    for name, servers in (("near", {"near"}), ("far", {"far"}), ("both", {"near", "far"})):
        for address in addresses(two, name):
            for kind in ("tcp", "udp"):
                answered(client, address, kind=kind)
                seen = ask(client, address, kind=kind)
                show(f"pod -> {name} {kind} {address}", seen)
                assert (seen.failed, set(seen.servers)) == (0, servers)
                assert seen.sources == {client.ips[":" in address]: COUNT}
    for address in addresses(two, "near"):
        seen = ask(pods["near"], address)
        show(f"pod -> itself {address}", seen)
        assert (seen.failed, seen.servers, seen.sources) == (0, {"near": COUNT}, {address: COUNT})
