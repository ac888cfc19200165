"""Pods with limits whose sandboxes are replaced again and again.

The rows of the old sandbox exist beside those of the new one.
"""

import asyncio

from integration.cni.agent.node import AgentNode
from integration.cni.agent.pods import Pod

PODS, SANDBOXES = 10, 10
LIMITS = {"ingress_rate": "5", "egress_rate": "3", "ingress_burst": "2"}
ROWS = "for t in QoS Queue; do ovs-vsctl --bare --columns=external_ids list $t; done"


async def test_100_adds_and_dels_of_limited_pods_leave_no_row(node: AgentNode) -> None:
    """Each sandbox is added while the last is deleted; their rows have the same iface-id."""
    pods = await asyncio.to_thread(node.make_pods, [""] * PODS)
    for pod in pods:
        node.annotate(pod, {f"ovn.kubernetes.io/{key}": value for key, value in LIMITS.items()})
    before = await node.look()

    async def replace(pod: Pod) -> None:
        last = await node.sandbox(pod)
        await node.add(last)
        for _ in range(SANDBOXES - 1):
            now = await node.sandbox(pod)
            await asyncio.gather(node.add(now), node.delete(last))
            last = now

    await asyncio.gather(*map(replace, pods))
    rows = [line for line in (await node.sh(ROWS)).splitlines() if line]
    for pod in pods:  # of its last sandbox alone: one QoS, one Queue
        assert len([line for line in rows if f"iface-id={pod.port}" in line]) == 2, (pod, rows)
    await asyncio.gather(
        *map(node.delete, node.sandboxes)
    )  # deleted ones as well: a runtime may repeat a DEL
    assert not (await node.sh(ROWS)).strip()
    assert "referential integrity" not in node.logged()
    await node.end_sandboxes(list(node.sandboxes))
    await node.same(before)
