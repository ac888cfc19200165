"""A pod beside it sees a pod's addresses announced: after its ADD, and after its port came again.

The observer is tcpdump in the other pod, behind OVN's own flows.
"""

import asyncio
import re
import signal
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import IO

from integration.cni.agent.node import AgentNode, until
from integration.cni.agent.pods import Sandbox
from ovnlet.reconcile.announcements import LATER

# A gratuitous ARP and an unsolicited NA; OVN answers other questions in the pod's name.
FILTER = "(arp and arp[14:4] = arp[24:4]) or (icmp6 and ip6[40] = 136 and ip6 dst ff02::1)"
SEEN = re.compile(r"who-has (\S+) .*tell|Announcement (\S+),|tgt is (\S+),")
# Seconds in which an announcement would have come.
QUIET = 3


class Seen:
    """The announcements that arrived at a pod so far."""

    def __init__(self, output: IO[str]) -> None:
        self._output = output

    def text(self) -> str:
        self._output.seek(0)
        return self._output.read()

    def of(self, sandbox: Sandbox) -> tuple[int, int]:
        """Return how many there were of the pod's IPv4 and IPv6 address."""
        found = Counter(next(filter(None, match)) for match in SEEN.findall(self.text()))
        return found[sandbox.pod.v4], found[sandbox.pod.v6]


@asynccontextmanager
async def observing(node: AgentNode, observer: Sandbox) -> AsyncIterator[Seen]:
    words = ["ip", "netns", "exec", observer.container_id, "tcpdump", "-n", "-l", "-i", "eth0"]
    with tempfile.NamedTemporaryFile("w+") as output:
        seen = Seen(output)
        dump = node.space.popen([*words, FILTER], stdout=output.fileno(), stderr=output.fileno())
        try:
            await until(lambda: _listens(seen), "tcpdump to listen")
            yield seen
        finally:
            dump.send_signal(signal.SIGINT)
            dump.wait(timeout=10)


async def _listens(seen: Seen) -> bool:
    return "listening on" in seen.text()


async def announced(seen: Seen, sandbox: Sandbox, times: int, within: float = 15) -> None:
    """Wait for that many announcements of each address, and for more that must not come."""

    async def enough() -> bool:
        return min(seen.of(sandbox)) >= times

    await until(enough, f"{times} announcements of each address, not {seen.text()}", within)
    await asyncio.sleep(QUIET)
    assert seen.of(sandbox) == (times, times), seen.text()


async def test_once_after_an_add_and_once_after_its_port_came_again(bare: AgentNode) -> None:
    """The resync of each second is the control: its passes change and announce nothing."""
    bare.start("--resync=1")
    observer, sandbox = await bare.sandbox(), await bare.sandbox()
    await bare.add(observer)
    async with observing(bare, observer) as seen:
        await bare.add(sandbox)
        await announced(seen, sandbox, 1)
        await bare.run("ovs-vsctl", "del-port", sandbox.link)
        await announced(seen, sandbox, 2)
        await bare.run("ip", "link", "del", sandbox.link)
        await announced(seen, sandbox, 3)
        await bare.inside(sandbox, "ip", "route", "del", "default")
        await until(lambda: _has_default_route(bare, sandbox), "the default route")
        await announced(seen, sandbox, 3)


async def _has_default_route(node: AgentNode, sandbox: Sandbox) -> bool:
    return "default" in await node.inside(sandbox, "ip", "route")


async def test_nothing_stays_open_in_the_pod(node: AgentNode) -> None:
    sandboxes = await node.make_sandboxes(node.make_pods([""] * 10))
    await asyncio.gather(*map(node.add, sandboxes))
    await asyncio.sleep(LATER + 1)
    assert not await node.announces(sandboxes), "an announcement has left its socket open"
    for sandbox in sandboxes:
        await node.run("ovs-vsctl", "del-port", sandbox.link)
    await asyncio.sleep(LATER)  # some of them are under way
    await asyncio.gather(*map(node.delete, sandboxes))
    assert not await node.announces(sandboxes), (
        "a DEL has not waited for the announcement before it"
    )
