"""A NIC whose addresses and routes come from a router's advertisements, which dnsmasq sends."""

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from integration.node.ovs.vswitch import TIMEOUT_FACTOR
from integration.node.underlay.field import BRIDGE, Agent, Field
from kit import dhcp

PREFIX = "2001:db8:5:"
# Seconds between two advertisements, by dnsmasq's parameter.
INTERVAL = 4


def ends(field: Field, link: str) -> list[int]:
    """Return the seconds that the prefix' address and the router's route are left on a link."""
    shown = field.node.ip("-6", "-o", "address", "show", "dev", link)
    routes = field.node.ip("-6", "route", "show", "default", "dev", link)
    addresses = re.findall(rf"inet6 {PREFIX}.*valid_lft (\d+)sec", shown)
    return [int(each) for each in (*addresses, *re.findall(r"proto ra.*expires (\d+)sec", routes))]


def is_tentative(field: Field) -> bool:
    """Return whether the kernel still looks for duplicates; routes follow after that."""
    return bool(field.node.ip("-6", "address", "show", "dev", "eth0", "tentative"))


async def refreshed(field: Field, link: str) -> None:
    """Wait until an advertisement has prolonged both on a link."""
    before = ends(field, link)
    async with asyncio.timeout(60 * TIMEOUT_FACTOR):
        while not (len(now := ends(field, link)) == 2 and all(map(int.__gt__, now, before))):
            before = list(map(min, before, now)) if len(now) == len(before) else now
            await asyncio.sleep(0.5)


@pytest.fixture
async def advertised(field: Field, tmp_path: Path) -> AsyncIterator[Field]:
    """Yield a node that has taken an address and a default route from advertisements."""
    field.router.ip("address", "add", f"{PREFIX}:1/64", "dev", "up0", "nodad")
    words = dhcp.server(
        "up0", "192.0.2.100,192.0.2.150", "192.0.2.1", tmp_path, prefix=f"{PREFIX}:"
    )
    command = ["ip", "netns", "exec", field.router.name, *words]
    log = (tmp_path / "dnsmasq.log").open("w")
    server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        async with asyncio.timeout(60 * TIMEOUT_FACTOR):
            while len(ends(field, "eth0")) != 2 or is_tentative(field):  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        field.before = field.of_link("eth0")
        yield field
    finally:
        server.terminate()
        server.wait(timeout=20)
        log.close()


async def test_they_move_with_their_lifetimes_and_the_bridge_goes_on(
    advertised: Field, agent: Agent
) -> None:
    """The control: on a bridge that takes none, nothing is prolonged."""
    field = advertised
    agent.put(defaultInterface="eth0")
    await agent.phase("settled")
    assert field.of_link(BRIDGE) == field.before
    assert not any(field.of_link("eth0").values())
    settings = [field.node.setting(f"ipv6/conf/{link}/accept_ra") for link in ("eth0", BRIDGE)]
    assert settings == ["0", "1"]
    await refreshed(field, BRIDGE)
    await agent.run()
    assert field.of_link(BRIDGE) == field.before
    assert not any(field.of_link("eth0").values())
    field.node.set(f"ipv6/conf/{BRIDGE}/accept_ra", "0")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3 * INTERVAL * TIMEOUT_FACTOR):
            await refreshed(field, BRIDGE)
    await agent.run()
    await refreshed(field, BRIDGE)
    agent.put()
    await agent.phase(None)
    assert field.of_link("eth0") == field.before
    assert field.node.setting("ipv6/conf/eth0/accept_ra") == "1"
    await refreshed(field, "eth0")


@pytest.mark.parametrize(
    ("setting", "value"), [("accept_ra", "0"), ("forwarding", "1"), ("addr_gen_mode", "3")]
)
async def test_what_a_bridge_would_not_keep_is_refused(
    advertised: Field, agent: Agent, setting: str, value: str
) -> None:
    """With accept_ra off, as systemd-networkd has it, nobody would do it on the bridge."""
    advertised.node.set(f"ipv6/conf/eth0/{setting}", value)
    advertised.before = advertised.of_link("eth0")
    agent.put(defaultInterface="eth0")
    async with asyncio.timeout(20 * TIMEOUT_FACTOR):
        while not agent.told.events:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    ((reason, text),) = agent.told.events
    assert (reason, "accept_ra is off" in text) == ("UplinkNotMoved", True)
    assert advertised.of_link("eth0") == advertised.before
    assert agent.record is None


async def test_killed_amid_a_move_the_nic_takes_them_again(advertised: Field) -> None:
    """Its setting is in the record: the next agent needs nothing else."""
    field = advertised
    for steps in (3, 12, 30):
        agent = Agent(field, die_after=steps)
        await agent.start()
        agent.put(defaultInterface="eth0")
        await asyncio.wait_for(agent.host.dead.wait(), 30 * TIMEOUT_FACTOR)
        assert field.node.setting("ipv6/conf/eth0/accept_ra") == "0", "the control"
        await agent.stop()
        again = Agent(field)
        await again.start()
        await again.phase("held")
        await again.stop()
        assert field.of_link("eth0") == field.before, f"after {steps} steps"
        assert field.node.setting("ipv6/conf/eth0/accept_ra") == "1"
        await refreshed(field, "eth0")
