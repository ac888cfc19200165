"""The node's own interface on a real kernel and Open vSwitch: created, damaged and repaired."""

import asyncio
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_network
from pathlib import Path

import pytest
import pytest_asyncio

from integration.node.ovs.vswitch import PrivateSwitch, until
from integration.node.spaces import Bed
from ovnlet.core.errors import NodeFault, NotReady, Taken
from ovnlet.core.identity import NodeInterface
from ovnlet.core.node_network import Reach, network
from ovnlet.core.resources import ABSENT, Network
from ovnlet.drivers.host import NodeHost
from ovnlet.drivers.links.node import NodeLinks
from ovnlet.drivers.node_state import NodeState
from ovnlet.drivers.ovs.ports import Ovs
from ovnlet.drivers.watch.kernel import Watch
from ovnlet.reconcile.loop import converge
from ovnlet.reconcile.outcome import Outcome
from ovnlet.reconcile.scope import Key

OVN = "ovn.kubernetes.io"
TEXT = {
    f"{OVN}/ip_address": "100.64.0.2,fd00:100:64::2",
    f"{OVN}/cidr": "100.64.0.0/16,fd00:100:64::/64",
    f"{OVN}/gateway": "100.64.0.1,fd00:100:64::1",
    f"{OVN}/mac_address": "0a:00:00:02:00:02",
}
PREFIXES = frozenset({ip_network("10.16.0.0/16"), ip_network("fd00:10:16::/64")})
REACH = Reach(PREFIXES)
SELF = NodeInterface("n0")
KEY = Key("node", SELF.ifname)


class NicSetup:
    """An Open vSwitch in the bed's node namespace, and the loop's drivers on both.

    The test's thread runs in that namespace too.
    """

    def __init__(self, bed: Bed, switch: PrivateSwitch) -> None:
        self.bed, self.switch = bed, switch
        self.hints: list[object] = []
        self.ovs = Ovs(
            str(switch.socket), "br-int", changed=lambda _, name: self.hints.append(name)
        )
        links = NodeLinks()
        self.host = NodeHost(links, self.ovs, NodeState(self.ovs, 1400), SELF)
        self.watch = Watch(self.hints.append, lambda: self.hints.append("everything"))

    async def pass_(self, reach: Reach = REACH) -> Outcome:
        desired = network(SELF, TEXT, reach, self.host.node, self.host.prefixes)
        outcome = await converge(self.host, SELF, desired)
        self.watch.follow(KEY, SELF.host_link)
        self.watch.follow_addresses(KEY)
        return outcome


@pytest_asyncio.fixture
async def setup(bed: Bed, tmp_path: Path) -> AsyncIterator[NicSetup]:
    switch = PrivateSwitch(tmp_path)
    try:
        switch.start_server()
        switch.vsctl("add-br", "br-int", "--", "set", "Bridge", "br-int", "datapath_type=netdev")
        switch._start("ovs-vswitchd", "ovs-vswitchd", f"unix:{switch.socket}")
        setup = NicSetup(bed, switch)
        setup.ovs.start()
        setup.watch.start()
        await setup.ovs.ready()
        yield setup
        setup.watch.close()
        await setup.ovs.close()
    finally:
        switch.stop()


async def test_it_is_made_and_a_second_pass_does_nothing(setup: NicSetup) -> None:
    outcome = await setup.pass_()
    assert {"100.64.0.2/16", "fd00:100:64::2/64"} == set(setup.bed.node.addresses("ovn0"))
    routes = {
        name: route["gateway"]
        for name, route in setup.bed.node.routes().items()
        if route["dev"] == "ovn0"
    }
    assert routes["10.16.0.0/16"] == "100.64.0.1"
    assert routes[":fd00:10:16::/64"] == "fd00:100:64::1"
    link = setup.bed.node.link("ovn0")
    assert (link["mtu"], link["address"]) == (1400, "0a:00:00:02:00:02")
    assert outcome.steps
    commits = setup.switch.commits()
    assert not (await setup.pass_()).steps
    assert setup.switch.commits() == commits


def _restart_vswitchd(setup: NicSetup) -> None:
    setup.switch.kill("ovs-vswitchd")
    setup.switch._start("ovs-vswitchd", "ovs-vswitchd", f"unix:{setup.switch.socket}")


