"""kubelet's probes under a NetworkPolicy, as Kube-OVN's controller writes it into OVN.

The rows are from its source (pkg/ovs/ovn-nb-acl.go): a port group for the policy whose ACLs drop
what comes in, and one for the pods of each node, whose ACLs let the node's InternalIPs in.
"""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from integration.cni.agent.node import AgentNode, until
from integration.cni.agent.pods import Sandbox
from testbed.assign import NETWORK, Assigner

POLICY, OF_NODE = "deny.default", "node.n0"
PORT = "8080"
PREFIXES = "--cluster-cidrs=10.16.0.0/16,fd00:10:16::/64"
JOIN = {4: "100.64.0.2", 6: "fd00:100:64::2"}
PODS = {4: "10.16.0.0/16", 6: "fd00:10:16::/64"}
# What foreign tools do to the routes; the agent's own have metric 512 in IPv6.
DAMAGES = (
    "ip route flush dev ovn0; ip -6 route flush dev ovn0 proto 157",
    "ip link set ovn0 down",
    f"ip route replace {PODS[4]} via 100.64.0.1 dev ovn0 proto 157 src {JOIN[4]};"
    f" ip -6 route replace {PODS[6]} via fd00:100:64::1 dev ovn0 proto 157 metric 512"
    f" src {JOIN[6]}",
)


@pytest_asyncio.fixture
async def beside(bare: AgentNode) -> AsyncIterator[AgentNode]:
    """Yield a node whose Node has InternalIPs and an address in the join network, without agent."""
    bed, name = bare.bed, bare.space.role
    body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
    bed.kubectl("create", "-f", "-", stdin=json.dumps(body))
    addresses = [
        {"type": "InternalIP", "address": each} for each in (bare.space.ip, bare.space.ip6)
    ]
    bed.api.patch(f"/api/v1/nodes/{name}/status", {"status": {"addresses": addresses}})
    bed.nbctl(*NETWORK.split())
    Assigner(bed.api, bed.nbctl).add_node(
        json.loads(bed.kubectl("get", "node", name, "-o", "json"))
    )
    yield bare
    bare.kill()
    bed.kubectl("delete", "node", name)
    bed.nbctl("pg-del", POLICY)
    bed.nbctl("pg-del", OF_NODE)
    bed.nbctl("lr-policy-del", "ovn-cluster")
    await bare.sh("ovs-vsctl --if-exists del-port ovn0; rm -rf /run/ovnlet")
    bed.nbctl("--if-exists", "lsp-del", f"node-{name}")


def deny(node: AgentNode, *sandboxes: Sandbox) -> None:
    """Put the pods into both port groups and write the ACLs."""
    nbctl, ports = node.bed.nbctl, [each.pod.port for each in sandboxes]
    nbctl("pg-add", POLICY, *ports)
    nbctl("pg-add", OF_NODE, *ports)
    for family, address in (4, node.space.ip), (6, node.space.ip6):
        drop = f"outport == @{POLICY} && ip{family}"
        nbctl("--type=port-group", "acl-add", POLICY, "to-lport", "2000", drop, "drop")
        ours = f"${OF_NODE}_ip{family}"
        into = f"ip{family}.src == {address} && ip{family}.dst == {ours}"
        out = f"ip{family}.dst == {address} && ip{family}.src == {ours}"
        group = ("--type=port-group", "acl-add", OF_NODE)
        nbctl(*group, "to-lport", "3000", into, "allow-stateless")
        nbctl("--apply-after-lb", *group, "from-lport", "3000", out, "allow-stateless")


async def probed(node: AgentNode, sandbox: Sandbox, family: int) -> bool:
    """Return whether the node gets a page of the pod, as kubelet's probe does."""
    address = sandbox.pod.v4 if family == 4 else f"[{sandbox.pod.v6}]"
    line = f"busybox wget -q -T 1 -O - http://{address}:{PORT}/well >/dev/null && echo yes || :"
    return "yes" in await node.sh(line)


async def serve(node: AgentNode, sandbox: Sandbox) -> None:
    root = f"/tmp/{sandbox.container_id[:12]}"
    await node.sh(f"mkdir -p {root}; echo well >{root}/well")
    await node.inside(sandbox, "busybox", "httpd", "-p", f"[::]:{PORT}", "-h", root)


@pytest.mark.review2
async def test_probes_succeed_under_a_network_policy_k1(beside: AgentNode) -> None:
    """K1: the routes by ovn0 had the join address as source, which the ACLs do not let in."""
    beside.start("--chassis=observe", PREFIXES)
    sandbox = await beside.sandbox()
    await beside.add(sandbox)
    await serve(beside, sandbox)

    async def both() -> bool:
        found = [await probed(beside, sandbox, family) for family in (4, 6)]
        return all(found)

    await until(both, "probes without a policy")
    deny(beside, sandbox)
    await asyncio.sleep(1)  # OVN installs the ACLs
    await until(both, "probes under the policy")
    for damage in DAMAGES:
        await beside.sh(damage)
        await until(both, f"probes after {damage}")
    beside.kill()
    await beside.sh(DAMAGES[-1])
    answers = [await probed(beside, sandbox, family) for family in (4, 6)]
    assert answers == [False, False], "control: the old source passes, so the policy proves nothing"
