"""Leases on the clock: followed, given back before they end, and no fight with a client."""

import asyncio
from dataclasses import replace
from socket import AF_INET, AF_INET6

import pytest

from kit.uplinks import ADDRESS, INTENT, Agent, Disk, Nic
from ovnlet.core.resources import LinkEntry
from ovnlet.core.resources.lifetimes import FOREVER, Lifetime
from ovnlet.core.underlay.leases import outdated, refreshed
from ovnlet.core.underlay.record import Found, Record, from_json, to_json

pytestmark = pytest.mark.looptime
V4, V6 = bytes([AF_INET]), bytes([AF_INET6])
STATIC = replace(ADDRESS, message=V4)
ROUTE = LinkEntry("eth0", "route", "default via 192.0.2.1", V4, 1500)


def leased(now: float, seconds: float, text: str = "192.0.2.20/24") -> LinkEntry:
    return LinkEntry(
        "eth0", "address", text, V4, lifetime=Lifetime(now + seconds, now + seconds, now)
    )


async def settled() -> tuple[Agent, Nic]:
    """Return an agent that has moved the address of its NIC, which is leased for 600 s."""
    nic = Nic(address=leased(asyncio.get_running_loop().time(), 600))
    nic.present = {nic.address}
    agent = Agent(nic, Disk())
    agent.put(INTENT)
    await agent.until("settled")
    return agent, nic


def renew(agent: Agent, nic: Nic, seconds: float) -> None:
    """Set the address on the NIC again, as a client does, and hint the agent."""
    nic.present.add(leased(asyncio.get_running_loop().time(), seconds))
    agent.scope._passes.add("net1")


def on_bridge(nic: Nic) -> LinkEntry:
    (found,) = [each for each in nic.present if isinstance(each, LinkEntry)]
    assert found.link == "br-net1"
    return found


async def test_renewals_are_carried_to_the_bridge_for_ever() -> None:
    agent, nic = await settled()
    for _ in range(20):
        await asyncio.sleep(300)
        renew(agent, nic, 600)
        await asyncio.sleep(1)
        lifetime = on_bridge(nic).lifetime
        assert lifetime is not None
        assert lifetime.valid == pytest.approx(asyncio.get_running_loop().time() + 599, abs=1)
    assert agent.phase == "settled"
    assert [reason for reason, _ in agent.events] == ["UplinkMoved", "UplinkLeased"]


async def test_nothing_is_touched_while_a_client_may_still_set_its_routes() -> None:
    """A pass amid it takes a route that is about to be replaced for a lost one."""
    agent, nic = await settled()
    for _ in range(3):
        await asyncio.sleep(300)
        steps = nic.steps
        renew(agent, nic, 600)
        for _ in range(3):
            await asyncio.sleep(0.05)
            agent.scope._passes.add("net1")
        assert nic.steps == steps
        await asyncio.sleep(0.1)
        assert nic.steps > steps
        assert on_bridge(nic).lifetime


async def test_a_renewal_is_carried_where_drift_is_only_reported() -> None:
    """The control: an address without a lifetime stays on the NIC then."""
    agent, nic = await settled()
    agent.scope._repair = "report"
    await asyncio.sleep(300)
    renew(agent, nic, 600)
    await asyncio.sleep(1)
    assert on_bridge(nic).lifetime
    nic.present.add(STATIC)
    agent.scope._passes.add("net1")
    await asyncio.sleep(1)
    assert STATIC in nic.present


async def test_it_goes_back_once_before_the_lease_ends() -> None:
    agent, nic = await settled()
    began = asyncio.get_running_loop().time()
    await asyncio.sleep(500)
    assert agent.phase == "settled", "it went back while a client could still renew"
    await agent.until("held")
    assert asyncio.get_running_loop().time() - began < 580
    assert nic.has_address == "eth0"
    reason, text = agent.events[-1]
    assert (reason, "was not renewed" in text) == ("UplinkWentBack", True)
    steps = nic.steps
    await asyncio.sleep(600)
    assert (nic.steps, agent.phase) == (steps, "held")