def _ip(words: str) -> Callable[[NicSetup], None]:
    def damage(setup: NicSetup) -> None:
        setup.bed.node.ip(*words.split())

    return damage


def _vsctl(words: str) -> Callable[[NicSetup], None]:
    def damage(setup: NicSetup) -> None:
        setup.switch.vsctl(*words.split())

    return damage


DAMAGES = {
    "deleted": _ip("link del ovn0"),
    "down": _ip("link set ovn0 down"),
    "another MAC": _ip("link set ovn0 address 0a:0a:0a:00:00:01"),
    "another MTU": _ip("link set ovn0 mtu 1300"),
    "F2: ARP switched off": _ip("link set ovn0 arp off"),
    "flushed": _ip("address flush dev ovn0"),
    "a route less": _ip("route del 10.16.0.0/16"),
    "a route to elsewhere": _ip("route replace 10.16.0.0/16 via 100.64.0.9 dev ovn0"),
    "an IPv6 route less": _ip("-6 route del fd00:10:16::/64 dev ovn0"),
    "no port": _vsctl("del-port ovn0"),
    "no columns": _vsctl("clear Interface ovn0 mac mtu_request"),
    "not internal": _vsctl("set Interface ovn0 type=dummy"),
    "ovs-vswitchd restarted": _restart_vswitchd,
}


@pytest.mark.parametrize("name", DAMAGES)
async def test_damage_is_notified_and_repaired(setup: NicSetup, name: str) -> None:
    before = (await setup.pass_()).observed
    setup.hints.clear()
    DAMAGES[name](setup)
    await until(lambda: {KEY, "ovn0"} & set(setup.hints))
    async with asyncio.timeout(20):
        while not await _is_whole(setup, before):  # noqa: ASYNC110 - retries like the agent's queue
            await asyncio.sleep(0.05)


async def _is_whole(setup: NicSetup, before: Network) -> bool:
    try:
        outcome = await setup.pass_()
    except (NotReady, NodeFault):  # ovs-vswitchd is not back yet
        return False
    return outcome.observed == before and not outcome.steps


async def test_others_addresses_and_routes_stay(setup: NicSetup) -> None:
    await setup.pass_()
    setup.bed.node.ip("address", "add", "192.0.2.7/24", "dev", "ovn0")
    setup.bed.node.ip("route", "add", "198.51.100.0/24", "via", "100.64.0.5", "dev", "ovn0")
    assert not (await setup.pass_()).steps
    assert "192.0.2.7/24" in setup.bed.node.addresses("ovn0")


async def test_a_foreign_link_of_its_name_is_left_alone(setup: NicSetup) -> None:
    setup.bed.node.ip("link", "add", "ovn0", "type", "bridge")
    with pytest.raises(Taken):
        await setup.pass_()
    assert setup.bed.node.link("ovn0")["linkinfo"]["info_kind"] == "bridge"


async def test_what_kube_ovns_agent_made_is_adopted(setup: NicSetup) -> None:
    add = "add-port br-int ovn0 -- set Interface ovn0 type=internal external_ids:iface-id=node-n0"
    setup.switch.vsctl(*add.split())
    await until(lambda: "ovn0" in setup.bed.node.links())
    index = setup.bed.node.link("ovn0")["ifindex"]
    outcome = await setup.pass_()
    assert not [step for step in outcome.steps if str(step).startswith("-")]
    assert setup.bed.node.link("ovn0")["ifindex"] == index, (
        "the interface was replaced, and lost packets"
    )


@pytest.mark.review2
async def test_k3_the_routes_of_another_agent_go_after_ours_have_come(setup: NicSetup) -> None:
    """K3: a route of metric 1024 stayed beside ours; one of metric 0 went before ours came."""
    ip = setup.bed.node.ip
    await setup.pass_(Reach())
    ip("route", "add", "10.16.0.0/16", "via", "100.64.0.1", "dev", "ovn0", "proto", "static")
    theirs = ("fd00:10:16::/64", "via", "fd00:100:64::1", "dev", "ovn0", "proto", "static")
    ip("-6", "route", "add", *theirs, "metric", "1024")
    done = [str(step) for step in (await setup.pass_()).steps]
    came = [at for at, step in enumerate(done) if step.startswith("+ Route")]
    went = [at for at, step in enumerate(done) if step.startswith("- CompetingRoute")]
    assert len(came) == len(went) == 2, done
    assert max(came) < min(went), done
    for family in ("-4", "-6"):
        shown = setup.bed.node.json(family, "route", "show", "dev", "ovn0")
        assert {route.get("protocol") for route in shown if "gateway" in route} == {"157"}, shown
    assert not (await setup.pass_()).steps


