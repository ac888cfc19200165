"""DEL and GC against the real agent: nothing of the attachment is left, whatever is missing."""

import asyncio
import signal
from collections.abc import Callable, Coroutine

import pytest

from integration.cni.agent.cli import is_received
from integration.cni.agent.node import AgentNode, until
from integration.cni.agent.pods import Sandbox
from ovnlet_cni.errors import Code

Deleting = Callable[[AgentNode, Sandbox], Coroutine[None, None, None]]
RECORDS, PENDING = "/run/ovnlet/sandboxes", "/run/ovnlet/deleted"


async def _plainly(node: AgentNode, sandbox: Sandbox) -> None:
    await node.delete(sandbox)


async def _by_container_id_alone(node: AgentNode, sandbox: Sandbox) -> None:
    await node.delete(sandbox, CNI_NETNS=None, CNI_ARGS=None)


async def _with_an_empty_namespace(node: AgentNode, sandbox: Sandbox) -> None:
    await node.delete(sandbox, CNI_NETNS="")


async def _with_a_missing_namespace(node: AgentNode, sandbox: Sandbox) -> None:
    await node.delete(sandbox, CNI_NETNS="/run/netns/nowhere")


async def _with_the_namespace_of_another(node: AgentNode, sandbox: Sandbox) -> None:
    await node.run("ip", "netns", "add", "another")
    await node.sh("ip -n another link add eth0 type veth peer name other")
    await node.delete(sandbox, CNI_NETNS="/run/netns/another")
    assert "eth0" in await node.sh("ip -n another link")
    await node.run("ip", "netns", "del", "another")


async def _after_its_namespace_has_gone(node: AgentNode, sandbox: Sandbox) -> None:
    """Delete the path while a process holds the namespace: its links stay, out of reach."""
    await node.sh(
        f"ip netns exec {sandbox.container_id} sleep 1 & sleep 0.1;"
        f" ip netns del {sandbox.container_id}"
    )
    await node.delete(sandbox)
    await node.run("ip", "netns", "add", sandbox.container_id)


async def _after_its_pod_has_gone(node: AgentNode, sandbox: Sandbox) -> None:
    node.delete_pod(sandbox.pod)
    await node.delete(sandbox)


async def _after_its_annotations_have_gone(node: AgentNode, sandbox: Sandbox) -> None:
    node.annotate(sandbox.pod, dict.fromkeys(sandbox.pod.annotations))
    await node.delete(sandbox)


async def _twice(node: AgentNode, sandbox: Sandbox) -> None:
    await node.delete(sandbox)
    await node.delete(sandbox)


async def _twice_at_once(node: AgentNode, sandbox: Sandbox) -> None:
    await asyncio.gather(node.delete(sandbox), node.delete(sandbox))


async def _after_its_record_was_deleted_by_hand(node: AgentNode, sandbox: Sandbox) -> None:
    await node.run("rm", f"{RECORDS}/{sandbox.container_id}.eth0.json")
    await node.delete(sandbox)


async def _after_its_port_and_link_were_deleted_by_hand(node: AgentNode, sandbox: Sandbox) -> None:
    await node.sh(f"ovs-vsctl del-port {sandbox.link}; ip link del {sandbox.link} || :")
    await node.delete(sandbox)


DELETIONS: list[Deleting] = [
    _plainly,
    _by_container_id_alone,
    _with_an_empty_namespace,
    _with_a_missing_namespace,
    _with_the_namespace_of_another,
    _after_its_namespace_has_gone,
    _after_its_pod_has_gone,
    _after_its_annotations_have_gone,
    _twice,
    _twice_at_once,
    _after_its_record_was_deleted_by_hand,
    _after_its_port_and_link_were_deleted_by_hand,
]


async def test_whatever_is_missing_nothing_is_left(node: AgentNode) -> None:
    """Each deletion has an attachment of its own; all run at the same time."""
    sandboxes = await node.make_sandboxes(node.make_pods([""] * len(DELETIONS)))
    before = await node.look()
    await asyncio.gather(*map(node.add, sandboxes))
    for delete, sandbox in zip(DELETIONS, sandboxes, strict=True):
        print(delete.__name__, sandbox.link)
    await asyncio.gather(
        *(delete(node, sandbox) for delete, sandbox in zip(DELETIONS, sandboxes, strict=True))
    )
    await node.same(before)
    assert "pass crashed" not in node.logged()


async def test_of_an_agent_that_was_away(node: AgentNode) -> None:
    """One record is lost, one is torn; for a third the plugin writes a pending delete.

    The agent executes the pending delete at its start.
    """
    lost, torn, pending = await node.make_sandboxes(node.make_pods([""] * 3))
    before = await node.look()
    await asyncio.gather(*map(node.add, (lost, torn, pending)))
    node.kill()
    await node.sh(
        f"rm {RECORDS}/{lost.container_id}*; echo '{{' >{RECORDS}/{torn.container_id}.eth0.json"
    )
    assert (await node.delete(pending)).stdout == b""
    assert pending.container_id in await node.sh(f"cat {PENDING}/*")
    node.start()
    assert pending.link not in await node.run("ovs-vsctl", "list-ports", "br-int")
    await asyncio.gather(node.delete(lost), node.delete(torn))
    await node.same(before)