async def test_an_address_that_another_one_replaces_is_not_waited_for() -> None:
    agent, nic = await settled()
    await asyncio.sleep(300)
    nic.present.add(leased(asyncio.get_running_loop().time(), 600, "192.0.2.21/24"))
    agent.scope._passes.add("net1")
    await asyncio.sleep(400)
    assert agent.phase == "settled"


async def test_a_client_that_fights_wins_soon() -> None:
    agent, nic = await settled()
    for _ in range(5):
        renew(agent, nic, 600)
        await asyncio.sleep(2)
    await agent.until("held")
    assert nic.has_address == "eth0"
    assert "again each time" in agent.events[-1][1]
    renew(agent, nic, 600)
    steps = nic.steps
    await asyncio.sleep(100)
    assert nic.steps == steps, "the fight goes on"


async def test_passes_that_fail_are_no_fight() -> None:
    """After a reboot the address is on the NIC, and Open vSwitch may come late."""
    agent, nic = await settled()
    renew(agent, nic, 600)
    nic.present = {each for each in nic.present if getattr(each, "link", "eth0") == "eth0"}
    nic.refuses = True
    for _ in range(10):
        agent.scope._passes.add("net1")
        await asyncio.sleep(4)
    assert agent.phase == "settled"
    nic.refuses = False
    await asyncio.sleep(120)
    assert on_bridge(nic).lifetime


async def test_renewals_by_hand_now_and_then_are_no_fight() -> None:
    agent, nic = await settled()
    for _ in range(12):
        renew(agent, nic, 600)
        await asyncio.sleep(20)
    assert agent.phase == "settled"


async def test_a_restarted_agent_goes_back_where_the_lease_is_over() -> None:
    """It needs no API server for that; what the record has is given back as far as it is valid."""
    now = asyncio.get_running_loop().time()
    over = replace(leased(now, 600), lifetime=Lifetime(now + 5, now + 5, now - 595))
    disk = Disk({"net1": Record(INTENT, Found((STATIC, over), "m", "", "n"), "settled")})
    nic = Nic({replace(each, link="br-net1") for each in (STATIC, over)})
    agent = Agent(nic, disk)
    agent.scope._passes.add("net1")
    await asyncio.sleep(4)
    assert {each.link for each in nic.present if isinstance(each, LinkEntry)} == {"eth0"}


def test_what_is_known_after_a_look() -> None:
    known = (STATIC, leased(0, 600), ROUTE)
    same = replace(leased(0, 600), lifetime=Lifetime(598.5, 601, 5))
    assert refreshed(known, [same], [], 5) is not None
    assert refreshed(known, [same], [], 5) == known, "a second more or less is no news"
    renewed = leased(300, 600)
    assert refreshed(known, [renewed], [], 300)[1].lifetime == renewed.lifetime
    by_router = refreshed(known, [], [replace(renewed, link="br-net1")], 300)
    assert by_router[1].lifetime == renewed.lifetime
    assert refreshed(known, [replace(renewed, lifetime=None)], [], 300)[1].lifetime is None
    permanent = [replace(STATIC, lifetime=Lifetime(9, 9, 0))]
    assert refreshed(known, [], permanent, 5) == known, "drift of the bridge became the wish"


def test_another_address_ends_the_old_one() -> None:
    known = (STATIC, leased(0, 600))
    new = leased(300, 600, "192.0.2.21/24")
    found = refreshed(known, [new], [], 300)
    assert [each.text for each in found] == [STATIC.text, "192.0.2.20/24", new.text]
    assert found[1].lifetime is not None
    assert found[1].lifetime.valid == 302
    assert refreshed(found, [], [], 302) == (STATIC, new)


def test_a_route_that_another_one_has_replaced_is_not_known_any_more() -> None:
    """A client replaces it: then the bridge has lost it, and the NIC has one in its place."""
    other = replace(ROUTE, text="default via 192.0.2.9 metric 50")
    known = (STATIC, ROUTE, other)
    bridge = [replace(each, link="br-net1") for each in (STATIC, other)]
    new = replace(ROUTE, text="default via 192.0.2.3")
    assert refreshed(known, [new], bridge, 0) == (STATIC, other, new)
    assert refreshed(known, [], bridge, 0) == known, "drift became the wish"
    assert refreshed(known, [other], bridge, 0) == known, "it replaced nothing"
    elsewhere = replace(new, text="default via 192.0.2.3 table 100")
    assert refreshed(known, [elsewhere], bridge, 0) == (*known, elsewhere)
    of_service = replace(new, message=V4 + bytes([0, 0, 16]))
    assert refreshed(known, [of_service], bridge, 0) == (*known, of_service)


