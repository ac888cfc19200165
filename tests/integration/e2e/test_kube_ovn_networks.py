"""A network of type `kube-ovn` as users have it, by kubelet, a stand-in for Multus, and ovnlet.

ovnlet's plugin is installed as `kube-ovn`, and the agents serve kube-ovn-cni's socket.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from integration.e2e import devices
from integration.e2e.conftest import COOL_DOWN, NAME
from integration.e2e.test_networks import given, placed
from testbed import deploy, layout, meta_networks
from testbed.bed import Bed
from testbed.service import BedError, wait_for
from testbed.workloads import Cluster, Running, subnet

pytestmark = [pytest.mark.long, pytest.mark.review2]
N1, CIDR = "n1.default.ovn", "10.17.0.0/24,fd00:10:17::/64"
SOCKET = "/run/openvswitch/kube-ovn-daemon.sock"
PLUGIN = "/opt/cni/bin/kube-ovn"
NETWORK: dict[str, Any] = {
    "cniVersion": "0.3.1",
    "type": "kube-ovn",
    "server_socket": SOCKET,
    "provider": N1,
}
LISTED = [{"name": "n1", "interface": "net1"}]


@pytest.fixture
def beside() -> Iterator[Cluster]:
    """Give two nodes with a program called `kube-ovn`, and agents at kube-ovn-cni's socket."""
    with Bed.up(f"{NAME}-typed", nodes=2, parts=layout.STANDALONE) as bed:
        agent = {"OVNLET_KUBE_OVN_SOCKET": SOCKET}
        deploy.apply(bed, agent=agent, OVNLET_COOL_DOWN=str(COOL_DOWN))
        cluster = Cluster(bed)
        cluster.make_subnet(subnet("ovn-default", layout.PODS, default=True))
        meta_networks.install(bed)
        for node in bed.nodes:
            node.run(["cp", "/opt/cni/bin/ovnlet", PLUGIN])
        network = meta_networks.definition("n1", NETWORK)
        bed.kubectl("apply", "-f", "-", stdin=json.dumps(network))
        cluster.make_subnet(subnet("second", CIDR, provider=N1, mtu=1300))
        yield cluster
        cluster.clear()


def test_a_network_of_type_kube_ovn_is_attached_and_kept(beside: Cluster) -> None:
    beside.apply(placed("here", "n0", LISTED), placed("there", "n1", LISTED))
    try:
        here, there = beside.running(2)
    except BedError:
        print(*(each["message"] for name in ("here", "there") for each in beside.events(name)))
        raise
    for one in (here, there):
        _is_attached(beside, one)
    with devices.answering(there, "net1"):
        for address in given(there, N1).split(","):
            wait_for(
                lambda a=address: devices.reaches(here, "net1", a),  # type: ignore[misc]
                f"{address} by net1",
                timeout=30,
            )
    for one in (here, there):
        one.inside("ip", "link", "del", "net1")
        wait_for(lambda p=one: _has_addresses(p), "net1 to be repaired", timeout=30)  # type: ignore[misc]
    beside.clear()
    for node in beside.bed.nodes:
        assert node.sh(f"ls {meta_networks.STATE} | grep json || true") == ""
        left = node.run(["ovs-vsctl", "--bare", "--columns=external_ids", "list", "Interface"])
        assert N1 not in left


def _has_addresses(one: Running) -> bool:
    done = one.space.result(one.enter("ip", "-j", "address", "show", "net1"))
    links = json.loads(done.stdout) if done.returncode == 0 else []
    shown = {each["local"] for link in links for each in link["addr_info"]}
    return set(given(one, N1).split(",")) <= shown


def _is_attached(cluster: Cluster, one: Running) -> None:
    """Compare the interface with the annotations, and with what the plugin has returned."""
    assert _has_addresses(one)
    (link,) = one.ip("link", "show", "net1")
    assert (link["address"], link["mtu"]) == (given(one, N1, "mac_address"), 1300)
    (default,) = one.ip("route", "show", "default")
    assert default["dev"] == "eth0"
    fresh = json.loads(cluster.bed.kubectl("get", "pod", one.name, "-o", "json"))
    status = json.loads(fresh["metadata"]["annotations"][meta_networks.STATUS])
    assert [(each["name"], each["interface"]) for each in status] == [
        ("ovnlet", "eth0"),
        ("default/n1", "net1"),
    ]
    assert status[1]["ips"] == given(one, N1).split(",")
    assert status[1]["mac"] == given(one, N1, "mac_address")
