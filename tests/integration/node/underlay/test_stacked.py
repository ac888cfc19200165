"""A bond as the NIC, and links on top of it. Only a virtual machine's kernel has these."""

import asyncio
from collections.abc import Callable

import pytest

from integration.node.ovs.vswitch import TIMEOUT_FACTOR
from integration.node.underlay.field import BRIDGE, Agent, Field
from integration.node.underlay.test_drift import do

VLAN = (
    "ip link add link eth0 name eth0.30 type vlan id 30",
    "ip link set eth0.30 up",
    "ip address add 198.18.30.1/24 dev eth0.30",
)


def lay_bond(field: Field) -> None:
    """Make `eth0` a bond of two links to a bridge, without addresses; kernels can lack bonds.

    It has the MAC of the first of them, which is active.
    """
    field.node.ip("link", "del", "eth0")
    field.node.ip("rule", "del", "priority", "50")  # it has a name, not a link
    bond = "link add eth0 type bond mode active-backup miimon 20"
    field.node.ip(*bond.split())
    field.router.ip("link", "add", "up0", "address", "02:00:00:00:00:01", "type", "bridge")
    for end in ("0", "1"):
        field.node.ip(*f"link add s{end} type veth peer name p{end}".split())
        field.node.ip(*f"link set p{end} netns {field.router.name}".split())
        field.node.ip(*f"link set s{end} master eth0".split())
        field.router.ip(*f"link set p{end} master up0 up".split())
    field.router.ip("address", "add", "192.0.2.1/24", "dev", "up0")
    field.router.ip("address", "add", "2001:db8::1/64", "dev", "up0", "nodad")
    field.router.ip("link", "set", "up0", "up")
    field.stop_api()
    field.serve_api()
    field.configure()


def join_vlan(field: Field) -> None:
    """Give the node an address in VLAN 30, which is a router's too."""
    for command in VLAN:
        do(field, command)
    link = "link add link up0 name up0.30 type vlan id 30"
    field.router.ip(*link.split())
    field.router.ip("link", "set", "up0.30", "up")
    field.router.ip("address", "add", "198.18.30.254/24", "dev", "up0.30")


async def told(agent: Agent, found: Callable[[], list[str]]) -> list[str]:
    async with asyncio.timeout(20 * TIMEOUT_FACTOR):
        while not (texts := found()):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return texts


async def test_a_bond_moves_with_its_links_in_it(field: Field, agent: Agent) -> None:
    """The control of its use: with one link down the node reaches its router by the other."""
    lay_bond(field)
    before = field.of_link("eth0")
    agent.put(defaultInterface="eth0")
    await agent.phase("settled")
    assert field.of_link(BRIDGE) == before
    assert not any(field.of_link("eth0").values())
    assert [field.node.link(each)["master"] for each in ("s0", "s1")] == ["eth0", "eth0"]
    assert field.reaches()
    for down, up in (("s0", "s1"), ("s1", "s0")):
        field.node.ip("link", "set", down, "down")
        assert field.reaches(), f"{down} is down"
        field.node.ip("link", "set", up, "down")
        assert not field.reaches(), "both links are down"
        field.node.ip("link", "set", down, "up")
        field.node.ip("link", "set", up, "up")
    agent.put()
    await agent.phase(None)
    assert field.of_link("eth0") == before
    assert field.reaches()


async def test_a_link_of_a_bond_and_a_bond_without_one_mac_are_refused(
    field: Field, agent: Agent
) -> None:
    lay_bond(field)
    agent.put(defaultInterface="s0")
    (text,) = await told(agent, lambda: [text for _, text in agent.told.events])
    assert "s0 belongs to eth0 (bond)" in text
    for command in ("link set eth0 down", "link set s0 nomaster", "link set s1 nomaster"):
        do(field, f"ip {command}")
    do(field, "ip link set eth0 type bond mode balance-alb")
    agent.put(defaultInterface="eth0")
    texts = await told(agent, lambda: [text for _, text in agent.told.events[1:]])
    assert "bond of mode balance-alb" in texts[0]


async def test_a_vlan_link_keeps_its_frames_where_the_bridge_does_not_carry_them(
    field: Field, agent: Agent
) -> None:
    join_vlan(field)
    before = field.of_link("eth0"), field.node.addresses("eth0.30")
    assert field.reaches("198.18.30.254")
    agent.put(defaultInterface="eth0", vlans=(10,))
    await agent.phase("settled")
    assert field.reaches("198.18.30.254")
    assert field.reaches()
    assert not agent.status.events or "UplinkDisputed" not in str(agent.status.events)
    agent.put(defaultInterface="eth0", vlans=(10, 30))
    await agent.run()
    (text,) = [text for _, reason, text in agent.status.events if reason == "UplinkDisputed"]
    assert "has eth0.30 on it, which takes the frames of VLAN 30" in text
    agent.put()
    await agent.phase(None)
    assert (field.of_link("eth0"), field.node.addresses("eth0.30")) == before
    assert field.reaches("198.18.30.254")


@pytest.mark.parametrize(
    ("commands", "reason"),
    [
        (VLAN, "has eth0.30 on it, which takes the frames of VLAN 30 before the bridge"),
        (
            ("ip link add link eth0 name mac0 type macvlan mode bridge",),
            "has mac0 (macvlan) on it, which takes all its frames",
        ),
    ],
)
async def test_a_link_that_takes_the_frames_of_pods_is_refused(
    field: Field, agent: Agent, commands: tuple[str, ...], reason: str
) -> None:
    before = field.of_link("eth0")
    for command in commands:
        do(field, command)
    agent.put(defaultInterface="eth0", vlans=(10, 30))
    (text,) = await told(agent, lambda: [text for _, text in agent.told.events])
    assert reason in text
    assert field.of_link("eth0") == before
    assert agent.record is None
