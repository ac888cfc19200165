"""kubelet's probes of a pod in a VPC of its own: no router of OVN's leads from the node to it."""

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from integration.cni.agent.node import TESTS, AgentNode, until
from integration.cni.agent.pods import Pod, Sandbox

pytestmark = [pytest.mark.long, pytest.mark.review2]
PORT, OTHER, NUMBER = 8080, 8081, 250
FLAG = "--tproxy=on"
SUBNETS = TESTS.parent / "manifests" / "standalone" / "subnet.yaml"


@pytest_asyncio.fixture
async def named(bare: AgentNode) -> AsyncIterator[AgentNode]:
    """Yield a node with a Node object and the kind of Subnets: else the gateway has no inputs."""
    name, kind = bare.space.role, "crd/subnets.kubeovn.io"
    bare.bed.kubectl("apply", "-f", str(SUBNETS))
    bare.bed.kubectl("wait", "--for=condition=Established", kind, "--timeout=30s")
    body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
    bare.bed.kubectl("create", "-f", "-", stdin=json.dumps(body))
    address = [{"type": "InternalIP", "address": bare.space.ip}]
    bare.bed.api.patch(f"/api/v1/nodes/{name}/status", {"status": {"addresses": address}})
    yield bare
    bare.kill()
    bare.bed.kubectl("delete", "node", name)
    bare.bed.kubectl("delete", kind)
    await bare.sh("nft delete table inet ovnlet || :; rm -rf /run/ovnlet")


async def elsewhere(node: AgentNode) -> Sandbox:
    """Attach a pod with probes that another router connects, and serve at two ports inside."""
    draft = Pod("its-own-vpc", "", NUMBER)
    facts = draft.annotations | {"ovn.kubernetes.io/logical_router": "vpc1"}
    probe = {"httpGet": {"port": "web", "path": "/well"}}
    container = {
        "name": "c",
        "image": "x",
        "ports": [{"name": "web", "containerPort": PORT}],
        "readinessProbe": probe,
    }
    spec = {"nodeName": node.space.role, "containers": [container]}
    made = node.api.create({"metadata": {"name": draft.name, "annotations": facts}, "spec": spec})
    pod = Pod(draft.name, made["metadata"]["uid"], NUMBER)
    node.make_ports([pod])
    node.pods.append(pod)
    sandbox = await node.sandbox(pod)
    await node.add(sandbox)
    root = f"/tmp/{sandbox.container_id[:12]}"
    await node.sh(f"mkdir -p {root}; echo well >{root}/well")
    for port in (PORT, OTHER):
        await node.inside(sandbox, "busybox", "httpd", "-p", f"[::]:{port}", "-h", root)
    return sandbox


async def answers(node: AgentNode, address: str, port: int = PORT) -> bool:
    """Return whether the node gets a page, as kubelet's probe does."""
    url = f"http://{address}:{port}/well"
    return "well" in await node.sh(f"busybox wget -q -T 1 -O - {url} || :")


async def test_probes_reach_a_pod_of_another_vpc_and_nothing_else_does(named: AgentNode) -> None:
    named.start(FLAG)
    sandbox = await elsewhere(named)
    for address in (sandbox.pod.v4, f"[{sandbox.pod.v6}]"):

        async def probed(address: str = address) -> bool:
            return await answers(named, address)

        await until(probed, f"a probe of {address}", 10)
        assert not await answers(named, address, OTHER), "nothing probes this port"
    await named.sh("nft flush chain inet ovnlet probed")

    async def repaired() -> bool:
        return await answers(named, sandbox.pod.v4)

    await until(repaired, "a probe after the chain was flushed", 10)
    await named.delete(sandbox)

    async def gone() -> bool:
        return "probed" not in await named.sh("nft list table inet ovnlet")

    await until(gone, "no chain without probes", 10)


async def test_without_the_setting_such_a_probe_fails(named: AgentNode) -> None:
    named.start()
    sandbox = await elsewhere(named)
    assert not await answers(named, sandbox.pod.v4)