@pytest.mark.review2
async def test_k4_what_is_left_to_kube_ovns_agent_is_as_it_makes_it(setup: NicSetup) -> None:
    """K4: our IPv6 routes stayed in front of its own."""
    await setup.pass_()
    assert len(NodeLinks().hand_back(SELF)) == 4
    for family, metric in (("-4", None), ("-6", 1024)):
        shown = setup.bed.node.json(family, "route", "show", "dev", "ovn0")
        found = {each["dst"]: each for each in shown if not each["dst"].startswith("fe80")}
        assert {each["protocol"] for each in found.values()} == {"kernel", "static"}
        (by_router,) = (each for each in found.values() if "gateway" in each)
        assert (by_router["protocol"], by_router.get("metric")) == ("static", metric)
        assert "prefsrc" in by_router
    assert NodeLinks().hand_back(SELF) == []
    assert "100.64.0.2/16" in setup.bed.node.addresses("ovn0")


async def test_nothing_is_left_of_it_when_it_is_not_desired(setup: NicSetup) -> None:
    await setup.pass_()
    await converge(setup.host, SELF, ABSENT)
    await until(lambda: "ovn0" not in setup.bed.node.links())
    assert not setup.switch.ids("ovn0")


LANS = {"192.168.50.0/24": "192.168.50.2/24", "fd00:50::/64": "fd00:50::2/64"}


def _lan(setup: NicSetup) -> None:
    setup.bed.node.ip("link", "add", "lan0", "type", "veth", "peer", "name", "lan1")
    for link in ("lan0", "lan1"):
        setup.bed.node.ip("link", "set", link, "up")
    for address in LANS.values():
        setup.bed.node.ip("address", "add", address, "dev", "lan0", "nodad")


def _way_to(setup: NicSetup, address: str) -> str:
    (route,) = setup.bed.node.json("route", "get", address)
    return str(route["dev"])


@pytest.mark.review2
async def test_l1_a_lan_that_comes_later_is_noticed_and_keeps_its_routes(setup: NicSetup) -> None:
    """L1: the node was cut off its own LAN by a Subnet of the same prefix."""
    reach = Reach(PREFIXES | {ip_network(prefix) for prefix in LANS})
    await setup.pass_(reach)
    assert _way_to(setup, "192.168.50.1") == _way_to(setup, "fd00:50::1") == "ovn0"
    setup.hints.clear()
    _lan(setup)
    await until(lambda: KEY in setup.hints)
    await setup.pass_(reach)
    assert _way_to(setup, "192.168.50.1") == _way_to(setup, "fd00:50::1") == "lan0"
    assert _way_to(setup, "10.16.0.9") == "ovn0"
    before = [route for route in setup.bed.node.json("route") if route["dev"] == "lan0"]
    assert not (await setup.pass_(reach)).steps
    await converge(setup.host, SELF, ABSENT)
    after = [route for route in setup.bed.node.json("route") if route["dev"] == "lan0"]
    assert before == after, "a foreign route was touched"


@pytest.mark.review2
async def test_l1_the_prefixes_of_the_node_are_those_of_its_other_links(setup: NicSetup) -> None:
    """L1: what the node's addresses are was no input."""
    await setup.pass_()
    _lan(setup)
    setup.bed.node.ip("address", "add", "198.51.100.7/32", "dev", "lo")
    seen = setup.host.prefixes
    found = {(str(each.prefix), each.link) for each in seen}
    assert found >= {*((prefix, "lan0") for prefix in LANS), ("198.51.100.7/32", "lo")}
    assert "ovn0" not in {each.link for each in setup.host.prefixes}
    assert ("198.51.100.7", "lo") in {
        (str(each.address), each.link) for each in setup.host.prefixes
    }
