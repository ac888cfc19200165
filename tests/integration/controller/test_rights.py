"""What a token may do, and what a stolen one achieves (E8, E11)."""

import ssl

import aiohttp
import pytest

from integration.controller.admin import MERGE, OVN, PODS, ClusterAdmin, until
from integration.controller.replicas import SYSTEM, Replicas
from ovnlet.core.ipam.claims import NodeClaim, Workload
from ovnlet.kube.session import Access
from ovnlet.kube.writer import Writer
from testbed.bed import Bed

pytestmark = pytest.mark.review2

DUAL = "10.16.0.0/16,fd00:10:16::/64"
TO_NODE = 30000  # the priority of policies that steer to a node's own address


async def steered(admin: ClusterAdmin) -> set[str]:
    """Return the addresses that the router's policies steer to a node."""
    asked = ("--bare", "--columns=match", "find", "logical_router_policy", f"priority={TO_NODE}")
    return {line.rpartition(" ")[2] for line in (await admin.nbctl(*asked)).splitlines() if line}


async def test_e8_an_address_that_two_nodes_claim_steers_nothing(
    admin: ClusterAdmin, replicas: Replicas
) -> None:
    replicas.start()
    await admin.node("n0", "192.0.2.1")
    await admin.node("n1", "192.0.2.2")

    async def steers(*addresses: str) -> None:
        async def look() -> bool:
            return await steered(admin) == set(addresses)

        await until(look, 20, f"policies for {addresses}")

    await steers("192.0.2.1", "192.0.2.2")
    await claim(admin, "n1", "192.0.2.2", "192.0.2.1", "no address")
    await steers("192.0.2.2")
    for node in ("n0", "n1"):
        await admin.event(node, "InternalIPIgnored", "192.0.2.1", "n0, n1")
    await admin.event("n1", "InternalIPIgnored", "'no address'")
    await claim(admin, "n1", "192.0.2.2")
    await steers("192.0.2.1", "192.0.2.2")


async def claim(admin: ClusterAdmin, node: str, *addresses: str) -> None:
    body = [{"type": "InternalIP", "address": each} for each in addresses]
    await admin.do(
        "PATCH",
        f"/api/v1/nodes/{node}/status",
        json={"status": {"addresses": body}},
        headers=MERGE,
    )


async def test_e11_the_controllers_token_changes_nothing_of_a_pod_but_its_status(
    bed: Bed, admin: ClusterAdmin, replicas: Replicas
) -> None:
    """The status subresource takes annotations too, keeps the spec, and compares the UID."""
    await admin.node("n0", "192.0.2.1")
    made = await admin.pod("victim")
    for resource, subresource, allowed in (
        ("pods", "", False),
        ("nodes", "", False),
        ("pods", "status", True),
        ("nodes", "status", True),
    ):
        assert await may_patch(admin, resource, subresource) is allowed, (resource, subresource)
    headers = MERGE | {"Authorization": f"Bearer {replicas.token}"}
    uid = made["metadata"]["uid"]
    change = {
        "metadata": {"uid": uid, "annotations": {f"{OVN}/x": "1"}},
        "spec": {"containers": [{"name": "c", "image": "evil"}]},
    }
    trusted = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(bed.ids.ca)))
    async with (
        aiohttp.ClientSession(bed.api_url, connector=trusted) as http,
        http.patch(f"{PODS}/victim/status", json=change, headers=headers) as answer,
    ):
        assert answer.status == 200, await answer.text()
    pod = await admin.do("GET", f"{PODS}/victim")
    assert pod["spec"]["containers"][0]["image"] == "x"
    assert pod["metadata"]["annotations"][f"{OVN}/x"] == "1"
    writer = Writer(Access(str(bed.kubeconfig)))
    for claim in (
        Workload("default", "victim", "another", ""),
        Workload("default", "nobody", uid, ""),
        NodeClaim("n0", "another"),
    ):
        await writer.annotate(claim, {f"{OVN}/x": "2"})  # counts as done: it is not this object
    await writer.annotate(NodeClaim("n0", ""), {f"{OVN}/y": "3"})
    await writer.close()
    pod, node = await admin.do("GET", f"{PODS}/victim"), await admin.do("GET", "/api/v1/nodes/n0")
    assert pod["metadata"]["annotations"][f"{OVN}/x"] == "1"
    assert node["metadata"]["annotations"] == {f"{OVN}/y": "3"}


async def may_patch(admin: ClusterAdmin, resource: str, subresource: str) -> bool:
    """Ask the API server whether the controller's account may; nobody then uses its token."""
    attributes = {"verb": "patch", "resource": resource, "subresource": subresource}
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": f"system:serviceaccount:{SYSTEM}:ovnlet-controller",
            "resourceAttributes": attributes | {"namespace": "default", "name": "victim"},
        },
    }
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    return bool((await admin.do("POST", path, json=body))["status"]["allowed"])
