"""Faults of disk, limits and neighbours under a running agent: the process stays and serves."""

import asyncio
import resource
from collections.abc import Callable, Coroutine

import pytest

from integration.cni.agent.node import AgentNode, until
from integration.cni.agent.pods import Sandbox
from integration.cni.agent.test_metrics import scrape
from ovnlet_cni.errors import Code
from testbed import figures

pytestmark = pytest.mark.review2
RECORDS = "/run/ovnlet/sandboxes"
# Seconds with a fault: several resyncs and checks of OVS and OVN.
LASTING = 6
Fault = Callable[[AgentNode, Sandbox], Coroutine[None, None, None]]


async def record_directory_removed(node: AgentNode, sandbox: Sandbox) -> None:
    """Wait until the records are back."""
    await node.sh(f"rm -r {RECORDS}")

    async def is_back() -> bool:
        return sandbox.container_id in await node.sh(f"ls {RECORDS} || :")

    await until(is_back, "the record to be written again")


async def run_full(node: AgentNode, _: Sandbox) -> None:
    """Fill the tmpfs at /run/ovnlet: an ADD fails with words, an edit takes effect."""
    await node.sh("dd if=/dev/zero of=/run/ovnlet/fill bs=1k 2>/dev/null || :")
    refused = await node.call("ADD", await node.sandbox())
    assert refused.code in (Code.IO_FAILURE, Code.TRY_AGAIN), refused
    assert "No space left" in str(refused.error["msg"])
    await asyncio.sleep(LASTING)
    await node.sh("rm /run/ovnlet/fill")


async def out_of_descriptors(node: AgentNode, _: Sandbox) -> None:
    """Allow the agent no new descriptor for several resyncs: the first four are in use."""
    assert node.agent is not None
    pid = node.agent.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (4, limits[1]))
    try:
        await asyncio.sleep(LASTING)
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    await until(lambda: _reported(node), "the failures to be reported")


async def _reported(node: AgentNode) -> bool:
    """Return whether a resync, which opens files, has reported what it could not read."""
    assert figures.unbounded(await scrape(node), figures.AGENT) == []
    return "pending deletions cannot be read yet" in node.logged()


async def control_sockets_that_vanish(node: AgentNode, _: Sandbox) -> None:
    """Make and delete sockets named like ovn-controller's, without its pid file.

    No process of the node has a number of five digits: ovn-controller's own socket stays.
    """
    await node.sh(
        "cd /run/ovn; mv ovn-controller.pid /tmp/pid; set +e\n"
        f"timeout {LASTING} sh -c 'while :; do for i in 1 2 3 4 5 6 7 8 9; do"
        " touch ovn-controller.9000$i.ctl ovn-controller.9001$i.ctl"
        " ovn-controller.9002$i.ctl; done;"
        " rm -f ovn-controller.900??.ctl; done'\n"
        "mv /tmp/pid ovn-controller.pid; rm -f ovn-controller.900??.ctl"
    )


FAULTS: list[Fault] = [
    record_directory_removed,
    run_full,
    out_of_descriptors,
    control_sockets_that_vanish,
]


async def _survives(node: AgentNode, fault: Fault) -> None:
    if fault is run_full:
        await node.sh("mkdir -p /run/ovnlet; mount -t tmpfs -o size=64k,mode=700 none /run/ovnlet")
    try:
        agent = await asyncio.to_thread(node.start, "--resync=1")
        sandbox = await node.sandbox()
        result = (await node.add(sandbox)).body
        await fault(node, sandbox)
        assert agent.alive, (fault.__name__, node.logged()[-3000:])

        async def serves() -> bool:
            return (await node.status()).exit_code == 0

        await until(serves, f"{fault.__name__}: STATUS succeeds again")
        await node.add(await node.sandbox())
        assert (await node.check(sandbox, result)).code == 0
        assert agent.alive
        assert "Traceback" not in node.logged() or fault is out_of_descriptors, node.logged()
    finally:
        if fault is run_full:
            node.kill()
            await node.sh("umount --lazy /run/ovnlet")


async def test_the_process_stays_and_attaches_pods_afterwards(nodes: list[AgentNode]) -> None:
    """L5: one fault on each node, at the same time. On the old code each process ended."""
    await asyncio.gather(*map(_survives, nodes, FAULTS))


async def test_nothing_is_repaired_by_an_agent_that_meets_a_hanging_ovsdb(bare: AgentNode) -> None:
    """L12: no resync runs before OVSDB is read; nothing of the chassis is written or reported."""
    words = ("ovs-vsctl", "get", "Open_vSwitch", ".", "external_ids")
    before = await bare.run(*words)
    with bare.stopped("ovsdb-server"):
        bare.start("--chassis=manage", "--resync=1", ready=False)
        await asyncio.sleep(8)
    await asyncio.to_thread(bare.wait_ready)
    await asyncio.sleep(3)
    assert await bare.run(*words) == before
    assert "repaired" not in bare.logged(), bare.logged()
