"""What somebody does to a moved uplink is repaired; what is not ours stays."""

import asyncio

import pytest

from integration.node.ovs.vswitch import TIMEOUT_FACTOR
from integration.node.underlay.field import BRIDGE, Agent, Field

DRIFT = {
    "uplink deleted": ["vsctl del-port br-net1 eth0"],
    "bridge deleted": ["vsctl del-br br-net1"],
    "mapping overwritten": ["vsctl set open . external_ids:ovn-bridge-mappings=other:br-x"],
    "mapping of another bridge": [
        "vsctl set open . external_ids:ovn-bridge-mappings=other:br-x,net1:br-x"
    ],
    "trunk lost": ["vsctl set port eth0 trunks=0"],
    "access port": ["vsctl set port eth0 tag=10"],
    "another mac": ["vsctl set bridge br-net1 other_config:hwaddr=02:00:00:00:00:99"],
    "address back on the nic": [
        "ip address add 192.0.2.10/24 dev eth0",
        "ip route add default via 192.0.2.1 dev eth0 metric 5",
        "ip route del default via 192.0.2.1 dev eth0 metric 5",
    ],
    "routes flushed": ["ip route flush dev br-net1", "ip -6 route flush dev br-net1"],
    "route of another table deleted": ["ip route flush table 100"],
    "address with other attributes": [
        "ip address del 192.0.2.11/24 dev br-net1",
        "ip address add 192.0.2.11/24 brd + dev br-net1",
    ],
    "addresses flushed": ["ip address flush dev br-net1 scope global"],
    "rule deleted": ["ip rule del priority 50"],
    "bridge down": ["ip link set br-net1 down"],
    "nic down": ["ip link set eth0 down"],
}


@pytest.fixture
async def moved(field: Field, agent: Agent) -> Agent:
    agent.put(defaultInterface="eth0", vlans=(10,))
    await agent.phase("settled")
    return agent


def do(field: Field, command: str) -> None:
    tool, *words = command.split()
    if tool == "vsctl":
        field.switch.vsctl(*words)
    else:
        field.node.ip(*words)


def state(field: Field) -> dict[str, object]:
    mappings = field.ids("ovn-bridge-mappings").split(",")
    return {
        "bridge": field.of_link(BRIDGE),
        "nic": field.of_link("eth0"),
        "port": field.in_bridge and field.switch.vsctl("get", "Port", "eth0", "trunks", "tag"),
        "mac": field.has_bridge and field.switch.vsctl("get", "Bridge", BRIDGE, "other_config"),
        "mapped": [each for each in mappings if each.startswith("net1:")],
        "up": [
            "UP" in field.node.link(name)["flags"]
            for name in ("eth0", BRIDGE)
            if name in field.node.links()
        ],
    }


async def test_each_drift_is_repaired_and_had_to_be(field: Field, moved: Agent) -> None:
    """The control: before the pass, each one is seen to have broken something."""
    whole = state(field)
    for name, commands in DRIFT.items():
        for command in commands:
            do(field, command)
        assert state(field) != whole, f"{name}: nothing was broken"
        await moved.run()
        async with asyncio.timeout(20 * TIMEOUT_FACTOR):
            while state(field) != whole:  # a new MAC sets the bridge down once more, after the pass
                await moved.run()
        assert field.reaches(), name
    assert "other:br-x" in field.ids("ovn-bridge-mappings"), "the entry of another is lost"
    assert field.reaches()
    assert field.reaches("2001:db8::1")


async def test_an_address_that_comes_to_the_nic_is_moved_and_given_back(
    field: Field, moved: Agent
) -> None:
    field.node.ip("address", "add", "192.0.2.50/24", "dev", "eth0")
    await moved.run()
    assert not field.of_link("eth0")["addresses"]
    assert "192.0.2.50/24" in str(field.of_link(BRIDGE)["addresses"])
    field.node.ip("address", "add", "192.0.2.51/24", "dev", BRIDGE)
    await moved.run()
    assert "192.0.2.51/24" in str(field.of_link(BRIDGE)["addresses"])
    moved.put()
    await moved.phase(None)
    assert "192.0.2.50/24" in str(field.of_link("eth0")["addresses"])
    assert "192.0.2.51/24" in str(field.of_link("eth0")["addresses"])


async def test_a_foreign_port_keeps_its_bridge_and_gets_nothing(field: Field, moved: Agent) -> None:
    do(field, "ip link add foreign0 type veth peer name foreign1")
    field.switch.vsctl("add-port", BRIDGE, "foreign0")
    had = field.of_link(BRIDGE)
    await moved.synced()
    moved.put()
    await moved.phase(None)
    assert field.of_link("eth0") == had
    assert field.switch.vsctl("list-ports", BRIDGE) == "foreign0"
    assert not any(field.of_link("foreign0").values())
    assert not any(field.of_link(BRIDGE).values())


def bridges(field: Field) -> dict[str, str]:
    """Return the ports of each bridge, and all keys of the root row."""
    names = field.switch.vsctl("list-br").split()
    found = {name: field.switch.vsctl("list-ports", name) for name in names}
    return found | {"": field.switch.vsctl("get", "Open_vSwitch", ".", "external_ids")}


REFUSED = {
    "there is no interface eth7": ("eth7", []),
    "belongs to lan0 (bridge)": (
        "eth0",
        ["ip link add lan0 type bridge", "ip link set eth0 master lan0"],
    ),
    "is a port of the bridge br-x": ("eth0", ["vsctl add-br br-x", "vsctl add-port br-x eth0"]),
    "of DHCPv6, whose answers come to the interface alone": (
        "eth0",
        ["ip address add 2001:db8::9/128 dev eth0 valid_lft 99 preferred_lft 9"],
    ),
    "of bird, which would set it again": ("eth0", ["ip route add 10.1.0.0/16 dev eth0 proto bird"]),
    "next hops are on several interfaces": (
        "eth0",
        [
            "ip link add eth8 type veth peer name eth9",
            "ip address add 198.18.0.1/24 dev eth8",
            "ip link set eth8 up",
            "ip link set eth9 up",
            "ip route add 10.2.0.0/16 nexthop via 192.0.2.1 dev eth0"
            " nexthop via 198.18.0.2 dev eth8",
        ],
    ),
    "a bridge br-net1 exists that is not for this network": ("eth0", ["vsctl add-br br-net1"]),
    "an interface br-net1 exists that is no bridge": ("eth0", ["ip link add br-net1 type bridge"]),
}


@pytest.mark.parametrize("reason", REFUSED)
async def test_what_is_not_safe_is_refused_and_nothing_is_touched(
    field: Field, agent: Agent, reason: str
) -> None:
    nic, commands = REFUSED[reason]
    for command in commands:
        do(field, command)
    before, rows = field.of_link("eth0"), bridges(field)
    await agent.synced()
    agent.put(defaultInterface=nic)
    async with asyncio.timeout(20 * TIMEOUT_FACTOR):
        while not agent.told.events:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    ((what, text),) = agent.told.events
    assert what == "UplinkNotMoved"
    assert reason in text
    assert field.of_link("eth0") == before
    assert bridges(field) == rows
    assert agent.record is None
