"""Two nodes with kubelet and the agent: pods meet through the tunnel, and nodes reach all pods."""

import re
import time
from functools import partial

import pytest

from testbed import layout, switch, underlay
from testbed.node import Node
from testbed.service import BedError, wait_for
from testbed.workloads import PORT, Cluster, Running, web

ROUNDS, WITHIN, AWAY = 10, 1.0, 0.5  # the latter two in seconds


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


@pytest.mark.long
@pytest.mark.review2
def test_the_api_servers_proxy_reaches_pods_of_both_nodes_k10(pair: Cluster) -> None:
    pair.apply(web("here", "n0"), web("there", "n1"))
    pair.ready("here", "there")
    underlay.route_pods(pair.bed.control_plane.space)
    for name in ("here", "there"):
        path = f"/api/v1/namespaces/default/pods/{name}:{PORT}/proxy/index.html"
        assert pair.bed.kubectl("get", "--raw", path).strip() == "well"
    underlay.unroute_pods(pair.bed.control_plane.space)
    pair.clear()


def _without_vswitchd(pair: Cluster) -> float:
    """Stop ovs-vswitchd on the second node, have the first ask for its tunnel's MAC, start it.

    Return the seconds from its return until OVN has installed flows again.
    """
    asking, node = pair.node, pair.bed.node(1)
    node.service("ovs-vswitchd").stop()
    asking.sh(f"ip neigh flush dev {switch.TUNNEL_BRIDGE}")
    asking.result(["ping", "-n", "-q", "-c1", "-W1", layout.tunnel_ip(1)])
    time.sleep(AWAY)
    switch.start_vswitchd(node)
    began = time.monotonic()
    # ovn-controller tries to connect to the bridge again after 1, 2, 4 and 8 s (lib/rconn.c).
    count = ["ovs-ofctl", "dump-aggregate", switch.INTEGRATION]
    # A bridge that is not there yet has no answer.
    flows = partial(re.search, r"flow_count=[1-9]")
    wait_for(lambda: flows(node.result(count).stdout), "OVN's flows", every=0.02)
    return time.monotonic() - began


def _back(one: Running, other: Running, within: float) -> float | None:
    """Return after how many seconds one pod reaches the other; None if it does not in time."""
    began = time.monotonic()
    try:
        wait_for(partial(one.reaches, other.ips[0]), "traffic", timeout=within, every=0.02)
    except BedError:
        return None
    return time.monotonic() - began


def _answer_arp(node: Node, ignore: int) -> None:
    """Let the kernel answer ARP for all addresses of the node on the tunnel's link, or for none."""
    node.sh(f"sysctl -qw net.ipv4.conf.eth1.arp_ignore={ignore}")


@pytest.mark.long
@pytest.mark.review2
def test_the_tunnel_survives_vswitchds_absence_k10(pair: Cluster) -> None:
    """K10: traffic within a second of OVN's flows, ten times. Control: the kernel answers ARP.

    Until OVN has installed its flows nothing is forwarded: that wait is ovn-controller's back-off.
    """
    pair.apply(web("here", "n0"), web("there", "n1"))
    here, there = pair.ready("here", "there")
    wait_for(partial(here.reaches, there.ips[0]), "the tunnel", timeout=20)
    flows, times = [], []
    for _ in range(ROUNDS):
        flows.append(_without_vswitchd(pair))
        times.append(_back(here, there, 10))
    print("seconds from ovs-vswitchd's return to OVN's flows:", flows)
    print("seconds from those to traffic:", times)
    _answer_arp(pair.bed.node(1), 0)
    _without_vswitchd(pair)
    poisoned = _back(here, there, 4)
    _answer_arp(pair.bed.node(1), 8)
    pair.node.run(["ovs-appctl", "tnl/neigh/flush"])
    healed = _back(here, there, 20)
    print(f"control: {poisoned} s, once the wrong MAC is forgotten {healed} s")
    pair.clear()
    assert [each for each in times if each is not None and each <= WITHIN] == times
    assert poisoned is None
    assert healed is not None
