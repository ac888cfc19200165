"""The node's own interface in the commands' output, and Events of its drift on the Node."""

import asyncio
import json
from collections.abc import Iterator

import pytest
import yaml

from integration.cni.agent.cli import ovnlet
from integration.cni.agent.node import AgentNode, until
from testbed.assign import Assigner

CIDRS = "--cluster-cidrs=10.16.0.0/16,fd00:10:16::/64"


@pytest.fixture
def joined(bare: AgentNode) -> Iterator[AgentNode]:
    """Yield a node whose Node has an address in the join network."""
    bed, name = bare.bed, bare.space.role
    bed.kubectl(
        "create",
        "-f",
        "-",
        stdin=json.dumps({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}),
    )
    Assigner(bed.api, bed.nbctl).add_node(
        json.loads(bed.kubectl("get", "node", name, "-o", "json"))
    )
    yield bare
    bare.kill()
    bed.kubectl("delete", "node", name)
    bed.kubectl("delete", "events", "--field-selector=involvedObject.kind=Node", "--wait=false")
    bare.space.sh("ovs-vsctl --if-exists del-port ovn0; rm -rf /run/ovnlet")
    bed.nbctl("--if-exists", "lsp-del", f"node-{name}")


async def attached(node: AgentNode) -> None:
    async def look() -> bool:
        shown = yaml.safe_load((await ovnlet(node, "pods", "-o", "yaml")).stdout)
        return [(each["namespace"], each["pod"], each["state"]) for each in shown] == [
            ("node", "ovn0", "attached")
        ]

    await until(look, "node/ovn0 attached")


async def test_the_commands_know_it_as_node_ovn0(joined: AgentNode) -> None:
    joined.start(CIDRS, "--repair=report")
    await attached(joined)
    table = (await ovnlet(joined, "pods")).stdout.decode()
    assert table.split("\t")[:4] == ["node", "ovn0", "ovn0", "100.64.0.2,fd00:100:64::2"]
    (shown,) = yaml.safe_load((await ovnlet(joined, "show", "node/ovn0", "-o", "yaml")).stdout)
    assert {"Port", "Nic", "Address", "Route", "Sysctl"} <= {
        each["kind"] for each in shown["resources"]
    }
    assert all(each["desired"] == each["observed"] for each in shown["resources"])
    assert (await ovnlet(joined, "plan")).exit_code == 0
    await joined.run("ip", "route", "del", "10.16.0.0/16")
    planned = await ovnlet(joined, "plan", "node/ovn0")
    assert (planned.exit_code, planned.stdout.decode().split()[:4]) == (
        2,
        ["node/ovn0", "+", "Route", "ovn0"],
    )
    applied = await ovnlet(joined, "apply", "node/ovn0")
    assert (applied.exit_code, applied.stdout) == (0, planned.stdout)
    assert (await ovnlet(joined, "plan", "node/ovn0")).exit_code == 0


async def test_the_node_has_an_event_of_what_was_repaired_and_of_what_was_not(
    joined: AgentNode,
) -> None:
    bed, name = joined.bed, joined.space.role

    async def has_event(reason: str, *words: str) -> bool:
        listed = await asyncio.to_thread(
            bed.kubectl,
            "get",
            "events",
            f"--field-selector=involvedObject.kind=Node,reason={reason}",
            "-o",
            "json",
        )
        events = json.loads(listed)["items"]
        assert all(each["involvedObject"]["name"] == name for each in events)
        return any(all(word in each["message"] for word in words) for each in events)

    joined.start(CIDRS)
    await attached(joined)
    await joined.run("ip", "route", "del", "10.16.0.0/16")
    await until(
        lambda: has_event("NetworkRepaired", "+ Route ovn0 10.16.0.0/16"), "an Event of the repair"
    )
    assert not await has_event("NetworkRepaired", "exempts this pod")
    joined.kill()
    joined.start(CIDRS, "--repair=report")
    await attached(joined)
    await joined.run("ip", "route", "del", "10.16.0.0/16")
    await until(
        lambda: has_event("NetworkDrifted", "+ Route ovn0 10.16.0.0/16", "as set"),
        "an Event of the drift",
    )
