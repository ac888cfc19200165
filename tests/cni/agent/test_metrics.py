"""Each figure that the reference page names moves when what it counts happens, and none has a label of a pod."""

import asyncio
import re
from collections.abc import Callable

from aiohttp import ClientSession, UnixConnector
from prometheus_client.parser import text_string_to_metric_families

from cni.agent.node import SOCKET, AgentNode, until
from ovnlet.metrics import Metrics

Values = dict[str, float]
# A queue is deep for milliseconds only: tests/unit/test_probes.py shows that one.
ALL = {family.name for family in Metrics(lambda: []).registry.collect()} - {"ovnlet_queue_depth"}


async def scrape(node: AgentNode) -> Values:
    connector = UnixConnector(path=str(node.space.path(SOCKET)))
    async with ClientSession(connector=connector) as http, http.get("http://agent/metrics") as answer:
        text = await answer.text()
    return {
        f"{family.name} {sample.name} {sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


class Seen:
    """Which families have changed since the first scrape."""

    def __init__(self, node: AgentNode, first: Values) -> None:
        self._node, self._first, self.moved = node, first, set[str]()
        self.values = first

    async def look(self) -> None:
        self.values = await scrape(self._node)
        changed = {key for key, value in self.values.items() if self._first.get(key, 0) != value}
        self.moved |= {key.partition(" ")[0] for key in changed}

    def waiting(self, family: str) -> Callable[[], "asyncio.Future[bool]"]:
        async def so() -> bool:
            await self.look()
            return family in self.moved

        return lambda: asyncio.ensure_future(so())


async def test_every_figure_moves_and_no_label_is_of_a_pod(node: AgentNode) -> None:
    seen = Seen(node, await scrape(node))
    one, other = await node.make_sandboxes(node.make_pods(["", ""]))
    node.annotate(other.pod, {"ovn.kubernetes.io/latency": "5", "ovnlet.io/repair": "report"})
    await asyncio.gather(*(node.add(each) for each in (one, other)))
    await node.call("ADD", one, None, CNI_IFNAME="lo")
    await node.inside(one, "ip", "route", "flush", "dev", "eth0")
    await node.inside(other, "ip", "route", "flush", "dev", "eth0")
    with node.stopped("ovs-vswitchd"):
        await until(seen.waiting("ovnlet_ready"), "a node in trouble")
    for family in sorted(ALL - {"ovnlet_ready"}):
        await until(seen.waiting(family), family)
    for each in (one, other):
        await node.delete(each)
    await seen.look()
    assert seen.moved >= ALL
    labels = "".join(re.findall(r"\[.*\]", "".join(seen.values)))
    assert not [word for word in (one.pod.name, one.container_id, "default", one.link) if f"'{word}'" in labels]
    stages = {stage for stage in ("annotation", "kernel", "ovsdb", "flows") if f"('stage', '{stage}')" in labels}
    assert len(stages) == 4
    assert any("'ADD'" in key and "('code', '0')" in key for key in seen.values)
