"""Connections through a Service stay, whichever part restarts, and new ones succeed."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import pytest

from integration.e2e.service_traffic import answered, ask, labelled, service, serving
from integration.e2e.service_web import Web
from integration.e2e.tcp import connect
from testbed import deploy
from testbed.service import wait_for
from testbed.space import Space
from testbed.workloads import Cluster

pytestmark = pytest.mark.review2
LONG_PORT = 7070
LONGEST = 2.0  # seconds without an answer


def kill(find: partial[list[int]], node: Space) -> None:
    """Kill a process of a node, and wait until kubelet has started another."""
    (pid,) = find()
    node.run(["kill", "-KILL", str(pid)])
    wait_for(lambda: find() not in ([], [pid]), "another process", timeout=60)


def kill_controllers(cluster: Cluster) -> None:
    """Kill both replicas of the controller, one after the other."""
    for node in cluster.bed.nodes:
        kill(partial(deploy.controller_processes, node), node)


def test_connections_through_a_service_survive_restarts_e1(two: Cluster) -> None:
    """E1: of both replicas of the controller, of ovn-northd, ovn-controller and the agent."""
    two.apply(
        labelled("client", "n0"),
        labelled("far", "n1", which="far"),
        service("far", {"which": "far"}),
        service("long", {"which": "far"}, ports=[{"port": LONG_PORT}]),
    )
    pods = {each.name: each for each in two.running(2)}
    client, far, web = pods["client"], pods["far"], Web(two, pods)
    nodes = two.bed.nodes
    with serving(far):
        for address in web.addresses("far"):
            answered(client, address)
        connections = [
            connect(client, far, own, by=by, number=LONG_PORT)
            for own, by in zip(far.ips, web.addresses("long"), strict=True)
        ]
        restarts: dict[str, Callable[[], object]] = {
            "the controllers": partial(kill_controllers, two),
            "ovn-northd": partial(two.bed.control_plane.space.restart, "ovn-northd"),
            "ovn-controller": partial(nodes[0].restart, "ovn-controller"),
            "the agent": partial(kill, partial(deploy.agent_processes, nodes[0]), nodes[0]),
        }
        for what, restart in restarts.items():
            before = [len(each.times) for each in connections]
            restart()
            time.sleep(3)
            during = [len(each.times) - n for each, n in zip(connections, before, strict=True)]
            new = [ask(client, address) for address in web.addresses("far")]
            print(f"restart of {what}: answers {during}, new connections {list(map(str, new))}")
            assert not any(each.failed for each in new)
        stopped = [each.stop() for each in connections]
    print(f"answers and longest wait in s: {stopped}")
    assert max(gap for _, gap in stopped) < LONGEST
