"""A pod's addresses are announced on the kernel's datapath too, seen by tcpdump in another pod."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from integration.cni.agent.node import until
from integration.cni.agent.pods import Sandbox
from integration.cni.agent.test_presence import FILTER, Seen, announced
from integration.kernel.node import GuestNode
from testbed.virtual_node import VirtualNode

pytestmark = pytest.mark.whole

# Seconds, for an emulated processor on a busy machine.
WITHIN = 120


@asynccontextmanager
async def observing(node: GuestNode, observer: Sandbox) -> AsyncIterator[Seen]:
    """Run tcpdump in a pod of the virtual machine; its log is a file of both."""
    words = ["ip", "netns", "exec", observer.container_id, "tcpdump", "-n", "-l", "-i", "eth0"]
    dump = VirtualNode.of(node.space).spawn("tcpdump", [*words, FILTER])
    try:
        with dump.log.open() as output:
            seen = Seen(output)
            await until(lambda: _listens(seen), "tcpdump to listen", WITHIN)
            yield seen
    finally:
        dump.stop()


async def _listens(seen: Seen) -> bool:
    return "listening on" in seen.text()


async def test_once_after_an_add_and_once_after_a_repair(node: GuestNode) -> None:
    """The control: a route that is repaired makes no port, and announces nothing."""
    observer, sandbox = await node.sandbox(), await node.sandbox()
    await node.add(observer)
    async with observing(node, observer) as seen:
        await node.add(sandbox)
        await announced(seen, sandbox, 1, WITHIN)
        assert sandbox.link in await node.run("ovs-dpctl", "show"), "not the kernel's datapath"
        await node.run("ovs-vsctl", "del-port", sandbox.link)
        await announced(seen, sandbox, 2, WITHIN)
        await node.run("ip", "link", "del", sandbox.link)
        await announced(seen, sandbox, 3, WITHIN)
        await node.inside(sandbox, "ip", "route", "del", "default")
        default = ["ip", "netns", "exec", sandbox.container_id, "ip", "route", "show", "default"]
        await node.until_run(default, bool, "the default route", WITHIN)
        await announced(seen, sandbox, 3, WITHIN)