async def test_of_a_note_left_while_an_agent_runs(bare: AgentNode) -> None:
    """A plugin writes one when the agent hangs. The agent executes it at the next resync."""
    bare.start("--resync=1")
    sandbox = await bare.sandbox()
    before = await bare.look()
    await bare.add(sandbox)
    await bare.sh(
        f"mkdir -p {PENDING};"
        f" echo '{sandbox.container_id} eth0' >{PENDING}/{sandbox.container_id}.eth0"
    )
    await bare.same(before)


async def test_with_the_api_server_away(node: AgentNode) -> None:
    sandbox = await node.sandbox()
    before = await node.look()
    await node.add(sandbox)
    assert node.bed.control is not None
    with node.stopped("kube-apiserver", node.bed.control):
        assert (await node.delete(sandbox)).seconds < 5
    await node.same(before)


async def test_of_what_never_was(node: AgentNode) -> None:
    sandbox = await node.sandbox()
    before = await node.look()
    await node.delete(sandbox)
    await node.same(before)


async def test_while_its_add_waits(node: AgentNode) -> None:
    sandbox = await node.sandbox(node.pod(annotated=False))
    before = await node.look()
    adding = asyncio.create_task(node.call("ADD", sandbox))
    await until(lambda: is_received(node, sandbox), "the ADD to be received")
    await node.delete(sandbox)
    outcome = await adding
    assert outcome.code == Code.UNKNOWN_CONTAINER, outcome
    await node.same(before)


async def test_while_its_add_waits_for_ovn(node: AgentNode) -> None:
    sandbox = await node.sandbox()
    before = await node.look()
    with node.stopped("ovn-controller"):
        adding = asyncio.create_task(node.call("ADD", sandbox))
        await until(lambda: _has_link(node, sandbox), "the link")
        await node.delete(sandbox)
        assert (await adding).code == Code.UNKNOWN_CONTAINER
    await node.same(before)


@pytest.mark.review2
@pytest.mark.parametrize("announced", [True, False], ids=["a deletionTimestamp", "no word of it"])
async def test_whose_logical_port_goes_first_k2(node: AgentNode, announced: bool) -> None:
    """K2: Kube-OVN's controller deletes a port as soon as its pod is being deleted.

    `ovn-installed` goes with it. The agent must not wait for it, whether it knows of the deletion
    or not: DELs took six seconds and more.
    """
    sandboxes = await node.make_sandboxes(node.make_pods([""] * 5))
    before = await node.look()
    await asyncio.gather(*map(node.add, sandboxes))
    if announced:
        for each in sandboxes:
            node.api.delete(each.pod.name, grace=60)
    node.bed.nbctl(*" -- ".join(f"lsp-del {each.pod.port}" for each in sandboxes).split())
    await asyncio.sleep(0.7)  # 0.3 s until the key counts as lost, then the pass that repairs it
    ends = await asyncio.gather(*map(node.delete, sandboxes))
    assert max(each.seconds for each in ends) < 3, [each.seconds for each in ends]
    assert ("uninstalled" in node.logged()) is not announced
    await node.same(before)


async def test_of_the_old_after_the_add_of_the_new(node: AgentNode) -> None:
    old, new = await node.make_sandboxes([pod := node.pod(), pod])
    before = await node.look()
    await node.add(old)
    await node.add(new)
    await node.delete(old)
    assert await node.iface_id(new) == pod.port
    assert await node.addresses(new) == {pod.v4, pod.v6}
    await node.delete(new)
    await node.delete(old)
    await node.same(before)


async def test_while_ovsdb_hangs_fails_in_time_and_is_done_later(node: AgentNode) -> None:
    sandbox = await node.sandbox()
    before = await node.look()
    await node.add(sandbox)
    with node.stopped("ovsdb-server"):
        outcome = await node.call("DEL", sandbox)
        assert outcome.code == Code.TRY_AGAIN, outcome
        assert outcome.seconds < 6
    await node.same(before, within=40)


async def test_gc_removes_dead_sandboxes_and_logs_live_ones(node: AgentNode) -> None:
    """After a GC unlisted dead sandboxes are gone; live ones stay, even with an empty list."""
    nothing = await node.look()
    living, unlisted, *dead = await node.make_sandboxes(node.make_pods([""] * 5))
    for sandbox in (living, unlisted, *dead):
        await node.add(sandbox)
    await node.suspend(dead)  # else it would be notified of the ends before the GC
    await node.end_sandboxes(dead)
    collecting = asyncio.create_task(node.gc(living))
    await asyncio.sleep(0.1)
    assert node.agent is not None
    node.agent.send(signal.SIGCONT)
    assert (await collecting).exit_code == 0
    assert await _ports(node) == {living.link, unlisted.link}
    logged = [
        line
        for line in node.logged().splitlines()
        if "not listed by the runtime, but alive" in line
    ]
    assert len(logged) == 1
    assert unlisted.container_id in logged[0]
    assert (await node.gc()).exit_code == 0
    assert await _ports(node) == {living.link, unlisted.link}
    for sandbox in (living, unlisted):
        assert await node.addresses(sandbox) == {sandbox.pod.v4, sandbox.pod.v6}
        await node.delete(sandbox)
    await node.end_sandboxes([living, unlisted])
    await node.same(nothing)


async def _ports(node: AgentNode) -> set[str]:
    return {
        name
        for name in (await node.run("ovs-vsctl", "list-ports", "br-int")).split()
        if name.endswith("_h")
    }


async def _has_link(node: AgentNode, sandbox: Sandbox) -> bool:
    return sandbox.link in await node.run("ip", "-o", "link")
