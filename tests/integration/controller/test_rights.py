"""What a token may do, and what a stolen one achieves (E8, E11)."""

import asyncio
import json
import ssl

import aiohttp
import pytest

from integration.controller.admin import MERGE, OVN, PODS, ClusterAdmin, until
from integration.controller.replicas import Replicas
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
    """The status subresource takes annotations too, and keeps UID as a precondition."""
    await admin.node("n0", "192.0.2.1")
    made = await admin.pod("victim")
    headers = MERGE | {"Authorization": f"Bearer {replicas.token}"}
    pod, node = f"{PODS}/victim", "/api/v1/nodes/n0"
    annotate = {"metadata": {"uid": made["metadata"]["uid"], "annotations": {f"{OVN}/x": "1"}}}
    stale = {"metadata": {"uid": "another", "annotations": {f"{OVN}/x": "2"}}}
    image = {"spec": {"containers": [{"name": "c", "image": "evil"}]}}
    taint = {"spec": {"unschedulable": True}}
    trusted = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(bed.ids.ca)))
    async with aiohttp.ClientSession(bed.api_url, connector=trusted) as http:

        async def status(path: str, body: object) -> int:
            async with http.patch(path, json=body, headers=headers) as answer:
                return answer.status

        assert await status(pod, image) == 403, "the right to patch a pod itself"
        assert await status(node, taint) == 403, "the right to patch a Node itself"
        assert await status(f"{pod}/status", annotate) == 200
        stales = [await status(path, stale) for path in (f"{pod}/status", pod)]
        print("another UID:", stales)
        async with http.patch(f"{pod}/status", json=stale, headers=headers) as answer:
            print(await answer.text())
        admins = {"Authorization": f"Bearer {bed.token}"} | MERGE
        async with http.patch(pod, json=stale, headers=admins) as answer:
            print(answer.status, await answer.text())
        assert stales[0] == 409
        assert await status(f"{pod}/status", image) in (200, 422)
    seen = await admin.do("GET", pod)
    assert seen["spec"]["containers"][0]["image"] == "x"
    assert seen["metadata"]["annotations"][f"{OVN}/x"] == "1"
    shown = await asyncio.to_thread(
        bed.kubectl, "get", "clusterrole", "ovnlet-controller", "-ojson"
    )
    rules = json.loads(shown)["rules"]
    patched = {what for rule in rules if "patch" in rule["verbs"] for what in rule["resources"]} - {
        "events",
        "subnets",
        "subnets/status",
    }
    assert patched == {"pods/status", "nodes/status"}
