"""Three interfaces in one pod, on two nodes: kubelet, containerd, a stand-in for Multus, ovnlet.

The pod's own network and one further network twice, all allocated by ovnlet's controller.
"""

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from integration.e2e import devices
from testbed import meta_plugin
from testbed.service import wait_for
from testbed.workloads import Cluster, Running, pod, subnet

N1, CIDR = "n1.default.ovn", "10.17.0.0/24,fd00:10:17::/64"
TWICE = [{"name": "n1", "interface": each} for each in ("net1", "net2")]
PROVIDERS = {"eth0": "ovn", "net1": f"{N1}.net1", "net2": f"{N1}.net2"}
RATE = 5  # Mbit/s
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def meta(pair: Cluster) -> Iterator[Cluster]:
    """Give the cluster with the stand-in on both nodes, one further network and its Subnet."""
    cluster = Cluster(pair.bed)
    meta_plugin.install(cluster.bed)
    config = {"type": "ovnlet", "provider": N1}
    cluster.bed.kubectl("apply", "-f", "-", stdin=json.dumps(meta_plugin.definition("n1", config)))
    cluster.make_subnet(subnet("second", CIDR, provider=N1, mtu=1300))
    yield cluster
    cluster.clear()
    for node in cluster.bed.nodes:
        node.run(["rm", meta_plugin.CONFIG])
    cluster.bed.kubectl("delete", "subnet", "second", "--timeout=30s")


def placed(name: str, node: str, listed: object, **annotations: str) -> dict[str, Any]:
    """Return a pod of a node with a list of networks; `__` in a key stands for a slash."""
    text = listed if isinstance(listed, str) else json.dumps(listed)
    full = {key.replace("__", "/"): value for key, value in annotations.items()}
    body = pod(name, **{meta_plugin.NETWORKS: text, **full})
    body["spec"]["nodeName"] = node
    return body


def given(each: Running, provider: str, name: str = "ip_address") -> str:
    return str(each.body["metadata"]["annotations"][f"{provider}.kubernetes.io/{name}"])


def test_three_interfaces_on_two_nodes(meta: Cluster) -> None:
    rate = {f"{N1}.net1.kubernetes.io__ingress_rate": str(RATE)}
    meta.apply(placed("here", "n0", TWICE), placed("there", "n1", TWICE, **rate))
    here, there = meta.running(2)
    assert {here.space.role, there.space.role} == {"n0", "n1"}
    for one in (here, there):
        _is_as_allocated(one)
    for device, provider in PROVIDERS.items():
        with devices.answering(there, device):
            for address in given(there, provider).split(","):
                asked = partial(devices.reaches, here, device, address)
                wait_for(asked, f"{address} by {device}", timeout=30)
    status = json.loads(_fresh(meta, "here")["metadata"]["annotations"][meta_plugin.STATUS])
    assert [(each["name"], each["interface"], each["default"]) for each in status] == [
        ("ovnlet", "eth0", True),
        ("default/n1", "net1", False),
        ("default/n1", "net2", False),
    ]
    assert status[2]["ips"] == given(here, f"{N1}.net2").split(",")
    _is_limited_on_one(here, there)
    meta.clear()
    words = ("--bare", "--columns=name", "find", "Logical_Switch_Port", "enabled!=false")
    left = meta.bed.nbctl(*words)
    assert "here" not in left
    assert "there" not in left
    for node in meta.bed.nodes:
        assert node.sh(f"ls {meta_plugin.STATE} | grep json || true") == ""


def _is_as_allocated(one: Running) -> None:
    """Compare addresses, MAC and MTU of each interface with its annotations and its Subnet."""
    for device, provider in PROVIDERS.items():
        (link,) = one.ip("address", "show", device)
        shown = {each["local"] for each in link["addr_info"]}
        assert set(given(one, provider).split(",")) <= shown
        assert link["address"] == given(one, provider, "mac_address")
        assert (link["mtu"] == 1300) == (device != "eth0")
    (default,) = one.ip("route", "show", "default")
    assert default["dev"] == "eth0"
    names = {f"{one.name}.default{'' if p == 'ovn' else f'.{p}'}" for p in PROVIDERS.values()}
    bound = one.space.run(["ovs-vsctl", "--bare", "--columns=external_ids", "list", "Interface"])
    assert all(f"iface-id={name} " in f"{bound} ".replace("\n", " ") for name in names)


def _is_limited_on_one(here: Running, there: Running) -> None:
    """Send more than the rate to the limited interface, and to its sibling in the same subnet."""
    mbit = {
        device: devices.received(here, there, device, given(there, provider).split(",")[0])
        for device, provider in PROVIDERS.items()
    }
    print({device: f"{rate:.1f} Mbit/s" for device, rate in mbit.items()})
    assert mbit["net1"] == pytest.approx(RATE, rel=0.25)
    assert min(mbit["eth0"], mbit["net2"]) > 4 * RATE


def _fresh(cluster: Cluster, name: str) -> dict[str, Any]:
    return dict(json.loads(cluster.bed.kubectl("get", "pod", name, "-o", "json")))
