"""Rows, names and chassis of others: what the controller does beside them."""

import asyncio

import pytest

from kit.cluster import Cluster, Term, until

DUAL = "10.16.0.0/16,fd00:16::/64"
ROUTER = "ovn-cluster"
pytestmark = [pytest.mark.review2, pytest.mark.looptime]


@pytest.fixture
def cluster() -> Cluster:
    made = Cluster()
    made.subnet("shop", DUAL, default=True)
    return made


def chassis(cluster: Cluster, name: str) -> str | None:
    """Return the chassis that a port asks for."""
    seen = cluster.database.strict.port(name)
    return dict(seen.port.options).get("requested-chassis") if seen else None


async def test_a_foreign_switch_stops_its_own_subnet_only_and_says_so_e4(cluster: Cluster) -> None:
    cluster.subnet("mail", "10.17.0.0/24")
    cluster.database.foreign.add("mail")
    async with Term(cluster):
        cluster.pod("a")
        await until(cluster.allocated, 5)
        await until(lambda: cluster.why("mail"), 5)
        assert "not made by ovnlet" in cluster.why("mail")[0][1]
        conditions = cluster.objects["subnets", "", "mail"]["status"]["conditions"]
        assert {each["type"]: each["status"] for each in conditions}["Ready"] == "False"
        assert any("not made by ovnlet" in each["message"] for each in conditions)
        assert not cluster.why("shop")
        cluster.database.foreign.clear()
        cluster.subnet("other", "10.18.0.0/24")
        await until(lambda: ("switch", "mail") in cluster.database.strict.rows, 60)


async def test_a_foreign_link_to_the_router_stops_its_own_subnet_only_e4(cluster: Cluster) -> None:
    cluster.subnet("mail", "10.17.0.0/24")
    cluster.database.foreign.add("mail-ovn-cluster")
    async with Term(cluster):
        cluster.pod("a")
        await until(cluster.allocated, 5)
        await until(lambda: cluster.why("mail"), 5)
        assert "mail-ovn-cluster was not made by ovnlet" in cluster.why("mail")[0][1]


async def test_a_foreign_port_stops_its_own_pod_only_and_says_so_e4(cluster: Cluster) -> None:
    cluster.put("nodes", "n0")
    cluster.put("nodes", "n1")
    cluster.database.foreign |= {"a.default", "node-n0"}
    async with Term(cluster):
        for name in "ab":
            cluster.pod(name)
        await until(cluster.allocated, 5)
        await until(lambda: cluster.why("a") and cluster.why("n0"), 5)
        assert list(cluster.allocated()) == ["default/b"]
        assert "a.default was not made by ovnlet" in cluster.why("a")[0][1]
        assert "node-n0 was not made by ovnlet" in cluster.why("n0")[0][1]
        rows = cluster.database.strict.rows.values()
        await until(lambda: any("node-n1" in getattr(row, "match", "") for row in rows), 5)


async def test_a_foreign_port_of_a_running_pod_stops_no_restart_e4(cluster: Cluster) -> None:
    async with Term(cluster):
        cluster.pod("a")
        await until(cluster.allocated, 5)
    cluster.database.foreign.add("a.default")
    async with Term(cluster):
        cluster.pod("b")
        await until(lambda: "default/b" in cluster.allocated(), 5)


async def test_a_foreign_router_is_left_alone_and_each_subnet_says_so_e4(cluster: Cluster) -> None:
    cluster.database.foreign.add(ROUTER)
    async with Term(cluster):
        await until(lambda: cluster.why("shop"), 5)
        assert f"{ROUTER} was not made by ovnlet" in cluster.why("shop")[0][1]
        assert not [key for key in cluster.database.strict.rows if key[0] == "router port"]
        cluster.database.foreign.clear()
        cluster.pod("a")
        await until(cluster.allocated, 60)


