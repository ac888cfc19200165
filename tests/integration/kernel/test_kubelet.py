"""A pod through kubelet and containerd on the kernel's datapath, on a node that is a guest."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from testbed import deploy, guest
from testbed.bed import Bed
from testbed.workloads import Cluster, web

pytestmark = pytest.mark.whole

NAME = os.environ.get("OVNLET_KERNEL_BED", "floor-kernel") + "-node"
READY_SECONDS = 120


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Give the cluster of `make bed KERNEL=1`, with ovnlet installed from its image."""
    if Bed.is_alive(NAME):  # of a run that was killed
        Bed.attach(NAME).down()
    bed = guest.up(NAME)
    try:
        deploy.apply(bed)
        yield Cluster(bed)
    finally:
        bed.down()


def test_a_web_server_becomes_ready_and_its_port_is_in_the_kernels_datapath(
    cluster: Cluster,
) -> None:
    """kubelet's HTTP and TCP probes reach the pod through the node's interface and OVN."""
    cluster.apply(web("web"))
    timeout = f"--timeout={READY_SECONDS}s"
    cluster.bed.kubectl("wait", "--for=condition=Ready", "pod/web", timeout, timeout=130)
    (running,) = cluster.running(1)
    datapath = cluster.node.run(["ovs-dpctl", "show"])
    assert "system@ovs-system" in datapath
    assert running.port in datapath
    assert running.reaches("10.16.0.1")
    node = json.loads(cluster.bed.kubectl("get", "node", "n0", "-o", "json"))
    assert "deb" in node["status"]["nodeInfo"]["kernelVersion"]


def test_another_process_finds_the_guest_and_runs_programs_in_it(cluster: Cluster) -> None:
    """`make bed-shell` and `testbed exec` reach the guest, not the space that QEMU runs in."""
    again = Bed.attach(cluster.bed.name)
    assert again.node().run(["uname", "-r"]) == cluster.node.run(["uname", "-r"])
    assert "deb" in again.node().run(["uname", "-r"])
