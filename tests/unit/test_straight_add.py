"""An ADD alone waits for the node only, and a burst is committed before its links are made."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kit.memory import COMPLETE, MemoryHost, World, pod
from kit.turns import Turns
from ovnlet.core.identity import Attachment, Record
from ovnlet.core.plan import Plan, Step, Verb
from ovnlet.core.resources import ABSENT, Network, Port, Veth
from ovnlet.drivers.host import Links, PortHost
from ovnlet.drivers.links.open_sandboxes import OpenSandboxes
from ovnlet.drivers.links.pairs import Pairs
from ovnlet.drivers.node_state import NodeState
from ovnlet.drivers.ovs.ports import Ovs
from ovnlet.drivers.ovsdb.replica import Ended, Op
from ovnlet.reconcile.loop import AT_ONCE

pytestmark = pytest.mark.review2
BRIDGE = {"name": "br-int", "ports": frozenset(), "datapath_type": "netdev", "fail_mode": "secure"}


class PromptHost(MemoryHost):
    """A node that needs no time for anything."""

    async def observe(self, attachment: Attachment, desired: Network) -> Network:
        return self.networks.get(attachment.key, ABSENT)

    async def apply(self, attachment: Attachment, plan: Plan) -> None:
        assert all(step.verb is Verb.ENSURE for step in plan)
        self.networks[attachment.key] = frozenset(step.resource for step in plan)


async def test_an_add_takes_no_turn_of_its_own() -> None:
    """A node that needs no time gets no turn: no task and no pause between the stages.

    Python 3.11 starts each task in a turn of its own, and an ADD has one, that of its pass.
    """
    world = World()
    world.host.__class__ = PromptHost
    world.tell(pod())
    turns = Turns()
    try:
        outcome = await world.attaching.add(world.attachment())
        taken = turns.count
    finally:
        turns.stop()
    assert any(isinstance(resource, Port) for resource in outcome.observed)
    assert taken <= 3, taken


class Recorder(Links):
    """Links that are only recorded, beside the rows."""

    def __init__(self, events: list[str]) -> None:
        self._events, self.pairs = events, Pairs(OpenSandboxes())

    def observe(self, _: Any, __: Network, /) -> Network:
        return ABSENT

    async def apply(self, identity: Any, _: Sequence[Step], /) -> None:
        self._events.append(f"link {identity.container_id}")
        self.pairs._waiting.pop(identity.key, None)  # as ``make`` does
        waiting = self.pairs._waiting.values()
        self._events += [
            f"may {each.veth.host.removesuffix('_h')}" for each in waiting if each.may()
        ]


class Node:
    """The real host and driver of rows, before a server that answers after 50 ms.

    ``events`` has what happened in its order: a transaction with the names of its ports, and links.
    """

    def __init__(self) -> None:
        self.events: list[str] = []
        ovs = Ovs("/nonexistent", "br-int")
        ovs._database.connected.set()
        ovs._database.begin = self._begin  # type: ignore[method-assign]
        root = {"external_ids": {}, "cur_cfg": 1, "next_cfg": 1}
        tables = ("Port", "Interface", "QoS", "Queue")
        rows: dict[str, Any] = {"Open_vSwitch": {"r": root}, "Bridge": {"b": BRIDGE}}
        ovs._index.reload(rows | {table: {} for table in tables})
        links, state = Recorder(self.events), cast("NodeState", None)
        self.host = PortHost(links, ovs, state)

    def _begin(self, ops: Sequence[Op], ended: Ended) -> None:
        names = sorted(op["row"]["name"] for op in ops if op.get("table") == "Interface")
        self.events.append(f"rows {' '.join(name.removesuffix('_h') for name in names)}")
        asyncio.get_running_loop().call_later(0.05, lambda: ended([{} for _ in ops]))

    async def attach(self, name: str) -> None:
        """Look as a pass does, then make the row and the link of a sandbox."""
        attachment = Attachment(name, "eth0", f"/run/netns/{name}", "ns", name, "u", "ovn", "b", 1)
        link = attachment.host_link
        port = Port("br-int", link, frozenset({("iface-id", name)}))
        veth = Veth(link, "eth0", "0a:00:00:00:00:05", 1400, alias="x")
        await self.host.observe(attachment, ABSENT)
        await self.host.apply(
            attachment, (Step(Verb.ENSURE, port, None), Step(Verb.ENSURE, veth, None))
        )

    async def mend(self, name: str) -> None:
        """Make only the link of a sandbox."""
        attachment = Attachment(name, "eth0", f"/run/netns/{name}", "ns", name, "u", "ovn", "b", 1)
        veth = Veth(attachment.host_link, "eth0", "0a:00:00:00:00:05", 1400, alias="x")
        await self.host.apply(attachment, (Step(Verb.ENSURE, veth, None),))


async def test_the_row_of_each_link_is_sent_before_it() -> None:
    """ovs-vswitchd that sees a link first reconfigures once more for its row."""
    node = Node()
    names = [f"c{number}" for number in range(5)]
    await asyncio.gather(*map(node.attach, names))
    for name in names:
        sent = next(at for at, event in enumerate(node.events) if name in event.split()[1:])
        assert node.events[sent].startswith("rows"), node.events
        assert node.events.index(f"link {name}") > sent


async def test_a_pair_is_made_with_others_once_its_row_is_sent() -> None:
    """The first does not know of the others; the second makes the pairs of all that remain."""
    node = Node()
    names = [f"c{number}" for number in range(5)]
    await asyncio.gather(*map(node.attach, names))
    assert {event for event in node.events if event.startswith("may")} >= {"may c3", "may c4"}
    for at, event in enumerate(node.events):
        if event.startswith("may"):
            rows = [each.split() for each in node.events[:at] if each.startswith("rows")]
            assert any(event.split()[1] in each for each in rows), node.events


async def test_a_pair_whose_row_waits_is_made_with_no_other() -> None:
    """The repair of another pod's link comes while a transaction is in flight."""
    node = Node()
    first = asyncio.create_task(node.attach("c1"))
    await asyncio.sleep(0.01)
    second = asyncio.create_task(node.attach("c2"))
    await asyncio.sleep(0.01)
    assert node.events == ["rows c1", "link c1"]
    await node.mend("c3")
    assert node.events == ["rows c1", "link c1", "link c3"]
    await asyncio.gather(first, second)
    assert node.events[3:] == ["rows c2", "link c2"]


