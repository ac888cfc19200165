"""The agent (`--chassis=observe`) beside kube-ovn-controller's writes to a Node and a pod.

The sequence of writes is from the controller's source (v1.17.0: pkg/controller node.go, pod.go,
inspection.go, gc.go; the replacement of all annotations of a Node from older versions), not from
a running one.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest_asyncio

from integration.cni.agent.node import AgentNode, until
from integration.cni.agent.pods import Pod
from testbed.assign import JOIN, JOIN_NETWORK

OVN = "ovn.kubernetes.io"
NODE_PORT, NODE_MAC, NODE_IPS = "node-n0", "0a:00:00:02:00:02", "100.64.0.2,fd00:100:64::2"
INITIALIZED = JOIN_NETWORK | {
    "ip_address": NODE_IPS,
    "mac_address": NODE_MAC,
    "allocated": "true",
    "port_name": NODE_PORT,
}


class Controller:
    """kube-ovn-controller's writes: OVN's northbound first, then the annotations."""

    def __init__(self, node: AgentNode) -> None:
        self._node, self._name = node, node.space.role

    def initialize_node(self) -> None:
        """Annotate the Node as versions before 1.12 do.

        Their JSON patch replaces all annotations, those of others too.
        """
        self._node.bed.nbctl("--may-exist", "lsp-add", JOIN, NODE_PORT)
        self._node.bed.nbctl(
            "lsp-set-addresses", NODE_PORT, f"{NODE_MAC} {NODE_IPS.replace(',', ' ')}"
        )
        patch = [{"op": "replace", "path": "/metadata/annotations", "value": _keyed(INITIALIZED)}]
        self._node.bed.kubectl(
            "patch", "node", self._name, "--type=json", f"--patch={json.dumps(patch)}"
        )

    def allocate(self, pod: Pod) -> None:
        self._node.make_ports([pod])
        facts = {
            key.partition("/")[2]: value
            for key, value in pod.annotations.items()
            if not key.endswith("/routed")
        }
        self.patch(pod, facts | {"logical_router": "ovn-cluster", "pod_nic_type": "veth-pair"})

    def route(self, pod: Pod) -> None:
        self.patch(pod, {"routed": "true"})

    def inspect(self, pod: Pod) -> None:
        """Delete a running pod's logical port, and its annotations as the controller does."""
        self._node.bed.nbctl("lsp-del", pod.port)
        self.patch(pod, {"allocated": None, "routed": None})

    def patch(self, pod: Pod, facts: Mapping[str, str | None]) -> None:
        self._node.annotate(pod, _keyed(facts))


def _keyed(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{OVN}/{key}": value for key, value in facts.items()}


def _annotations(node: dict[str, Any]) -> dict[str, str]:
    return dict(node["metadata"].get("annotations") or {})


@pytest_asyncio.fixture
async def beside(bare: AgentNode) -> AsyncIterator[AgentNode]:
    """Yield a node with a Node object, whose name is its hostname in OVN's southbound."""
    name = bare.space.role
    bare.bed.kubectl(
        "create",
        "--filename=-",
        stdin=json.dumps({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}),
    )
    bare.start("--chassis=observe")
    yield bare
    bare.kill()
    bare.bed.kubectl("delete", "node", name)
    bare.bed.nbctl("--if-exists", "lsp-del", NODE_PORT)
    await bare.run("ovs-vsctl", "--if-exists", "del-port", "br-int", "ovn0")


async def test_a_node_and_a_pod_of_kube_ovns_controller(beside: AgentNode) -> None:
    node, controller = beside, Controller(beside)
    system_id = (
        (await node.run("ovs-vsctl", "get", "Open_vSwitch", ".", "external_ids:system-id"))
        .strip()
        .strip('"')
    )

    def itself() -> dict[str, Any]:
        return dict(json.loads(node.bed.kubectl("get", "node", node.space.role, "-o", "json")))

    async def named() -> bool:
        return _annotations(await asyncio.to_thread(itself)).get(f"{OVN}/chassis") == system_id

    await until(named, "the chassis' name on the Node")
    assert system_id in node.bed.sbctl("--bare", "--columns=name", "list", "Chassis").split()
    controller.initialize_node()
    await until(named, "the chassis' name again, after all annotations were replaced")

    async def joined() -> bool:
        shown = json.loads(await node.sh("ip -j address show dev ovn0 || echo '[]'") or "[]")
        return {each["local"] for link in shown for each in link["addr_info"]} >= set(
            NODE_IPS.split(",")
        )

    await until(joined, "ovn0 with the Node's addresses")

    (pod,) = node.make_pods([""], annotated=False, port=False)
    sandbox = await node.sandbox(pod)
    adding = asyncio.create_task(node.add(sandbox))
    controller.allocate(pod)
    await asyncio.sleep(1)
    assert not adding.done(), "the ADD ended before the pod was routed"
    controller.route(pod)
    await asyncio.wait_for(adding, 30)
    assert await node.iface_id(sandbox) == pod.port
    row = await node.run("ovs-vsctl", "get", "Interface", sandbox.link, "_uuid")

    controller.inspect(pod)
    await asyncio.sleep(1)
    assert await node.addresses(sandbox) == {pod.v4, pod.v6}, (
        "a running pod lost its network meanwhile"
    )
    controller.allocate(pod)
    controller.route(pod)

    async def reaches() -> bool:
        return "1 received" in await node.sh(
            f"ip netns exec {sandbox.container_id} ping -c1 -W1 10.16.0.1 || :"
        )

    await until(reaches, "the gateway from the pod, through the new logical port")
    assert await node.run("ovs-vsctl", "get", "Interface", sandbox.link, "_uuid") == row
    await node.delete(sandbox)
