"""Three interfaces in one pod, on two nodes: kubelet, containerd, a stand-in for Multus, ovnlet.

The pod's own network and one further network twice, all allocated by ovnlet's controller.
"""

import json
from collections.abc import Iterator
from functools import partial
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from integration.e2e import devices
from testbed import layout, meta_networks
from testbed.service import wait_for
from testbed.workloads import OVN, SERVER, Cluster, Running, pod, subnet

N1, CIDR = "n1.default.ovn", "10.17.0.0/24,fd00:10:17::/64"
TWICE = [{"name": "n1", "interface": each} for each in ("net1", "net2")]
PROVIDERS = {"eth0": "ovn", "net1": f"{N1}.net1", "net2": f"{N1}.net2"}
LAN = "lan.default"
RATE = 5  # Mbit/s
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def networks(pair: Cluster) -> Iterator[None]:
    """Have the stand-in on both nodes, one further network and its Subnet."""
    cluster = Cluster(pair.bed)
    meta_networks.install(cluster.bed)
    network = meta_networks.definition("n1", {"type": "ovnlet", "provider": N1})
    cluster.bed.kubectl("apply", "-f", "-", stdin=json.dumps(network))
    cluster.make_subnet(subnet("second", CIDR, provider=N1, mtu=1300))
    yield
    for node in cluster.bed.nodes:
        node.run(["rm", meta_networks.CONFIG])
    cluster.bed.kubectl("delete", "subnet", "second", "--timeout=30s")


@pytest.fixture
def meta(networks: None, two: Cluster) -> Cluster:
    """Give the cluster of two nodes; afterwards what the test made is deleted."""
    return two


def placed(name: str, node: str, listed: object, **annotations: str) -> dict[str, Any]:
    """Return a pod of a node with a list of networks; `__` in a key stands for a slash."""
    text = listed if isinstance(listed, str) else json.dumps(listed)
    full = {key.replace("__", "/"): value for key, value in annotations.items()}
    body = pod(name, **{meta_networks.NETWORKS: text, **full})
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
    status = json.loads(_status_text(meta, "here"))
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
        assert node.sh(f"ls {meta_networks.STATE} | grep json || true") == ""


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


def _status_text(cluster: Cluster, name: str) -> str:
    return str(_fresh(cluster, name)["metadata"]["annotations"][meta_networks.STATUS])


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


def test_a_network_in_place_of_the_pods_own(meta: Cluster) -> None:
    """`v1.multus-cni.io/default-network`: eth0 is that network's, for kubelet and for other pods.

    One pod names it as text, the other as JSON and lists it once more. The control is a pod without
    the annotation.
    """
    here = pod("here", **{meta_networks.DEFAULT: "default/n1"})
    here["spec"]["containers"][0] |= SERVER
    listed = {meta_networks.DEFAULT: '[{"name": "n1"}]', meta_networks.NETWORKS: "n1@net1"}
    there, plain = pod("there", **listed), pod("plain")
    for body, node in ((here, "n0"), (there, "n1"), (plain, "n1")):
        body["spec"]["nodeName"] = node
    meta.apply(here, there, plain)
    meta.running(3, timeout=120)
    ready, control, other = meta.ready("here", "plain", "there")  # `here` by an HTTP probe
    for each in (ready, other):
        _is_of_the_network(each)
    assert json.loads(_status_text(meta, "there"))[1]["interface"] == "net1"
    for address in given(ready, N1).split(","):
        for asking in (other, control):
            wait_for(partial(asking.reaches, address), f"{address} by {asking.name}", timeout=30)
    assert ip_address(control.ips[0]) in ip_network(layout.PODS.split(",")[0])


def _is_of_the_network(one: Running) -> None:
    """Compare a pod whose eth0 is in the further network with its annotations and its status."""
    assert not [key for key in one.body["metadata"]["annotations"] if key.startswith(f"{OVN}/")]
    addresses = given(one, N1).split(",")
    assert one.body["status"]["podIP"] == addresses[0]
    (link,) = one.ip("address", "show", "eth0")
    assert set(addresses) <= {each["local"] for each in link["addr_info"]}
    assert (link["address"], link["mtu"]) == (given(one, N1, "mac_address"), 1300)
    (default,) = one.ip("route", "show", "default")
    assert default["dev"] == "eth0"
    name = f"{one.name}.default.{N1}"
    words = ("--bare", "--columns=name", "find", "Interface", f"external_ids:iface-id={name}")
    bound = one.space.run(["ovs-vsctl", *words])
    assert bound.split() == [one.port]
    (first, *_) = json.loads(one.body["metadata"]["annotations"][meta_networks.STATUS])
    assert (first["name"], first["interface"], first["default"]) == ("default/n1", "eth0", True)


