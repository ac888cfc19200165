"""The node's own interface on a real kernel and a real Open vSwitch: through the loop, broken, and put back."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_network
from pathlib import Path

import pytest
import pytest_asyncio

from integration.node.ovs.vswitch import PrivateSwitch, until
from integration.node.spaces import Bed
from ovnlet.core.errors import NodeFault, NotReady, Taken
from ovnlet.core.identity import NODE_NIC, Attachment
from ovnlet.core.node_network import Reach, network
from ovnlet.core.resources import ABSENT, Masquerade, Network
from ovnlet.drivers.host import LocalHost
from ovnlet.drivers.links import nftables
from ovnlet.drivers.links.node import NodeLinks
from ovnlet.drivers.ovs.ports import Ovs
from ovnlet.drivers.watch.kernel import Watch
from ovnlet.reconcile.loop import Outcome, converge

OVN = "ovn.kubernetes.io"
TEXT = {
    f"{OVN}/ip_address": "100.64.0.2,fd00:100:64::2",
    f"{OVN}/cidr": "100.64.0.0/16,fd00:100:64::/64",
    f"{OVN}/gateway": "100.64.0.1,fd00:100:64::1",
    f"{OVN}/mac_address": "0a:00:00:02:00:02",
}
PREFIXES = frozenset({ip_network("10.16.0.0/16"), ip_network("fd00:10:16::/64")})
REACH = Reach(PREFIXES, PREFIXES)
INSIDE = tuple(
    map(ip_network, ("10.16.0.0/16", "100.64.0.0/16", "fd00:10:16::/64", "fd00:100:64::/64"))
)
SELF = Attachment.of_node("n0")


class Stage:
    """A switch in the bed's node namespace, where the test's thread is too, and the loop's parts on both."""

    def __init__(self, bed: Bed, switch: PrivateSwitch) -> None:
        self.bed, self.switch = bed, switch
        self.hints: list[object] = []
        self.ovs = Ovs(
            str(switch.socket), "br-int", changed=lambda _, name: self.hints.append(name)
        )
        self.host = LocalHost(bed.netlink, NodeLinks(), self.ovs, 1400)
        self.watch = Watch(self.hints.append, lambda: self.hints.append("everything"))

    async def pass_(self) -> Outcome:
        outcome = await converge(self.host, SELF, network(SELF, TEXT, REACH, self.host.node))
        self.watch.follow(SELF)
        return outcome


@pytest_asyncio.fixture
async def stage(bed: Bed, tmp_path: Path) -> AsyncIterator[Stage]:
    switch = PrivateSwitch(tmp_path)
    try:
        switch.start_server()
        switch.vsctl("add-br", "br-int", "--", "set", "Bridge", "br-int", "datapath_type=netdev")
        switch._start("ovs-vswitchd", "ovs-vswitchd", f"unix:{switch.socket}")
        stage = Stage(bed, switch)
        stage.ovs.start()
        stage.watch.start()
        await stage.ovs.ready()
        yield stage
        stage.watch.close()
        await stage.ovs.close()
    finally:
        switch.stop()


async def test_it_is_made_and_a_second_pass_does_nothing(stage: Stage) -> None:
    outcome = await stage.pass_()
    assert {"100.64.0.2/16", "fd00:100:64::2/64"} == set(stage.bed.node.addresses("ovn0"))
    routes = {
        name: route["gateway"]
        for name, route in stage.bed.node.routes().items()
        if route["dev"] == "ovn0"
    }
    assert routes["10.16.0.0/16"] == "100.64.0.1"
    assert routes[":fd00:10:16::/64"] == "fd00:100:64::1"
    link = stage.bed.node.link("ovn0")
    assert (link["mtu"], link["address"]) == (1400, "0a:00:00:02:00:02")
    assert Masquerade("ovn0", INSIDE[::2], INSIDE) in outcome.observed
    assert outcome.steps
    commits = stage.switch.commits()
    assert not (await stage.pass_()).steps
    assert stage.switch.commits() == commits


def _restart_vswitchd(stage: Stage) -> None:
    stage.switch.kill("ovs-vswitchd")
    stage.switch._start("ovs-vswitchd", "ovs-vswitchd", f"unix:{stage.switch.socket}")


