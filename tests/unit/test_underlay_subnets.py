"""Subnets of a Vlan, standing alone: their port to the physical network, and what pods are told."""

from typing import Any

import pytest

from kit.cluster import OVN, Cluster, Term, until
from ovnlet.core.resources.northbound import Policy, RouterPort, SwitchPort
from ovnlet.core.underlay import localnets
from ovnlet.core.underlay.localnets import Member
from ovnlet.core.underlay.networks import ProviderNetwork, Vlan, label

LOCALNET = ("switch port", "shop", "localnet.shop")
NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"


@pytest.fixture
def cluster() -> Cluster:
    made = Cluster()
    made.put("provider-networks", "net1", spec={"defaultInterface": "eth0"})
    made.put("vlans", "v10", spec={"id": 10, "provider": "net1"})
    made.subnet("ovn-default", "10.16.0.0/16", default=True)
    made.subnet("shop", "192.0.2.0/24", vlan="v10", gateway="192.0.2.254")
    return made


def row(cluster: Cluster, key: tuple[str, ...] = LOCALNET) -> Any:
    return cluster.database.strict.rows.get(key)


async def test_a_subnet_of_a_vlan_has_a_port_to_its_network_and_none_to_the_router(
    cluster: Cluster,
) -> None:
    async with Term(cluster):
        await until(lambda: row(cluster))
        port = row(cluster)
        assert isinstance(port, SwitchPort)
        assert (port.type, port.tag, port.addresses) == ("localnet", 10, "unknown")
        assert dict(port.options) == {"network_name": "net1"}
        await until(lambda: row(cluster, ("router port", "ovn-cluster", "ovn-cluster-ovn-default")))
        rows = cluster.database.strict.rows.values()
        assert not [r for r in rows if isinstance(r, RouterPort) and "shop" in r.name]
        routed = [r.match for r in rows if isinstance(r, Policy) and r.action == "allow"]
        assert routed
        assert not [match for match in routed if "192.0.2" in match]


async def test_its_pods_may_ask_who_has_their_address(cluster: Cluster) -> None:
    """ARP probes have no sender's address. Elsewhere a port has its own addresses only."""
    async with Term(cluster):
        cluster.pod("till", logical_switch="shop")
        cluster.pod("plain")
        await until(lambda: len(cluster.allocated()) == 2)
    till = row(cluster, ("switch port", "shop", "till.default"))
    assert till.port_security == f"{till.addresses} 0.0.0.0"
    plain = row(cluster, ("switch port", "ovn-default", "plain.default"))
    assert plain.port_security == plain.addresses


async def test_its_pods_are_told_the_network_and_the_vlan_and_no_router(cluster: Cluster) -> None:
    async with Term(cluster):
        cluster.pod("till", logical_switch="shop")
        cluster.pod("plain")
        await until(lambda: len(cluster.allocated()) == 2)
    till, plain = cluster.annotations("till"), cluster.annotations("plain")
    assert (till["vlan_id"], till["provider_network"]) == ("10", "net1")
    assert till["gateway"] == "192.0.2.254"
    assert "logical_router" not in till
    assert plain["logical_router"] == "ovn-cluster"
    assert "provider_network" not in plain


async def test_another_id_of_the_vlan_changes_the_tag(cluster: Cluster) -> None:
    async with Term(cluster):
        await until(lambda: row(cluster))
        cluster.put("vlans", "v10", spec={"id": 0, "provider": "net1"})
        await until(lambda: row(cluster).tag == 0)


async def test_a_deleted_subnet_takes_its_port_along(cluster: Cluster) -> None:
    async with Term(cluster):
        await until(lambda: row(cluster))
        cluster.put(
            "subnets",
            "shop",
            spec=cluster.objects["subnets", "", "shop"]["spec"],
            metadata={"deletionTimestamp": "now", "finalizers": ["ovnlet.io/subnet"]},
        )
        await until(lambda: row(cluster) is None and not row(cluster, ("switch", "shop")))