def test_addresses_for_interfaces_of_another_plugin(meta: Cluster) -> None:
    """The reference plugin `bridge` makes them, and asks ovnlet for their addresses."""
    own = {"type": "bridge", "bridge": "lan0", "ipam": {"type": "ovnlet", "provider": LAN}}
    body = meta_networks.definition("lan", own)
    meta.bed.kubectl("apply", "-f", "-", stdin=json.dumps(body))
    meta.make_subnet(subnet("lan", "10.18.0.0/24", provider=LAN))
    meta.apply(placed("here", "n0", "lan"), placed("there", "n0", "lan"))
    here, there = meta.running(2, timeout=120)
    for each in (here, there):
        (link,) = each.ip("address", "show", "net1")
        assert given(each, LAN) in {found["local"] for found in link["addr_info"]}
        assert json.loads(_status_text(meta, each.name))[1]["ips"] == [given(each, LAN)]
    asked = partial(devices.reaches, here, "net1", given(there, LAN))
    with devices.answering(there, "net1"):
        wait_for(asked, "the other pod by lan0", timeout=30)
    assert "10.18.0." not in meta.node.run(["ip", "route"]), "no way of the cluster's router"
    meta.clear()
    meta.bed.kubectl("delete", "subnet", "lan", "--timeout=60s", timeout=70)
    meta.node.run(["ip", "link", "del", "lan0"])


def test_an_interface_is_plugged_into_a_running_pod_and_out_again(meta: Cluster) -> None:
    """The annotation alone is edited; the stand-in then calls ADD and DEL, as Multus would.

    The network is the pod's a second time: the first interface of it keeps its port and address.
    """
    meta.apply(placed("hot", "n0", TWICE[:1]), placed("peer", "n1", TWICE))
    hot, peer = meta.running(2)
    first = given(hot, N1)
    ping = hot.ping(given(peer, "ovn").split(",")[0])
    with devices.answering(peer, "net1"), devices.answering(peer, "net2"):
        for _ in range(3):
            assert _synced(meta, hot, TWICE) == ["+net2"]
            fresh = _fresh(meta, "hot")["metadata"]["annotations"]
            assert fresh[f"{N1}.kubernetes.io/ip_address"] == first
            for device, own in (("net1", N1), ("net2", f"{N1}.net2")):
                for address in given(peer, f"{N1}.{device}").split(","):
                    asked = partial(devices.reaches, hot, device, address)
                    wait_for(asked, f"{address} by {device} of {own}", timeout=30)
            assert _synced(meta, hot, TWICE[:1]) == ["-net2"]
            assert {link["ifname"] for link in hot.ip("link", "show")} >= {"eth0", "net1"}
            assert "net2" not in {link["ifname"] for link in hot.ip("link", "show")}
            wait_for(lambda: not _withdrawn(meta), "the annotations to go", timeout=20)
    sent, received = ping.stop()
    print(f"20 ms ping by eth0 over three rounds: {sent} sent, {received} received")
    assert received > 0.95 * sent
    ports = hot.space.run(["ovs-vsctl", "list-ports", "br-int"]).split()
    assert sum(hot.container_id[:8] in port for port in ports) == 2


def _synced(cluster: Cluster, hot: Running, listed: object) -> list[str]:
    """Edit a pod's list of networks; return what the stand-in then attached and detached."""
    text = json.dumps(listed)
    cluster.bed.kubectl(
        "annotate", "--overwrite", "pod", hot.name, f"{meta_networks.NETWORKS}={text}"
    )
    answer = hot.space.run(meta_networks.sync(hot.container_id), timeout=120)
    return list(json.loads(answer))


def _withdrawn(cluster: Cluster) -> bool:
    """Return whether the pod still has the allocation of the second interface."""
    every = _fresh(cluster, "hot")["metadata"]["annotations"]
    return f"{N1}.net2.kubernetes.io/allocated" in every


def test_a_network_twice_without_names_is_refused_in_words_k6(meta: Cluster) -> None:
    """The control: one allocation cannot serve two interfaces, so the pod does not run."""
    meta.apply(placed("unnamed", "n0", "n1,n1"))
    said = partial(_messages, meta, "unnamed")
    wait_for(lambda: "is listed twice" in said(), "the controller's Event", timeout=60)
    wait_for(lambda: "has the logical switch port" in said(), "kubelet's Event", timeout=60)
    phase = _fresh(meta, "unnamed")["status"]["phase"]
    assert phase == "Pending"


def _messages(cluster: Cluster, name: str) -> str:
    return " | ".join(str(event["message"]) for event in cluster.events(name))
