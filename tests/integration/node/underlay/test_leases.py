"""A lease moves with its lifetime and is followed; what a client of DHCP does is done by hand."""

import asyncio
import re
import time

import pytest

from integration.node.ovs.vswitch import TIMEOUT_FACTOR
from integration.node.underlay.field import BRIDGE, Agent, Field
from ovnlet.core.resources import lifetimes

LEASED, ANOTHER = "192.0.2.60/24", "192.0.2.61/24"


def lease(field: Field, address: str, seconds: int, verb: str = "change") -> None:
    """Set an address as dhclient-script does, with the lifetime of its lease."""
    lifetime = f"valid_lft {seconds} preferred_lft {seconds}"
    field.node.ip(*f"address {verb} {address} brd + dev eth0 {lifetime} label eth0".split())


def left(field: Field, link: str, address: str = LEASED) -> int:
    """Return the seconds that an address is valid; -1 without it, or valid forever."""
    shown = field.node.ip("-o", "address", "show", "dev", link)
    found = re.search(rf"{re.escape(address)} .*valid_lft (\d+)sec", shown)
    return int(found[1]) if found else -1


@pytest.fixture
async def moved(field: Field, agent: Agent) -> Agent:
    """Return an agent that has moved a lease of 600 seconds."""
    lease(field, LEASED, 600, "add")
    field.before = field.of_link("eth0")
    agent.put(defaultInterface="eth0")
    await agent.phase("settled")
    return agent


async def test_a_lease_moves_with_its_lifetime_and_back(field: Field, moved: Agent) -> None:
    assert field.of_link(BRIDGE) == field.before
    assert not any(field.of_link("eth0").values())
    assert 500 < left(field, BRIDGE) <= 600
    moved.put()
    await moved.phase(None)
    assert field.of_link("eth0") == field.before
    assert 500 < left(field, "eth0") <= 600


async def test_what_a_client_renews_on_the_nic_is_carried_to_the_bridge(
    field: Field, moved: Agent
) -> None:
    """The control: before the pass the address is on the NIC, and the bridge's is the old one."""
    for seconds in (900, 300):
        lease(field, LEASED, seconds)
        assert left(field, "eth0") > seconds - 30
        assert abs(left(field, BRIDGE) - seconds) > 100
        await moved.run()
        assert not any(field.of_link("eth0").values())
        assert seconds - 30 < left(field, BRIDGE) <= seconds
        assert field.of_link(BRIDGE) == field.before
        assert field.reaches()
    done = moved.host.done
    await moved.run()
    assert moved.host.done == done, "somebody fights"
    assert moved.told.reasons() == ["UplinkMoved", "UplinkLeased"]


async def test_another_address_of_the_server_replaces_the_old_one(
    field: Field, moved: Agent
) -> None:
    lease(field, ANOTHER, 600, "add")
    await moved.run()
    assert left(field, BRIDGE, ANOTHER) > 500
    async with asyncio.timeout(20 * TIMEOUT_FACTOR):
        while LEASED in str(field.of_link(BRIDGE)["addresses"]):  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    await moved.run()
    assert LEASED not in str(field.of_link(BRIDGE)["addresses"]), "it came back"
    assert moved.told.reasons() == ["UplinkMoved", "UplinkLeased", "UplinkLeased"]
    assert field.reaches()


async def test_a_lease_that_nobody_renews_sends_everything_back_before_it_ends(
    field: Field, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a half of it instead of the last sixteenth, so that a slow machine finds it valid."""
    monkeypatch.setattr(lifetimes, "_LAST", 2)
    lease(field, LEASED, 60, "add")
    before, began = field.of_link("eth0"), time.monotonic()
    agent.put(defaultInterface="eth0")
    await agent.phase("settled")
    while time.monotonic() - began < 15:
        assert field.of_link(BRIDGE) == before, "it went back early"
        await asyncio.sleep(2)
    await agent.phase("held")
    assert field.of_link("eth0") == before
    assert not field.has_bridge
    reason, text = agent.told.events[-1]
    assert reason == "UplinkWentBack"
    assert f"the lease of {LEASED} was not renewed" in text
    assert text.endswith("tried again when the ProviderNetwork changes")


async def _after_its_end(field: Field, agent: Agent) -> Agent:
    """Stop the agent until the kernel has removed the lease; return the next agent."""
    await agent.stop()
    async with asyncio.timeout(90 * TIMEOUT_FACTOR):
        while left(field, BRIDGE) >= 0:  # noqa: ASYNC110
            await asyncio.sleep(0.5)
    again = Agent(field)
    await again.start()
    again.put(defaultInterface="eth0")
    await again.run()
    return again


async def test_a_lease_that_ended_without_an_agent_takes_nothing_else_with_it(
    field: Field, agent: Agent
) -> None:
    """The next agent gives back what is left: all that was static."""
    before = field.of_link("eth0")
    lease(field, LEASED, 40, "add")
    agent.put(defaultInterface="eth0")
    await agent.phase("settled")
    again = await _after_its_end(field, agent)
    assert field.of_link(BRIDGE) == before
    again.put()
    await again.phase(None)
    assert field.of_link("eth0") == before
    await again.stop()


async def test_a_client_that_fights_has_its_nic_again(field: Field, moved: Agent) -> None:
    for _ in range(5):
        lease(field, LEASED, 600)
        await moved.run()
    await moved.phase("held")
    assert field.of_link("eth0") == field.before
    assert not field.has_bridge
    reason, text = moved.told.events[-1]
    assert reason == "UplinkWentBack"
    assert f"sets {LEASED} on eth0 again each time" in text


async def test_the_only_address_with_its_gateway(field: Field, agent: Agent) -> None:
    """A node that has nothing but its lease: when that ends, no pass fails for its routes."""
    field.node.ip("-4", "address", "flush", "dev", "eth0")
    lease(field, LEASED, 40, "add")
    field.node.ip("route", "add", "default", "via", "192.0.2.1", "dev", "eth0")
    before = field.of_link("eth0")
    agent.put(defaultInterface="eth0")
    await agent.phase("settled")
    assert field.of_link(BRIDGE) == before
    assert field.reaches()
    again = await _after_its_end(field, agent)
    assert not any("192.0.2" in line for line in field.of_link(BRIDGE)["routes"])
    lease(field, LEASED, 600)
    field.node.ip("route", "add", "default", "via", "192.0.2.1", "dev", "eth0")
    await again.run()
    assert field.of_link(BRIDGE) == before
    assert field.reaches()
    await again.stop()
