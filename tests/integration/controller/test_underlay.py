"""Subnets of a Vlan and the status of ProviderNetworks, with a real API server and northbound."""

from typing import Any

from integration.controller.admin import MERGE, NETWORKS, SUBNETS, VLANS, ClusterAdmin, until
from integration.controller.replicas import Replicas

READY = "net1.provider-network.kubernetes.io/ready"
WHY = "net1.provider-network.kubernetes.io/err_mesg"


async def make(admin: ClusterAdmin, path: str, kind: str, name: str, **spec: Any) -> None:
    body = {"apiVersion": "kubeovn.io/v1", "kind": kind, "metadata": {"name": name}}
    await admin.do("POST", path, json={**body, "spec": spec})


async def port(admin: ClusterAdmin, name: str = "localnet.shop") -> list[str]:
    """Return type, tag and network of a port; empty without one."""
    columns = "--columns=type,tag,options"
    words = ("--bare", columns, "find", "logical_switch_port", f"name={name}")
    return (await admin.nbctl(*words)).split()


async def test_a_subnet_of_a_vlan_from_the_object_to_the_row_and_back(
    admin: ClusterAdmin, replicas: Replicas
) -> None:
    """The control: the Subnet beside it, without a Vlan, has its port to the router."""
    replicas.start(cool_down=0)
    await make(admin, NETWORKS, "ProviderNetwork", "net1", defaultInterface="eth0")
    await make(admin, VLANS, "Vlan", "v10", id=10, provider="net1")
    await admin.subnet("ovn-default", "10.16.0.0/16", default=True)
    await admin.subnet("shop", "192.0.2.0/24", vlan="v10", gateway="192.0.2.254")
    for name in ("ovn-default", "shop"):
        await admin.ready(name)
    assert await port(admin) == ["localnet", "10", "network_name=net1"]
    routers = (await admin.nbctl("lrp-list", "ovn-cluster")).split()
    assert [each for each in routers if "ovn-default" in each]
    assert not [each for each in routers if "shop" in each]
    await admin.pod("till", logical_switch="shop")
    await admin.allocated("till")
    till = await admin.annotations("till")
    assert (till["provider_network"], till["vlan_id"]) == ("net1", "10")
    assert "logical_router" not in till

    await admin.do("PATCH", f"{VLANS}/v10", json={"spec": {"id": 7}}, headers=MERGE)

    async def retagged() -> bool:
        row = await port(admin) == ["localnet", "7", "network_name=net1"]
        return row and (await admin.annotations("till"))["vlan_id"] == "7"

    await until(retagged, 20, "the new ID, in OVN and on the pod")
    await admin.nbctl("lsp-del", "localnet.shop")
    await until(lambda: port(admin), 20, "the port again")
    await admin.delete("till")
    await admin.do("DELETE", f"{SUBNETS}/shop")

    async def gone() -> bool:
        return not await port(admin) and "shop" not in await admin.nbctl("ls-list")

    await until(gone, 20, "the switch gone")


async def test_the_status_follows_what_agents_write_to_their_nodes(
    admin: ClusterAdmin, replicas: Replicas
) -> None:
    replicas.start()
    for name in ("n0", "n1", "n2"):
        await admin.node(name, "192.0.2.1")
    await make(
        admin, NETWORKS, "ProviderNetwork", "net1", defaultInterface="eth0", excludeNodes=["n2"]
    )

    async def status() -> Any:
        return (await admin.do("GET", f"{NETWORKS}/net1")).get("status") or {}

    async def told(**wanted: Any) -> None:
        async def look() -> bool:
            found = await status()
            return all(found.get(name) == value for name, value in wanted.items())

        await until(look, 20, f"the status {wanted}")

    await told(ready=False, readyNodes=[], notReadyNodes=["n0", "n1"])
    ready = {"metadata": {"labels": {READY: "true"}}}
    await admin.do("PATCH", "/api/v1/nodes/n0/status", json=ready, headers=MERGE)
    why = {"metadata": {"annotations": {WHY: "there is no interface eth0 on this node"}}}
    await admin.do("PATCH", "/api/v1/nodes/n1/status", json=why, headers=MERGE)
    await told(ready=False, readyNodes=["n0"], notReadyNodes=["n1"])

    async def explained() -> bool:
        found = (await status())["conditions"]
        return any("no interface eth0" in each["message"] for each in found)

    await until(explained, 20, "the reason")
    done = {"metadata": {"labels": {READY: "true"}, "annotations": {WHY: None}}}
    await admin.do("PATCH", "/api/v1/nodes/n1/status", json=done, headers=MERGE)
    await told(ready=True, readyNodes=["n0", "n1"], notReadyNodes=[])
