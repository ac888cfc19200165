"""The scope of the node's own interface: what it desires, and how it takes new input."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from unittest.mock import patch

import pytest

from kit.memory import NoWatch, Recorded
from ovnlet.core import ids
from ovnlet.core.errors import Invalid, NotConverged, NotReady
from ovnlet.core.identity import Node, NodeInterface
from ovnlet.core.node_network import HostPrefix, Reach, network
from ovnlet.core.plan import Plan, Verb
from ovnlet.core.resources import ABSENT, Address, Network, Port, Resource, Route
from ovnlet.core.settings import Repair
from ovnlet.reconcile.loop import Loop
from ovnlet.reconcile.outcome import Outcome
from ovnlet.reconcile.owners import OwnerIndex
from ovnlet.reconcile.scope import Key
from ovnlet.reconcile.scopes.node import NodeScope

OVN = "ovn.kubernetes.io"
NODE = Node("br-int", 1400, userspace=False)
TEXT = {
    f"{OVN}/ip_address": "100.64.0.2,fd00:100:64::2",
    f"{OVN}/cidr": "100.64.0.0/16,fd00:100:64::/64",
    f"{OVN}/gateway": "100.64.0.1,fd00:100:64::1",
    f"{OVN}/mac_address": "0a:00:00:02:00:02",
}
PREFIXES = frozenset({ip_network("10.16.0.0/16"), ip_network("fd00:10:16::/64")})
SELF = NodeInterface("n0")


@dataclass
class Host:
    """A node that does what it is told."""

    node: Node = NODE
    prefixes: frozenset[HostPrefix] = frozenset()
    things: dict[object, Resource] = field(default_factory=dict)
    obeys: bool = True

    async def ready(self) -> None:
        return

    async def observe(self, _: NodeInterface, __: Network) -> Network:
        return frozenset(self.things.values())

    async def apply(self, _: NodeInterface, plan: Plan) -> None:
        for step in plan if self.obeys else ():
            if step.verb is Verb.ENSURE:
                self.things[step.resource.key] = step.resource
            else:
                del self.things[step.resource.key]

    async def installed(self, _: NodeInterface) -> None:
        return


@dataclass
class JsonFile:
    values: dict[str, str] = field(default_factory=dict)

    def read(self) -> Mapping[str, str]:
        return self.values

    def write(self, values: Mapping[str, str]) -> None:
        self.values = dict(values)


class Condition:
    """The Node's condition, kept for the test to read."""

    def __init__(self) -> None:
        self.reports: list[str] = []

    def up(self, message: str, *, partly: bool = False) -> None:
        self.reports.append(f"{'partly ' if partly else ''}up: {message}")

    def down(self, why: str) -> None:
        self.reports.append(f"down: {why}")


class Nic:
    """The loop with the scope of the node's own interface."""

    def __init__(self, host: Host, inputs: JsonFile | None = None, repair: Repair = "fix") -> None:
        self.loop, self.status, self.condition = Loop(), Recorded("node"), Condition()
        passes = self.loop.passes("node")
        self.key = passes.key("ovn0")
        self.scope = NodeScope(
            host,
            inputs or JsonFile(),
            SELF,
            passes,
            self.status,
            owners=OwnerIndex(self.loop.queue.hint),
            watch=NoWatch(),
            condition=self.condition,
            repair=repair,
        )
        self.loop.keep("node", self.scope)

    def put(self, text: Mapping[str, str]) -> bool:
        """Give it annotations; return whether they asked for a pass."""
        return self._asked(lambda: self.scope.put(text))

    def reach(self, reach: Reach) -> bool:
        """Give it prefixes; return whether they asked for a pass."""
        return self._asked(lambda: self.scope.reach(reach))

    async def reconcile(self) -> Outcome | None:
        """Run one pass, without the queue."""
        return await self.loop.reconcile(self.key)

    def _asked(self, act: Callable[[], None]) -> bool:
        asked: list[Key] = []
        with patch.object(self.loop.queue, "add", asked.append):
            act()
        return asked == [self.key]


def nic(host: Host, inputs: JsonFile | None = None, repair: Repair = "fix") -> Nic:
    return Nic(host, inputs, repair)


def test_the_node_is_in_no_container() -> None:
    assert SELF.key == ids.marked(SELF.mark) == ("", "ovn0")
    assert SELF.host_link == "ovn0"


@pytest.mark.parametrize(
    ("named", "found"), [({}, "node-n0"), ({f"{OVN}/port_name": "other"}, "other")]
)
def test_the_logical_port_is_the_one_that_is_named(named: dict[str, str], found: str) -> None:
    (port,) = [
        each for each in network(SELF, TEXT | named, Reach(), NODE) if isinstance(each, Port)
    ]
    assert port.ids == {"ovnlet": "/ovn0", "iface-id": found, "ip": "100.64.0.2,fd00:100:64::2"}
    assert port.internal


