"""Two nodes with kubelet and the agent: pods meet through the tunnel, and nodes reach all pods."""

from functools import partial

import pytest

from testbed import layout
from testbed.service import wait_for
from testbed.workloads import PORT, Cluster, web


@pytest.mark.long
def test_pods_of_two_nodes_meet_through_the_tunnel(pair: Cluster) -> None:
    pair.apply(web("here", "n0"), web("there", "n1"))
    here, there = pair.ready("here", "there")
    assert (here.space.role, there.space.role) == ("n0", "n1")
    for one, other in ((here, there), (there, here)):
        for address in other.ips:
            wait_for(partial(one.reaches, address), f"{address} through the tunnel", timeout=20)
        # The largest packets that a pod may send.
        for address, size in zip(other.ips, (1372, 1352), strict=True):
            one.inside("ping", "-n", "-q", "-c3", "-i0.1", "-W1", f"-s{size}", "-Mdo", address)
        url = f"http://{other.ips[0]}:{PORT}/index.html"
        assert one.inside("busybox", "wget", "-q", "-T", "5", "-O", "-", url) == "well\n"
    for node in pair.bed.nodes:
        for address in (*here.ips, *there.ips):
            node.run(["ping", "-n", "-q", "-c1", "-W2", address])
    assert layout.tunnel_ip(1) in pair.node.sh(
        "ovs-vsctl --bare --columns=options find Interface type=geneve"
    )
    pair.clear()
