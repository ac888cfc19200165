"""`ovnlet uninstall`: refused while in use; then the node is as before, foreign objects too."""

import asyncio
import json

from integration.cni.agent.cli import BIN, CONF, TERMINAL, ovnlet
from integration.cni.agent.node import SOCKET, AgentNode, until
from testbed import exec_agent
from testbed.inventory import Inventory, compare

FOREIGN = f"""
mkdir -p {BIN} {CONF}
echo '{{"name": "other", "type": "bridge"}}' > {CONF}/99-other.conf
echo other > {BIN}/other
ovs-vsctl add-br br-other -- set Bridge br-other datapath_type=netdev
ip link add foreign_h type veth peer name foreign_c
ovs-vsctl add-port br-int foreign_h -- set Interface foreign_h external_ids:owner=somebody
"""
CLEAR = f"""
ovs-vsctl del-port br-int foreign_h -- del-br br-other
ip link del foreign_h
rm -rf {BIN}/other {CONF}/99-other.conf
"""


async def whole(node: AgentNode) -> Inventory:
    """Return the inventory with the agent's own files, without OVN's keys about switches."""
    seen: Inventory = await exec_agent.ask(node.space.path("/"), {})
    kind, pairs = seen["ovsdb"]["Bridge br-int"]["external_ids"]
    seen["ovsdb"]["Bridge br-int"]["external_ids"] = [
        kind,
        [p for p in pairs if not p[0].startswith("ct-zone-")],
    ]
    # The namespaces are the test's own.
    seen["files"] = {
        path: facts for path, facts in seen["files"].items() if not path.startswith("/run/netns")
    }
    return seen


async def test_nothing_of_ours_is_left_and_nothing_of_others_is_missing(bare: AgentNode) -> None:
    node = bare
    await node.sh(FOREIGN)
    before = await whole(node)
    node.start(f"--cni-bin-dir={BIN}", f"--cni-conf-dir={CONF}", f"--plugin={node.plugin}")
    alive, limited, dead, deleted = await node.make_sandboxes(node.make_pods(["", "", "", ""]))
    node.annotate(
        limited.pod, {"ovn.kubernetes.io/ingress_rate": "5", "ovn.kubernetes.io/egress_rate": "5"}
    )
    for sandbox in (alive, limited, dead, deleted):
        await node.add(sandbox)

    refused = await ovnlet(node, "uninstall")
    assert (refused.exit_code, b"an agent answers" in refused.stderr) == (1, True)
    node.kill()
    await node.end_sandboxes([dead])
    outcome = await node.delete(deleted)
    print(outcome.stdout)
    refused = await ovnlet(node, "uninstall")
    assert (refused.exit_code, b"pods are there: default/" in refused.stderr) == (1, True), refused
    assert (
        len(
            json.loads(
                await node.sh("cat /run/ovnlet/sandboxes/" + f"{alive.container_id}.eth0.json")
            )
        )
        > 1
    )

    late = asyncio.create_task(
        node.call("DEL", deleted)
    )  # finds no agent, and writes a pending delete after its timeout
    done = await ovnlet(node, "uninstall", "--cut-off")
    assert done.exit_code == 0, done
    assert (await late).exit_code == 0
    print(done.stdout.decode())
    assert b"nothing of ovnlet is left" in done.stdout

    different: list[str] = []

    async def same() -> bool:
        different[:] = compare(before, await whole(node))
        return not different

    try:
        await until(same, "the node to be as it was", 40)
    finally:
        print("\n".join(different))
    assert await node.inside(alive, "ip", "-o", "link", "show", "type", "veth") == ""

    refused = await ovnlet(node, "uninstall")
    assert (refused.exit_code, b"pods are there: default/" in refused.stderr) == (1, True), (
        "uninstalled while the API server has pods"
    )
    for each in (alive, limited, dead, deleted):
        node.delete_pod(each.pod)
    again = await ovnlet(node, "uninstall")
    assert (again.exit_code, again.stdout.count(b"\n")) == (0, 1), again
    await node.sh(CLEAR)


async def test_without_ovsdb_nothing_is_removed(node: AgentNode) -> None:
    await node.add(await node.sandbox())
    node.kill()
    with node.stopped("ovsdb-server"):
        refused = await ovnlet(node, "uninstall", "--cut-off", through=TERMINAL)
    assert refused.exit_code == 1
    assert b"ports could not be removed" in refused.stdout
    assert refused.stdout.count(b"removing") > 1, "no progress is shown at a terminal"
    assert await node.sh(f"ls /run/ovnlet/sandboxes {SOCKET}")