def test_prefixes_that_touch_the_join_network_or_lack_a_gateway_have_no_route() -> None:
    single = {name: value.partition(",")[0] for name, value in TEXT.items()}
    wanted = Reach(PREFIXES | {ip_network("100.64.3.0/24"), ip_network("100.0.0.0/8")})
    routes = {
        str(r.destination) for r in network(SELF, single, wanted, NODE) if isinstance(r, Route)
    }
    assert routes == {"100.64.0.0/16", "10.16.0.0/16"}


def test_half_a_way_is_none() -> None:
    with pytest.raises(NotReady):
        network(SELF, {}, Reach(), NODE)
    with pytest.raises(Invalid, match="gateway"):
        network(SELF, TEXT | {f"{OVN}/gateway": "192.0.2.1"}, Reach(), NODE)


async def test_without_annotations_nothing_is_done() -> None:
    host = Host()
    idle = nic(host)
    assert not idle.put({"other": "annotation"})
    assert not idle.reach(Reach(PREFIXES))
    assert await idle.reconcile() is None
    assert not host.things


async def test_an_address_comes_changes_and_stays_when_its_annotations_go_bad() -> None:
    host, memory = Host(), JsonFile()
    own = nic(host, memory)
    assert own.put(TEXT)
    assert not own.put(TEXT), "no news"
    assert own.reach(Reach(PREFIXES))
    outcome = await own.reconcile()
    assert outcome is not None
    assert outcome.action == "attached"
    for bad in (
        {},
        TEXT | {f"{OVN}/ip_address": "nonsense"},
        TEXT | {f"{OVN}/gateway": "192.0.2.1"},
    ):
        assert not own.put(bad)
    again = await own.reconcile()
    assert again is not None
    assert not again.steps
    assert own.put(TEXT | {f"{OVN}/ip_address": "100.64.0.9,fd00:100:64::9"})
    await own.reconcile()
    assert {str(a.ip.ip) for a in host.things.values() if isinstance(a, Address)} == {
        "100.64.0.9",
        "fd00:100:64::9",
    }


async def test_what_was_last_good_survives_a_restart_without_the_api_server() -> None:
    host, memory = Host(), JsonFile()
    first = nic(host, memory)
    first.put(TEXT)
    first.reach(Reach(PREFIXES))
    outcome = await first.reconcile()
    host.things.clear()
    repaired = await nic(host, memory).reconcile()
    assert outcome is not None
    assert repaired is not None
    assert repaired.desired == outcome.desired
    assert repaired.action == "repaired"
    assert frozenset(host.things.values()) == outcome.desired


@pytest.mark.parametrize(("mode", "left"), [("report", True), ("off", False)])
async def test_drift_is_left_where_it_is_not_to_be_repaired(mode: Repair, left: bool) -> None:
    host = Host()
    own = nic(host, repair=mode)
    own.put(TEXT)
    await own.reconcile()
    assert host.things, "what the annotations ask for is made in any mode"
    host.things.clear()
    outcome = await own.reconcile()
    assert outcome is not None
    assert not outcome.steps
    assert bool(outcome.remaining) is left
    assert frozenset(host.things.values()) == ABSENT


async def test_repairs_are_counted_in_the_budget() -> None:
    host = Host()
    own = nic(host)
    own.put(TEXT)
    await own.reconcile()
    budget = own.loop.queue.budget(own.key)
    before = budget.repairs.left
    host.things.clear()
    await own.reconcile()
    assert budget.repairs.left < before - 0.5


async def test_the_condition_follows_each_pass() -> None:
    own = nic(Host())
    own.put(TEXT)
    await own.reconcile()
    assert own.condition.reports == ["up: ovn0 is up with 100.64.0.2, fd00:100:64::2"]
    own.scope.failed("ovn0", NotReady("OVN is away"), awaited=True)
    assert own.condition.reports[1:] == ["down: OVN is away"]


async def test_a_node_that_does_not_obey_is_told_of() -> None:
    own = nic(Host(obeys=False))
    own.put(TEXT)
    with pytest.raises(NotConverged):
        await own.reconcile()


async def test_l1_the_condition_tells_of_a_network_of_the_host_that_is_not_hidden() -> None:
    """L1: a Subnet with the LAN's prefix is told by the Event and by the Node's condition."""
    lan = HostPrefix(ip_network("10.16.0.0/24"), "eth1")
    own = nic(Host(prefixes=frozenset({lan})))
    own.put(TEXT)
    own.reach(Reach(PREFIXES))
    await own.reconcile()
    (report,) = own.condition.reports
    assert report.startswith("partly up: ovn0 is up")
    assert "10.16.0.0/24 of the node's link eth1" in report


async def test_a_prefix_in_the_file_that_is_none_stops_no_start() -> None:
    """The others are used: pods must reach the node while the API server is away."""
    nic = Nic(Host(), JsonFile({**TEXT, "prefixes": "10.16.0.0/16,fd00:10:16::/64,10.17/x"}))
    routed = {each.destination for each in nic.scope.wanted("ovn0") if isinstance(each, Route)}
    assert routed >= PREFIXES