def test_a_route_that_is_appended_leaves_the_others() -> None:
    known = (STATIC, ROUTE)
    bridge = [replace(each, link="br-net1") for each in known]
    new = replace(ROUTE, text="default via 192.0.2.3")
    assert refreshed(known, [new], bridge, 0) == (*known, new)


def test_a_route_of_a_lease_whose_client_appends_another_is_not_known_any_more() -> None:
    """systemd-networkd appends the new gateway, and deletes the old one by the NIC's name."""
    dhcp = V4 + bytes([0, 0, 0, 254, 16, 0, 1])
    first, second, third = (
        LinkEntry("eth0", "route", f"default via 192.0.2.{each} metric 1024", dhcp, 1500)
        for each in (1, 2, 3)
    )
    by_hand = replace(first, message=V4 + bytes([0, 0, 0, 254, 3, 0, 1]))
    elsewhere = replace(first, text="default via 192.0.2.1 metric 50")
    bridge = [replace(each, link="br-net1") for each in (STATIC, first)]
    assert refreshed((STATIC, first), [second], bridge, 0) == (STATIC, second)
    assert list(outdated([second], bridge)) == [bridge[1]]
    both = (STATIC, first, second)
    assert refreshed((STATIC, first), [first, second], bridge, 0) == both, "it has two"
    assert refreshed(both, [third, first], bridge, 0) == (STATIC, first, third)
    assert list(outdated([first, second], bridge)) == []
    for other in (by_hand, elsewhere):
        there = [replace(each, link="br-net1") for each in (STATIC, other)]
        assert refreshed((STATIC, other), [second], there, 0) == (STATIC, other, second)
        assert list(outdated([second], there)) == []


def test_a_route_of_a_router_is_never_known() -> None:
    """A copy of it would keep the kernel from reading any further advertisement."""
    message = V6 + bytes([0, 0, 0, 254, 9, 0, 1])
    route = LinkEntry("eth0", "route", "default6 via fe80::1", message, 1500)
    assert route.is_of_router
    assert refreshed((STATIC,), [route], [], 0) == (STATIC,)
    assert not replace(route, message=V4 + message[1:]).is_of_router


def test_the_last_address_takes_its_routes_with_it() -> None:
    address6 = replace(ADDRESS, text="2001:db8::10/64", message=V6)
    route6 = replace(ROUTE, text="default6 via fe80::1", message=V6)
    known = (leased(0, 600), address6, ROUTE, route6)
    assert refreshed(known, [], [], 600) == (address6, route6)
    assert refreshed((STATIC, *known), [], [], 600) == (STATIC, address6, ROUTE, route6)
    assert refreshed((address6, ROUTE), [], [], 600) == (address6, ROUTE)


def test_a_lifetime_is_on_the_disk_as_it_was() -> None:
    record = Record(INTENT, Found((leased(100.5, 600), ROUTE), "m", "", "n"), "settled")
    again = from_json(to_json(record))
    assert again == record
    assert again.found.entries[0].lifetime is not None
    assert again.found.entries[0].lifetime.seen == 100.5
    old = to_json(record)
    for each in old["found"]["entries"]:
        del each["lifetime"]
    assert [each.lifetime for each in from_json(old).found.entries] == [None, None]


@pytest.mark.parametrize(
    ("left", "expected"), [(0.2, (1, 1)), (600, (600, 600)), (FOREVER + 1.0, (FOREVER, FOREVER))]
)
def test_the_kernel_gets_what_is_left(left: float, expected: tuple[int, int]) -> None:
    assert Lifetime(1000 + left, 1000 + left).left(1000)[1] == expected[1]
    assert Lifetime(0, 1000 + left).left(1000) == (0, expected[1])
