"""Moves of uplinks by the clock: what is proved in time stays, all else goes back."""

import asyncio
from dataclasses import replace

import pytest

from kit.uplinks import ADDRESS, API, GATEWAY, INTENT, Agent, Disk, Nic
from ovnlet.core.underlay.record import Found, Record

pytestmark = pytest.mark.looptime
MOVED, BACK = "UplinkMoved", "UplinkWentBack"


@pytest.fixture
def nic() -> Nic:
    return Nic()


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
async def agent(nic: Nic, disk: Disk) -> Agent:
    return Agent(nic, disk)


async def test_nothing_is_moved_that_nothing_names(agent: Agent, nic: Nic) -> None:
    agent.put()
    await asyncio.sleep(120)
    assert (nic.steps, agent.phase, agent.events) == (0, "none", [])
    assert not agent.scope.active.is_set()


async def test_a_move_is_settled_once_all_answer(agent: Agent, nic: Nic) -> None:
    agent.put(INTENT)
    assert await agent.until("settled") < 1
    assert nic.has_address == "br-net1"
    assert agent.events == [(MOVED, "eth0 and its addresses are in the bridge br-net1")]
    await asyncio.sleep(0.1)
    assert dict(agent.labels)["net1.provider-network.kubernetes.io/mtu"] == "9000"
    steps = nic.steps
    await asyncio.sleep(120)
    assert nic.steps == steps, "it went back, or something was done again"


async def test_an_answer_within_the_time_settles_it(agent: Agent, nic: Nic) -> None:
    nic.silent_by = {("br-net1", GATEWAY)}
    agent.put(INTENT)
    await agent.until("moving")
    await asyncio.sleep(29)
    nic.silent_by.clear()
    await agent.until("settled")
    assert nic.has_address == "br-net1"


async def test_a_gateway_that_stays_silent_sends_it_back_for_good(agent: Agent, nic: Nic) -> None:
    nic.silent_by = {("br-net1", GATEWAY)}
    agent.put(INTENT)
    assert 30 <= await agent.until("held") < 35
    assert nic.has_address == "eth0"
    assert agent.events == [
        (
            BACK,
            f"{GATEWAY} does not answer within 30 s: everything is on eth0 again; "
            "tried again when the ProviderNetwork changes",
        )
    ]
    nic.silent_by.clear()
    steps = nic.steps
    agent.put(INTENT)
    await asyncio.sleep(600)
    assert nic.steps == steps, "it was tried again although the object is the same"
    agent.put(replace(INTENT, version="u/2"))
    await agent.until("settled")


async def test_an_api_server_that_is_away_by_itself_is_waited_for(agent: Agent, nic: Nic) -> None:
    nic.silent_by = {("br-net1", API)}
    agent.put(INTENT)
    await agent.until("moving")
    nic.silent_by.add(("eth0", API))
    assert 30 <= await agent.until("held") < 40
    (text,) = [text for reason, text in agent.events if reason == BACK]
    assert text.endswith("tried again when the API server answers")
    await asyncio.sleep(300)
    assert agent.phase == "held", "it was moved while the API server was away"
    nic.silent_by.clear()
    assert await agent.until("settled") < 10


async def test_an_api_server_that_only_the_move_cuts_off_is_not_tried_again(
    agent: Agent, nic: Nic
) -> None:
    nic.silent_by = {("br-net1", API)}
    agent.put(INTENT)
    await agent.until("held")
    assert agent.events[-1][1].endswith("tried again when the ProviderNetwork changes")


async def test_a_node_that_refuses_a_step_goes_back_at_once(agent: Agent, nic: Nic) -> None:
    nic.refuses = True
    agent.put(INTENT)
    assert await agent.until("held") < 5
    assert nic.has_address == "eth0"
    assert "the kernel refuses" in agent.events[-1][1]


async def test_the_timer_runs_while_passes_fail(agent: Agent, nic: Nic, disk: Disk) -> None:
    """OVSDB stops answering after the record was made: the way back is decided without it."""
    nic.hangs_soon = True
    agent.put(INTENT)
    await agent.until("moving")
    assert await agent.until("returning") <= 30.1
    await asyncio.sleep(100)
    assert agent.phase == "returning"
    nic.hangs = nic.hangs_soon = False
    await agent.until("held")
    assert nic.has_address == "eth0"


