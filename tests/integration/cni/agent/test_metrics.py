"""Each metric of the reference page changes with what it counts, and no label names a pod."""

import asyncio
import re
from collections.abc import Callable

from aiohttp import ClientSession, UnixConnector

from integration.cni.agent.node import SOCKET, AgentNode, until
from ovnlet.agent.metrics import Metrics
from testbed import figures

# A queue is deep for milliseconds only (tests/unit/test_probes.py); a part fails only by a fault
# (test_faults.py). A Subnet's traffic leaves the node in `make gateway`.
ELSEWHERE = {"ovnlet_queue_depth", "ovnlet_part_failures"}
ELSEWHERE |= {"ovn_subnet_gateway_packets", "ovn_subnet_gateway_packet_bytes"}
# Nothing is edited here: tests/unit/test_program_metrics.py.
ELSEWHERE |= {"ovnlet_edit_seconds"}
# They do not change while an agent runs, or hardly.
ELSEWHERE |= {"ovnlet_build_info", "process_start_time_seconds", "process_max_fds"}
ELSEWHERE |= {"process_virtual_memory_bytes", "process_resident_memory_bytes", "process_open_fds"}
ALL = {family.name for family in Metrics(lambda: []).registry.collect()} - ELSEWHERE


async def scrape(node: AgentNode) -> str:
    connector = UnixConnector(path=str(node.space.path(SOCKET)))
    async with (
        ClientSession(connector=connector) as http,
        http.get("http://agent/metrics") as answer,
    ):
        return await answer.text()


class Changes:
    """The families that have changed since the first scrape."""

    def __init__(self, node: AgentNode, first: str) -> None:
        self._node, self._first, self.moved = node, figures.values(first), set[str]()
        self.text = first

    async def look(self) -> None:
        self.text = await scrape(self._node)
        self.moved |= figures.moved(self._first, figures.values(self.text))

    def waiting(self, family: str) -> Callable[[], "asyncio.Future[bool]"]:
        async def has_moved() -> bool:
            await self.look()
            return family in self.moved

        return lambda: asyncio.ensure_future(has_moved())


async def test_every_figure_moves_and_no_label_is_of_a_pod(node: AgentNode) -> None:
    seen = Changes(node, await scrape(node))
    one, other = await node.make_sandboxes(node.make_pods(["", ""]))
    node.annotate(other.pod, {"ovn.kubernetes.io/latency": "5", "ovnlet.io/repair": "report"})
    await asyncio.gather(*(node.add(each) for each in (one, other)))
    await node.call("ADD", one, None, CNI_IFNAME="lo")
    await node.inside(one, "ip", "route", "flush", "dev", "eth0")
    await node.inside(other, "ip", "route", "flush", "dev", "eth0")
    storm = (
        "for i in $(seq 100); do ip a add 192.0.2.9/32 dev lo; ip a del 192.0.2.9/32 dev lo; done"
    )
    await node.inside(one, "sh", "-c", storm)
    with node.stopped("ovs-vswitchd"):
        await until(seen.waiting("ovnlet_ready"), "the readiness metric")
    for family in sorted(ALL - {"ovnlet_ready"}):
        await until(seen.waiting(family), family)
    for each in (one, other):
        await node.delete(each)
    await seen.look()
    assert seen.moved >= ALL
    assert figures.unbounded(seen.text, figures.AGENT) == []
    assert all(f'stage="{stage}"' in seen.text for stage in figures.AGENT["stage"])
    assert re.search(r'ovnlet_cni_seconds_count{code="0",verb="ADD"} [1-9]', seen.text)


async def test_made_up_values_create_no_labels(node: AgentNode) -> None:
    """A caller makes up verbs, codes and names."""
    odd = await node.sandbox()
    await node.add(odd)
    for verb in ("NONSENSE", 'ADD"} 1\n#'):
        await node.call(verb, odd)
    made = (
        {"CNI_IFNAME": f"made{number}", "CNI_CONTAINERID": f"made-up-{number}"}
        for number in range(20)
    )
    await asyncio.gather(*(node.call("ADD", odd, None, **each) for each in made))
    text = await scrape(node)
    assert figures.unbounded(text, figures.AGENT) == []
    assert "made" not in "".join(figures.values(text))