@pytest.mark.parametrize(
    ("vlans", "spec", "words"),
    [
        ({}, {}, "Vlan v10 does not exist"),
        ({"v10": (10, "other")}, {}, "ProviderNetwork other of Vlan v10 does not exist"),
        ({"a": (10, "net1"), "v10": (10, "net1")}, {}, "as Vlan a has"),
        ({"v10": (4095, "net1")}, {}, "from 0 to 4094"),
        ({"v10": (10, "net1")}, {"logicalGateway": True}, "logicalGateway is not supported"),
        ({"v10": (10, "net1")}, {"u2oInterconnection": True}, "u2oInterconnection is not"),
    ],
)
async def test_what_cannot_be_used_is_told(
    vlans: dict[str, tuple[int, str]], spec: dict[str, Any], words: str
) -> None:
    cluster = Cluster()
    cluster.put("provider-networks", "net1", spec={"defaultInterface": "eth0"})
    for name, (number, provider) in vlans.items():
        cluster.put("vlans", name, spec={"id": number, "provider": provider})
    cluster.subnet("shop", "192.0.2.0/24", vlan="v10", **spec)
    async with Term(cluster):
        await until(lambda: cluster.why("shop"))
    ((reason, message),) = cluster.why("shop")
    assert reason == "SubnetInvalid"
    assert words in message
    assert row(cluster) is None


async def test_a_vlan_that_comes_later_makes_its_subnet_usable() -> None:
    cluster = Cluster()
    cluster.put("provider-networks", "net1", spec={"defaultInterface": "eth0"})
    cluster.subnet("shop", "192.0.2.0/24", vlan="v10")
    async with Term(cluster):
        await until(lambda: cluster.why("shop"))
        cluster.put("vlans", "v10", spec={"id": 10, "provider": "net1"})
        await until(lambda: row(cluster))
        # A Vlan that goes leaves the Subnet in force: pods may use it.
        cluster.delete("vlans", "v10")
        await until(lambda: len(cluster.why("shop")) == 2)
        assert row(cluster).tag == 10


def told(cluster: Cluster) -> Any:
    return cluster.objects["provider-networks", "", "net1"].get("status") or {}


async def test_the_status_of_a_network_follows_its_nodes(cluster: Cluster) -> None:
    ready = {"labels": {label("net1", "ready"): "true"}}
    failed = {"annotations": {label("net1", "err_mesg"): "no interface eth0"}}
    cluster.put("nodes", "n0", metadata=ready)
    cluster.put("nodes", "n1", metadata=failed)
    async with Term(cluster):
        await until(lambda: told(cluster))
        status = told(cluster)
        assert (status["ready"], status["vlans"]) == (False, ["v10"])
        assert (status["readyNodes"], status["notReadyNodes"]) == (["n0"], ["n1"])
        found = {each["node"]: (each["status"], each["message"]) for each in status["conditions"]}
        assert found == {"n0": ("True", localnets._JOINED), "n1": ("False", "no interface eth0")}
        cluster.put("nodes", "n1", metadata={**ready, "annotations": {}})
        await until(lambda: told(cluster)["ready"] is True)
        cluster.delete("nodes", "n0")
        await until(lambda: told(cluster)["readyNodes"] == ["n1"])


def test_a_node_that_is_excluded_does_not_count_and_times_are_kept() -> None:
    network = ProviderNetwork("net1", "u", spec={"excludeNodes": ["n2"]})
    nodes = [Member("n1", {label("net1", "ready"): "true"}, {}), Member("n2", {}, {})]
    first = localnets.status(network, [Vlan("v", "u", 1, "other")], nodes, NOW)
    assert (first["ready"], first["notReadyNodes"], first["vlans"]) == (True, [], [])
    known = ProviderNetwork("net1", "u", spec=network.spec, status=first)
    assert localnets.status(known, [], nodes, LATER) == first
    lost = localnets.status(known, [], [Member("n1", {}, {})], LATER)
    assert lost["conditions"][0]["lastTransitionTime"] == LATER
    assert "has not reported" in lost["conditions"][0]["message"]


async def test_a_network_of_which_a_pod_has_a_further_interface(cluster: Cluster) -> None:
    """The control: the same pod without the list has one allocation only."""
    config = '{"type": "ovnlet", "provider": "lan.default.ovn"}'
    cluster.put("network-attachment-definitions", "lan", "default", spec={"config": config})
    cluster.subnet("shop", "192.0.2.0/24", vlan="v10", provider="lan.default.ovn")
    cluster.pod("both")
    body = cluster.objects["pods", "default", "both"]
    body["metadata"]["annotations"]["k8s.v1.cni.cncf.io/networks"] = "lan"
    cluster.pod("one")
    name = "lan.default.ovn.kubernetes.io/provider_network"
    async with Term(cluster):
        await until(lambda: len(cluster.allocated()) == 2)
        await until(
            lambda: cluster.objects["pods", "default", "both"]["metadata"]["annotations"].get(name)
        )
    assert cluster.objects["pods", "default", "both"]["metadata"]["annotations"][name] == "net1"
    one = cluster.objects["pods", "default", "one"]["metadata"]["annotations"]
    assert [each for each in one if not each.startswith(OVN)] == []