async def test_no_move_begins_while_the_api_server_is_silent(agent: Agent, nic: Nic) -> None:
    nic.silent_by = {("eth0", API)}
    agent.put(INTENT)
    await asyncio.sleep(60)
    assert (nic.steps, agent.phase) == (0, "none")
    assert [reason for reason, _ in agent.events] == ["UplinkNotMoved"]
    nic.silent_by.clear()
    await agent.until("settled")


async def test_no_step_is_done_without_a_record(agent: Agent, nic: Nic, disk: Disk) -> None:
    disk.full = True
    agent.put(INTENT)
    await asyncio.sleep(60)
    assert nic.steps == 0
    disk.full = False
    await agent.until("settled")


async def test_a_disk_that_fills_up_does_not_stop_the_way_back(
    agent: Agent, nic: Nic, disk: Disk
) -> None:
    nic.silent_by = {("br-net1", GATEWAY)}
    agent.put(INTENT)
    await agent.until("moving")
    await asyncio.sleep(1)
    disk.full = True
    await asyncio.sleep(40)
    assert nic.has_address == "eth0"


async def test_a_restart_finishes_the_way_back_without_the_api_server(nic: Nic, disk: Disk) -> None:
    found = Found((ADDRESS,), "02:00:00:00:00:01", "", "02:00:00:00:00:02")
    disk.records["net1"] = Record(INTENT, found, "moving", (GATEWAY, API))
    nic.present = {replace(ADDRESS, link="br-net1")}
    agent = Agent(nic, disk)  # nothing is put: the API server cannot be asked
    assert await agent.until("held") < 5
    assert nic.has_address == "eth0"
    agent.put(INTENT)
    await agent.until("settled")


async def test_a_network_that_goes_gives_everything_back(agent: Agent, nic: Nic) -> None:
    agent.put(INTENT)
    await agent.until("settled")
    agent.put()
    await agent.until("none")
    assert nic.has_address == "eth0"
    assert [reason for reason, _ in agent.events] == [MOVED, "UplinkReturned"]
    await asyncio.sleep(0.1)
    assert not agent.labels


async def test_a_network_that_went_while_the_agent_was_away(nic: Nic, disk: Disk) -> None:
    found = Found((ADDRESS,), "02:00:00:00:00:01", "", "02:00:00:00:00:02")
    disk.records["net1"] = Record(INTENT, found, "settled", (GATEWAY, API))
    nic.present = {replace(ADDRESS, link="br-net1")}
    agent = Agent(nic, disk)
    await asyncio.sleep(60)
    assert nic.has_address == "br-net1", "it went back although no list was seen"
    agent.put()
    await agent.until("none")
    assert nic.has_address == "eth0"


async def test_an_edit_that_is_refused_changes_nothing(agent: Agent, nic: Nic) -> None:
    agent.put(INTENT)
    await agent.until("settled")
    steps = nic.steps
    agent.put(refused="exchangeLinkName is not supported")
    await asyncio.sleep(60)
    assert (nic.steps, agent.phase) == (steps, "settled")
    assert agent.events[-1] == ("UplinkNotMoved", "exchangeLinkName is not supported")


async def test_an_unsafe_nic_is_reported_once_and_left_alone(agent: Agent, nic: Nic) -> None:
    nic.unsafe = "there is no interface eth0 on this node"
    agent.put(INTENT)
    await asyncio.sleep(60)
    assert agent.events == [("UplinkNotMoved", nic.unsafe)]
    assert nic.steps == 0


async def test_two_networks_are_moved_one_after_the_other(agent: Agent, nic: Nic) -> None:
    second = replace(INTENT, network="net2", nic="eth1", bridge="br-net2")
    nic.silent_by = {("br-net1", GATEWAY)}
    agent.put(INTENT, second)
    await asyncio.sleep(25)
    assert set(agent.disk.records) == {"net1"}
    nic.silent_by.clear()
    await agent.until("settled")
    await asyncio.sleep(1)
    assert {each.phase for each in agent.disk.records.values()} == {"settled"}
    assert set(agent.disk.records) == {"net1", "net2"}


async def test_new_vlans_are_set_in_place(agent: Agent, nic: Nic) -> None:
    agent.put(INTENT)
    await agent.until("settled")
    agent.put(replace(INTENT, trunks=(0, 10)))
    await asyncio.sleep(1)
    assert any(getattr(each, "trunks", ()) == (0, 10) for each in nic.present)
    assert agent.phase == "settled"