async def test_names_of_pods_and_nodes_never_collide_e9(cluster: Cluster) -> None:
    cluster.put("nodes", "w1.corp", status={})
    cluster.put("nodes", "w2", status={})
    async with Term(cluster):
        cluster.pod("node-w1", namespace="corp")
        cluster.pod("node-w2", namespace="corp")
        await until(lambda: len(cluster.allocated()) == 2, 5)
        await asyncio.sleep(5)
        ports = {port.name: port for port in cluster.database.strict.every_port()}
        names = {
            node: cluster.objects["nodes", "", node]["metadata"]["annotations"][
                "ovn.kubernetes.io/port_name"
            ]
            for node in ("w1.corp", "w2")
        }
        assert names["w2"] == "node-w2", "the name that Kube-OVN gives"
        assert names["w1.corp"] != "node-w1.corp"
        assert {ports[name].switch for name in names.values()} == {"join"}
        assert ports["node-w1.corp"].switch == "shop"
    async with Term(cluster):
        await asyncio.sleep(5)
        cluster.delete("nodes", "w1.corp")
        await until(lambda: not cluster.database.strict.port(names["w1.corp"]), 5)
        assert cluster.database.strict.port("node-w1.corp"), "the pod's"


async def test_a_node_keeps_the_port_that_an_earlier_release_made_e9(cluster: Cluster) -> None:
    old = {
        "ovn.kubernetes.io/port_name": "node-w1.corp",
        "ovn.kubernetes.io/allocated": "true",
        "ovn.kubernetes.io/ip_address": "100.64.0.9,fd00:100:64::9",
        "ovn.kubernetes.io/mac_address": "0a:00:00:00:00:09",
    }
    cluster.put("nodes", "w1.corp", metadata={"annotations": old})
    async with Term(cluster):
        await until(lambda: cluster.database.strict.port("node-w1.corp"), 5)
        cluster.pod("node-w1", namespace="corp")
        await until(lambda: cluster.why("node-w1"), 5)
        assert "node-w1.corp" in cluster.why("node-w1")[0][1]
        seen = cluster.database.strict.port("node-w1.corp")
        assert seen is not None
        assert seen.port.switch == "join", "the pod did not take it"
        cluster.delete("nodes", "w1.corp")
        await until(cluster.allocated, 10)
        cluster.put("nodes", "w1.corp")
        await until(lambda: cluster.database.strict.port("node-w1_corp"), 5)


async def test_ports_ask_for_the_chassis_that_the_node_names_e2(cluster: Cluster) -> None:
    named = {"ovn.kubernetes.io/chassis": "id-of-n0"}
    cluster.put("nodes", "n0", metadata={"annotations": named})
    cluster.put("nodes", "n1")
    async with Term(cluster):
        cluster.pod("a", node="n0")
        cluster.pod("b", node="n1")
        await until(lambda: len(cluster.allocated()) == 2, 5)
        assert chassis(cluster, "a.default") == "id-of-n0"
        assert chassis(cluster, "b.default") == "n1", "the Node's name, while no chassis is known"
        for name in ("n0", "n1"):
            meta = cluster.objects["nodes", "", name]["metadata"]
            text = {**meta.get("annotations", {}), "ovn.kubernetes.io/chassis": f"new-{name}"}
            cluster.put("nodes", name, metadata={**meta, "annotations": text})
        await until(lambda: chassis(cluster, "a.default") == "new-n0", 3)
        await until(lambda: chassis(cluster, "b.default") == "new-n1", 3)


@pytest.mark.parametrize("wrong", ["", "a,b", "a b"])
async def test_a_chassis_name_that_ovn_would_read_as_several_is_not_used_e2(
    cluster: Cluster, wrong: str
) -> None:
    cluster.put("nodes", "n0", metadata={"annotations": {"ovn.kubernetes.io/chassis": wrong}})
    async with Term(cluster):
        cluster.pod("a", node="n0")
        await until(cluster.allocated, 5)
        assert chassis(cluster, "a.default") == "n0"
