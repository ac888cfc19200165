"""A daemon, the database, the NIC or the agent was away: after it, the node is whole again."""

import asyncio
from collections.abc import Callable

import pytest

from integration.node.ovs.vswitch import TIMEOUT_FACTOR
from integration.node.underlay.field import BRIDGE, DATAPATH, Agent, Field
from integration.node.underlay.test_drift import state
from ovnlet.core.errors import OvnletError


@pytest.fixture
async def moved(field: Field, agent: Agent) -> Agent:
    agent.put(defaultInterface="eth0", vlans=(10,))
    await agent.phase("settled")
    return agent


def restart_switch(field: Field) -> None:
    field.switch.kill("ovs-vswitchd")
    field.start_vswitchd()


def wipe_database(field: Field) -> None:
    for name in ("ovs-vswitchd", "ovsdb-server"):
        field.switch.kill(name)
    field.switch.socket.unlink(missing_ok=True)
    field.switch.recreate()
    field.start_switch()


def replace_nic(field: Field) -> None:
    """Another NIC of its name comes, down and with another MAC."""
    field.node.ip("link", "del", "eth0")
    field.lay_uplink()


OUTAGES: dict[str, Callable[[Field], None]] = {
    "ovs-vswitchd restarted": restart_switch,
    "conf.db wiped": wipe_database,
}
if DATAPATH == "system":  # in userspace Open vSwitch sends by the new NIC, and receives nothing
    OUTAGES["NIC replaced"] = replace_nic
# The bridge's link and its addresses outlast ovs-vswitchd: a tap of the userspace datapath is
# persistent (TUNSETPERSIST), and the kernel's datapath keeps its own.
OUTLASTED = {"ovs-vswitchd restarted"}


async def whole(field: Field, agent: Agent, expected: dict[str, object]) -> None:
    """Wait until a pass has made it so. Passes fail while Open vSwitch comes back."""
    async with asyncio.timeout(30 * TIMEOUT_FACTOR):
        while state(field) != expected:
            try:
                await agent.run()
            except (OvnletError, OSError):
                await asyncio.sleep(0.2)
    assert field.reaches()
    assert field.reaches("2001:db8::1")


@pytest.mark.parametrize("name", OUTAGES)
async def test_an_outage_is_repaired_and_had_to_be(field: Field, moved: Agent, name: str) -> None:
    """The control: before the passes, the node is seen not to be as it was."""
    expected = state(field)
    OUTAGES[name](field)
    assert (state(field) == expected) == (name in OUTLASTED), name
    await whole(field, moved, expected)
    moved.put()
    await moved.phase(None)
    assert not field.has_bridge


async def test_a_network_deleted_while_the_agent_is_away_gives_all_back(
    field: Field, agent: Agent
) -> None:
    before = field.of_link("eth0")
    agent.put(defaultInterface="eth0")
    await agent.phase("settled")
    await agent.stop()
    again = Agent(field)
    await again.start()
    await again.run()
    assert field.of_link(BRIDGE) == before, "it went back before the lists were known"
    again.put()
    await again.phase(None)
    assert field.of_link("eth0") == before
    assert not field.has_bridge
    await again.stop()