def _ip(words: str) -> Callable[[Stage], None]:
    def damage(stage: Stage) -> None:
        stage.bed.node.ip(*words.split())

    return damage


def _vsctl(words: str) -> Callable[[Stage], None]:
    def damage(stage: Stage) -> None:
        stage.switch.vsctl(*words.split())

    return damage


def _nft(words: str) -> Callable[[Stage], None]:
    def damage(_: Stage) -> None:
        subprocess.run(["nft", *words.split()], check=True, timeout=20)

    return damage


DAMAGES = {
    "deleted": _ip("link del ovn0"),
    "down": _ip("link set ovn0 down"),
    "another MAC": _ip("link set ovn0 address 0a:0a:0a:00:00:01"),
    "another MTU": _ip("link set ovn0 mtu 1300"),
    "flushed": _ip("address flush dev ovn0"),
    "a route less": _ip("route del 10.16.0.0/16"),
    "a route to elsewhere": _ip("route replace 10.16.0.0/16 via 100.64.0.9 dev ovn0"),
    "an IPv6 route less": _ip("-6 route del fd00:10:16::/64 dev ovn0"),
    "no port": _vsctl("del-port ovn0"),
    "no columns": _vsctl("clear Interface ovn0 mac mtu_request"),
    "not internal": _vsctl("set Interface ovn0 type=dummy"),
    "ovs-vswitchd again": _restart_vswitchd,
    "no table": _nft("delete table inet ovnlet"),
    "a table of another mind": _nft("insert rule inet ovnlet postrouting return"),
}


@pytest.mark.parametrize("name", DAMAGES)
async def test_damage_is_heard_of_and_repaired(stage: Stage, name: str) -> None:
    before = (await stage.pass_()).observed
    stage.hints.clear()
    DAMAGES[name](stage)
    await until(lambda: {NODE_NIC, "ovn0"} & set(stage.hints))
    async with asyncio.timeout(20):
        while not await _is_whole(stage, before):  # noqa: ASYNC110 - the agent's queue tries again like this
            await asyncio.sleep(0.05)


async def _is_whole(stage: Stage, before: Network) -> bool:
    try:
        outcome = await stage.pass_()
    except (NotReady, NodeFault):  # ovs-vswitchd is not back yet
        return False
    return outcome.observed == before and not outcome.steps


async def test_others_addresses_and_routes_stay(stage: Stage) -> None:
    await stage.pass_()
    stage.bed.node.ip("address", "add", "192.0.2.7/24", "dev", "ovn0")
    stage.bed.node.ip("route", "add", "198.51.100.0/24", "via", "100.64.0.5", "dev", "ovn0")
    assert not (await stage.pass_()).steps
    assert "192.0.2.7/24" in stage.bed.node.addresses("ovn0")


async def test_a_foreign_link_of_its_name_is_left_alone(stage: Stage) -> None:
    stage.bed.node.ip("link", "add", "ovn0", "type", "bridge")
    with pytest.raises(Taken):
        await stage.pass_()
    assert stage.bed.node.link("ovn0")["linkinfo"]["info_kind"] == "bridge"


async def test_what_kube_ovns_agent_made_is_adopted(stage: Stage) -> None:
    add = "add-port br-int ovn0 -- set Interface ovn0 type=internal external_ids:iface-id=node-n0"
    stage.switch.vsctl(*add.split())
    await until(lambda: "ovn0" in stage.bed.node.links())
    index = stage.bed.node.link("ovn0")["ifindex"]
    outcome = await stage.pass_()
    assert not [step for step in outcome.steps if str(step).startswith("-")]
    assert stage.bed.node.link("ovn0")["ifindex"] == index, "no packet is lost for it"


async def test_nothing_is_left_of_it_when_it_is_not_desired(stage: Stage) -> None:
    await stage.pass_()
    await converge(stage.host, SELF, ABSENT)
    await until(lambda: "ovn0" not in stage.bed.node.links())
    assert not stage.switch.ids("ovn0")
    assert nftables.observe("ovn0") is None
