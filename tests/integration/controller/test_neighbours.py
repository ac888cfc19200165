"""Rows, names and objects of others on a real API server and a real northbound: E2, E4, E9, E13."""

import asyncio
from typing import Any

import pytest

from integration.controller.admin import MERGE, POOLS, SUBNETS, ClusterAdmin, until
from integration.controller.replicas import Replicas

pytestmark = pytest.mark.review2
DUAL = "10.16.0.0/16,fd00:10:16::/64"
# A Subnet as a user of Kube-OVN writes it.
KUBE_OVN = {
    "vpc": "ovn-cluster",
    "protocol": "Dual",
    "provider": "ovn",
    "gatewayType": "centralized",
    "gatewayNode": "n0",
    "private": False,
    "allowSubnets": ["10.17.0.0/16"],
    "enableDHCP": True,
    "dhcpV4Options": "lease_time=3600",
    "u2oInterconnection": False,
    "acls": [{"direction": "to-lport", "priority": 1100, "match": "ip4", "action": "allow"}],
    "natOutgoingPolicyRules": [{"action": "nat", "match": {"srcIPs": "10.16.0.0/24"}}],
}


async def test_a_foreign_switch_and_port_stop_only_their_own_e4(
    admin: ClusterAdmin, replicas: Replicas
) -> None:
    await admin.nbctl("ls-add", "mail", "--", "lsp-add", "mail", "taken.default")
    await admin.nbctl("lsp-add", "mail", "node-n1")
    replicas.start()
    await admin.node("n0", "192.0.2.1")
    await admin.node("n1", "192.0.2.2")
    await admin.subnet("mail", "10.17.0.0/24")
    await admin.subnet("ovn-default", DUAL, default=True)
    await admin.event("mail", "NameTaken", "mail was not made by ovnlet")
    await admin.pod("taken")
    await admin.pod("fine")
    await admin.allocated("fine")
    await admin.event("taken", "NameTaken", "taken.default was not made by ovnlet")
    await admin.event("n1", "NameTaken", "node-n1 was not made by ovnlet")
    condition = await admin.condition("mail", "Ready")
    assert (condition["status"], condition["reason"]) == ("False", "NameTaken")

    async def routed() -> bool:
        return "192.0.2.1 " in await admin.nbctl("lr-policy-list", "ovn-cluster")

    await until(routed, 10, "the route to the node whose port is ours")
    assert "fine.default" not in await admin.nbctl("lsp-list", "mail")
    await admin.do("DELETE", f"{SUBNETS}/mail")

    async def gone() -> bool:
        there = {each["metadata"]["name"] for each in (await admin.do("GET", SUBNETS))["items"]}
        return "mail" not in there

    await until(gone, 10, "the Subnet of the foreign switch")
    assert "(mail)" in await admin.nbctl("ls-list")


async def test_ports_ask_for_the_chassis_of_the_node_and_no_names_collide_e2_e9(
    admin: ClusterAdmin, replicas: Replicas
) -> None:
    replicas.start()
    await admin.subnet("ovn-default", DUAL, default=True)
    await admin.node("w1.default", "192.0.2.1")
    await admin.pod("node-w1", node="w1.default")
    await admin.allocated("node-w1")

    async def node_port() -> bool:
        return "node-w1_default" in await admin.ports()

    await until(node_port, 10, "the port of the node")
    ports = await admin.ports()
    assert ports["node-w1.default"]["options"]["requested-chassis"] == "w1.default"
    change = {"metadata": {"annotations": {"ovn.kubernetes.io/chassis": "id-of-w1"}}}
    await admin.do("PATCH", "/api/v1/nodes/w1.default", json=change, headers=MERGE)

    async def asks() -> bool:
        options = (await admin.ports())["node-w1.default"]["options"]
        return bool(options["requested-chassis"] == "id-of-w1")

    seconds = await until(asks, 15, "the chassis by its system-id")
    print(f"a chassis name that changed is asked for after {seconds:.2f} s")


async def test_a_switch_of_ours_without_a_subnet_is_removed_e13(
    admin: ClusterAdmin, replicas: Replicas
) -> None:
    replicas.start()
    await admin.subnet("old", "10.18.0.0/24")
    await admin.ready("old")
    await asyncio.to_thread(replicas.kill, "a")
    free = {"metadata": {"finalizers": None}}
    await admin.do("PATCH", f"{SUBNETS}/old", json=free, headers=MERGE)
    await admin.do("DELETE", f"{SUBNETS}/old")
    await admin.nbctl("ls-add", "theirs")
    replicas.start("b")

    async def gone() -> bool:
        return "(old)" not in await admin.nbctl("ls-list")

    await until(gone, 20, "the switch without a Subnet")
    assert "(theirs)" in await admin.nbctl("ls-list")
    assert "ovn-cluster-old" not in await admin.nbctl("lrp-list", "ovn-cluster")


async def test_what_users_of_kube_ovn_write_is_taken_and_kept(
    admin: ClusterAdmin, replicas: Replicas
) -> None:
    replicas.start()
    await admin.subnet("ovn-default", DUAL, default=True, **KUBE_OVN)
    await admin.ready("ovn-default")
    spec = (await admin.do("GET", f"{SUBNETS}/ovn-default"))["spec"]
    assert {key: spec[key] for key in KUBE_OVN} == KUBE_OVN
    more: dict[str, Any] = {"namespaces": ["default"], "enableAddressSet": True}
    body = {"apiVersion": "kubeovn.io/v1", "kind": "IPPool", "metadata": {"name": "few"}}
    spec = {"subnet": "ovn-default", "ips": ["10.16.0.8/30"], **more}
    await admin.do("POST", POOLS, json={**body, "spec": spec})
    await admin.pod("one", ip_pool="few")
    await admin.allocated("one")

    async def counted() -> bool:
        status = (await admin.do("GET", f"{POOLS}/few")).get("status") or {}
        return (status.get("v4UsingIPs"), status.get("v4AvailableIPs")) == (1, 3)

    await until(counted, 10, "the IPPool's figures")
    assert (await admin.do("GET", f"{POOLS}/few"))["spec"] == spec
