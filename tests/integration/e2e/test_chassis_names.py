"""Pods bind to their node's chassis, whatever names Open vSwitch has for the node: E2, F7."""

import time
from collections.abc import Iterator

import pytest

from testbed.service import wait_for
from testbed.workloads import Cluster, Running, web_deployment

pytestmark = pytest.mark.review2
WITHIN = 3.0  # seconds


@pytest.fixture
def names(cluster: Cluster) -> Iterator[None]:
    """Set the names as they were afterwards."""
    found = cluster.bed.node().vsctl("get", "Open_vSwitch", ".", "external_ids")
    yield
    cluster.bed.node().vsctl("set", "Open_vSwitch", ".", f"external_ids={found.strip()}")
    wait_for(lambda: cluster.bed.node().name in _chassis(cluster), "the chassis as it was")


def _chassis(cluster: Cluster) -> list[str]:
    return cluster.bed.sbctl("--bare", "--columns=name", "list", "Chassis").split()


def _are_bound(cluster: Cluster, pods: list[Running], chassis: str) -> bool:
    """Return whether OVN has bound the port of each pod to a chassis of this name."""
    row = cluster.bed.sbctl("--bare", "--columns=_uuid", "find", "Chassis", f"name={chassis}")
    bound = cluster.bed.sbctl(
        "--bare", "--columns=logical_port", "find", "Port_Binding", f"chassis={row.strip() or '[]'}"
    )
    return bool(row.strip()) and {f"{each.name}.default" for each in pods} <= set(bound.split())


def _after(cluster: Cluster, pods: list[Running], chassis: str) -> float:
    """Wait until all is bound and pods meet, and return the seconds that took."""
    began = time.monotonic()
    wait_for(lambda: _are_bound(cluster, pods, chassis), f"ports bound to {chassis}", timeout=20)
    wait_for(lambda: pods[0].reaches(pods[1].ips[0]), "the pods to meet", timeout=20)
    return time.monotonic() - began


def test_pods_bind_whatever_names_the_node_has_e2(cluster: Cluster, names: None) -> None:
    node = cluster.bed.node()
    cluster.apply(web_deployment("old", 2))
    pods = cluster.running(2)
    own = node.vsctl("get", "Open_vSwitch", ".", "external_ids:system-id").strip().strip('"')
    node.vsctl("set", "Open_vSwitch", ".", "external_ids:hostname=n0.example.org")
    took = {"another host name": _after(cluster, pods, own)}
    cluster.apply(web_deployment("new", 2))
    pods = cluster.running(4)
    took["a new pod"] = _after(cluster, pods, own)
    # Not another system-id: OVN's southbound lets a chassis write only the row that has the name in
    # its certificate (ovn-sb(5), role "ovn-controller").
    node.vsctl("clear", "Open_vSwitch", ".", "external_ids")
    took["all names cleared"] = _after(cluster, pods, own)
    print(", ".join(f"{what}: {seconds:.2f} s" for what, seconds in took.items()))
    assert max(took.values()) < WITHIN, took