@pytest.mark.looptime
async def test_a_burst_is_two_transactions() -> None:
    """The first pod does not know of the others. The next to make its link sends all their rows."""
    node = Node()
    await asyncio.gather(*(node.attach(f"c{number}") for number in range(50)))
    sent = [event.split()[1:] for event in node.events if event.startswith("rows")]
    assert [len(names) for names in sent] == [1, 49], node.events


async def test_a_link_waits_until_a_transaction_in_flight_is_answered() -> None:
    """A row that cannot be sent yet is sent with the next transaction, and its link after it."""
    node = Node()
    first = asyncio.create_task(node.attach("c1"))
    await asyncio.sleep(0.01)
    await asyncio.gather(node.attach("c2"), node.attach("c3"), first)
    events = [event for event in node.events if not event.startswith("may")]
    assert events[:3] == ["rows c1", "link c1", "rows c2 c3"]
    assert sorted(events[3:]) == ["link c2", "link c3"]


async def test_the_row_of_a_removal_waits_until_its_link_is_gone() -> None:
    """ovn-controller hangs where one transaction has both rows of a replaced sandbox."""
    events: list[str] = []

    async def apply(_: Sequence[Step]) -> None:
        events.append("rows")

    switch = cast("Ovs", SimpleNamespace(writer=SimpleNamespace(apply=apply)))
    host = PortHost(Recorder(events), switch, cast("Any", None))
    attachment = World().attachment()
    veth = Veth(attachment.host_link, "eth0", "0a:00:00:00:00:05", 1400, alias="x")
    plan = (veth, Port("br-int", attachment.host_link, frozenset()))
    await host.apply(attachment, tuple(Step(Verb.REMOVE, each) for each in plan))
    assert events == [f"link {attachment.container_id}", "rows"]


def recorded(world: World, many: int) -> None:
    """Add records of as many attachments."""
    base = world.attachment()
    for number in range(many):
        one = replace(base, container_id=f"c{number}", pod=f"p{number}", iface_id="", host_link="")
        world.scope.remember(Record(one, COMPLETE))


async def test_when_every_key_has_a_pass_fifty_wait_at_once() -> None:
    """What all of them at once need stays in the memory of the process."""
    world = World()
    running, most, end = 0, 0, asyncio.Event()

    async def observe(attachment: Attachment, desired: Network) -> Network:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await end.wait()
        running -= 1
        return world.host.networks.get(attachment.key, ABSENT)

    world.host.observe = observe  # type: ignore[method-assign]
    recorded(world, 120)
    settling = asyncio.create_task(world.loop.settle())
    for _ in range(1000):  # turns of asyncio's loop, far more than 120 passes need
        await asyncio.sleep(0)
    assert running == AT_ONCE
    end.set()
    await settling
    assert len(world.outcomes) == 120
    assert most == AT_ONCE


async def test_when_every_key_has_a_pass_an_add_waits_for_the_looks_of_one_only() -> None:
    """A look takes a millisecond of the thread, and an ADD needs seven turns of asyncio's loop."""
    world = World()
    looks: list[int] = []
    turns = Turns()

    async def observe(attachment: Attachment, desired: Network) -> Network:
        looks.append(turns.count)
        return world.host.networks.get(attachment.key, desired)

    world.host.observe = observe  # type: ignore[method-assign]
    recorded(world, 120)
    try:
        await world.loop.settle()
    finally:
        turns.stop()
    assert len(looks) == 120
    assert max(map(looks.count, looks)) <= 2
