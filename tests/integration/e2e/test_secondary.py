"""Another plugin makes each pod's first interface; ovnlet attaches further networks alone.

The other plugin is the reference plugin `bridge`, on each node for itself.
"""

import json
from collections.abc import Iterator

import pytest

from integration.e2e.conftest import COOL_DOWN, NAME
from testbed import deploy, layout, meta_networks
from testbed.bed import Bed
from testbed.service import wait_for
from testbed.workloads import Cluster, pod, subnet

pytestmark = pytest.mark.long
N1, CIDR = "n1.default.ovn", "10.17.0.0/24,fd00:10:17::/64"
OTHER = "/etc/cni/net.d/10-other.conflist"
MODE = "secondary"
LISTED = json.dumps([{"name": "n1", "interface": "net1"}])


@pytest.fixture
def other() -> Iterator[Cluster]:
    """Give a cluster of two nodes whose pods have their first interface from `bridge`."""
    with Bed.up(f"{NAME}-other", nodes=2, parts=layout.STANDALONE) as bed:
        for number, node in enumerate(bed.nodes):
            ranges = [[{"subnet": f"10.99.{number}.0/24"}]]
            bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True}
            routes = [{"dst": "0.0.0.0/0"}]
            bridge["ipam"] = {"type": "host-local", "ranges": ranges, "routes": routes}
            body = {"cniVersion": "1.0.0", "name": "other", "plugins": [bridge]}
            node.run(["tee", OTHER], stdin=json.dumps(body))
        cool_down, agent = str(COOL_DOWN), {"OVNLET_POD_NETWORK": MODE}
        deploy.apply(bed, agent=agent, OVNLET_POD_NETWORK=MODE, OVNLET_COOL_DOWN=cool_down)
        meta_networks.install(bed, OTHER)
        network = meta_networks.definition("n1", {"type": "ovnlet", "provider": N1})
        bed.kubectl("apply", "-f", "-", stdin=json.dumps(network))
        cluster = Cluster(bed)
        cluster.make_subnet(subnet("second", CIDR, provider=N1))
        yield cluster
        cluster.clear()


def test_only_further_networks_are_ovnlets(other: Cluster) -> None:
    for name, node in (("here", "n0"), ("there", "n1")):
        body = pod(name, **{meta_networks.NETWORKS: LISTED})
        body["spec"]["nodeName"] = node
        other.apply(body)
    here, there = other.running(2)
    notes = there.body["metadata"]["annotations"]
    assert not [each for each in notes if each.startswith("ovn.kubernetes.io/")]
    (first,) = here.ip("-4", "address", "show", "eth0")
    assert first["addr_info"][0]["local"].startswith("10.99.0.")
    for address in notes[f"{N1}.kubernetes.io/ip_address"].split(","):
        wait_for(lambda a=address: here.reaches(a), f"{address} by net1", timeout=30)  # type: ignore[misc]
    (default,) = here.ip("route", "show", "default")
    assert default["dev"] == "eth0"
    _node_is_the_others(other)
    here.inside("ip", "link", "del", "net1")
    address = notes[f"{N1}.kubernetes.io/ip_address"].split(",")[0]
    wait_for(lambda: here.reaches(address), "net1 to be repaired", timeout=30)


def _node_is_the_others(cluster: Cluster) -> None:
    """See that no node has `ovn0`, our configuration, table, condition or logical port."""
    for node in cluster.bed.nodes:
        assert "ovn0" not in node.sh("ls /sys/class/net")
        assert "ovnlet.conflist" not in node.sh("ls /etc/cni/net.d")
        assert "ovnlet" not in node.sh("nft list tables || true")
        shown = json.loads(cluster.bed.kubectl("get", "node", node.role, "-o", "json"))
        kinds = {each["type"] for each in shown["status"]["conditions"]}
        assert "NetworkUnavailable" not in kinds
        assert not [each for each in shown["spec"].get("taints", []) if "network" in each["key"]]
    words = ("--bare", "--columns=name", "find", "Logical_Switch_Port", "enabled!=false")
    names = cluster.bed.nbctl(*words).split()
    assert not [each for each in names if each.startswith("node-")]
    assert f"here.default.{N1}" in names
    assert "here.default" not in names
