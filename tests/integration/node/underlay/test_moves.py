"""The move of a node's uplink into a bridge and back, on real namespaces and a real OVS."""

import asyncio
from itertools import count

from integration.node.ovs.vswitch import TIMEOUT_FACTOR
from integration.node.underlay.field import BRIDGE, DATAPATH, Agent, Field

# Every step; on an emulated processor some, except where the datapath is what is tried.
STRIDE = 1 if TIMEOUT_FACTOR == 1 or DATAPATH == "system" else 8


async def test_a_move_takes_everything_to_the_bridge_and_back(field: Field, agent: Agent) -> None:
    before = field.of_link("eth0")
    assert all(before.values()), before
    field.node.set("ipv4/conf/eth0/rp_filter", "2")
    agent.put(defaultInterface="eth0", vlans=(10, 20))
    await agent.phase("settled")
    assert field.of_link(BRIDGE) == before
    assert not any(field.of_link("eth0").values())
    assert field.in_bridge
    assert field.node.setting(f"ipv4/conf/{BRIDGE}/rp_filter") == "2"
    assert field.switch.vsctl("get", "Port", "eth0", "trunks") == "[0, 10, 20]"
    assert field.ids("ovn-bridge-mappings") == f"net1:{BRIDGE}"
    assert field.ids("ovn-chassis-mac-mappings").startswith("net1:02:")
    labels = dict(agent.told.labels)
    assert labels == {
        "net1.provider-network.kubernetes.io/ready": "true",
        "net1.provider-network.kubernetes.io/interface": "eth0",
        "net1.provider-network.kubernetes.io/mtu": "1500",
    }
    assert field.reaches()
    assert field.reaches("2001:db8::1")
    assert agent.told.reasons() == ["UplinkMoved", "UplinkLeased"]
    commits = field.switch.commits()
    await agent.run()
    assert field.switch.commits() == commits, "a second pass wrote something"
    agent.put()
    await agent.phase(None)
    assert field.of_link("eth0") == before
    assert not field.has_bridge
    assert field.ids("ovn-bridge-mappings") == ""
    assert field.reaches()
    assert field.reaches("2001:db8::1")


async def test_the_bridge_has_the_mtu_of_its_nic_and_the_label_follows(
    field: Field, agent: Agent
) -> None:
    """The control: a bridge without its NIC has 1500, as the NIC had."""
    for mtu in ("1400", "1300"):
        field.node.ip("link", "set", "eth0", "mtu", mtu)
        agent.put(defaultInterface="eth0")
        await agent.phase("settled")
        async with asyncio.timeout(20 * TIMEOUT_FACTOR):
            while str(field.node.link(BRIDGE)["mtu"]) != mtu:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await agent.run()
        assert dict(agent.told.labels)["net1.provider-network.kubernetes.io/mtu"] == mtu
        assert field.reaches()


async def ends(agent: Agent, phase: str | None) -> bool:
    """Return whether the agent died; False once the record has the phase."""
    reached = asyncio.create_task(agent.phase(phase))
    died = asyncio.create_task(agent.host.dead.wait())
    done, rest = await asyncio.wait({reached, died}, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    for task in done:
        task.result()
    return died in done


async def restarted(field: Field) -> None:
    """Restart the agent where the API server cannot be asked, until its record says `held`."""
    agent = Agent(field)
    await agent.start()
    await agent.phase("held")
    await agent.stop()


async def test_killed_after_any_step_of_a_move_the_node_has_its_nic_again(field: Field) -> None:
    before = field.of_link("eth0")
    for steps in count(0, STRIDE):
        agent = Agent(field, die_after=steps)
        await agent.start()
        agent.put(defaultInterface="eth0")
        died = await ends(agent, "settled")
        await agent.stop()
        if not died:
            break
        await restarted(field)
        assert field.of_link("eth0") == before, f"after {steps} steps"
        assert not field.has_bridge, f"after {steps} steps"
    assert steps > 35
    assert field.of_link(BRIDGE) == before


async def test_killed_after_any_step_of_the_way_back_it_goes_on(field: Field) -> None:
    before = field.of_link("eth0")
    for steps in count(0, STRIDE):
        agent = Agent(field)
        await agent.start()
        agent.put(defaultInterface="eth0")
        await agent.phase("settled")
        assert field.of_link(BRIDGE) == before
        agent.host.steps = agent.host.done + steps
        agent.put()
        died = await ends(agent, None)
        await agent.stop()
        if not died:
            break
        await restarted(field)
        assert field.of_link("eth0") == before, f"after {steps} steps"
        assert not field.has_bridge, f"after {steps} steps"
    assert steps > 35
    assert field.of_link("eth0") == before


async def test_a_restart_leaves_a_settled_move_as_it_is(field: Field, agent: Agent) -> None:
    before = field.of_link("eth0")
    agent.put(defaultInterface="eth0")
    await agent.phase("settled")
    await agent.stop()
    again = Agent(field, die_after=0)  # not one step is to be done
    await again.start()
    await again.run()
    assert field.of_link(BRIDGE) == before
    again.put(defaultInterface="eth0")
    await again.run()
    assert (again.record.phase if again.record else None) == "settled"
    await again.stop()


async def test_a_wrong_vlan_sends_everything_back_in_time(field: Field) -> None:
    before, timeout = field.of_link("eth0"), 4.0
    agent = Agent(field, timeout=timeout)
    await agent.start()
    began = asyncio.get_running_loop().time()
    agent.host.joined = field.change_vlan
    agent.put(defaultInterface="eth0")
    await agent.phase("held")
    took = asyncio.get_running_loop().time() - began
    assert timeout - 1 < took < (timeout + 5) * TIMEOUT_FACTOR
    assert field.of_link("eth0") == before
    assert not field.has_bridge
    ((reason, text),) = agent.told.events
    assert reason == "UplinkWentBack"
    assert "gateway 192.0.2.1 does not answer within" in text
    assert text.endswith("tried again when the ProviderNetwork changes")
    done = agent.host.done
    agent.put(defaultInterface="eth0")
    await asyncio.sleep(6)  # longer than the scope waits between two looks
    assert agent.host.done == done, "it was touched afterwards"
    await agent.stop()


async def test_killed_amid_a_way_back_it_ends_there_and_is_not_tried_again(field: Field) -> None:
    """The next agent knows from the record why it went back, without an API server."""
    before = field.of_link("eth0")
    agent = Agent(field, timeout=3.0)
    await agent.start()
    agent.host.joined = field.change_vlan
    agent.put(defaultInterface="eth0")
    async with asyncio.timeout(20 * TIMEOUT_FACTOR):
        while field.of_link("eth0")["addresses"]:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    agent.host.steps = agent.host.done + 5
    async with asyncio.timeout(20 * TIMEOUT_FACTOR):
        await agent.host.dead.wait()
    await agent.stop()
    assert field.of_link("eth0") != before, "it was whole before the next agent"
    again = Agent(field)
    await again.start()
    again.put(defaultInterface="eth0")
    await again.phase("held")
    assert field.of_link("eth0") == before
    assert again.record is not None
    assert (again.record.again, again.told.reasons()) == (False, ["UplinkWentBack"])
    assert "does not answer within" in again.told.events[0][1]
    await again.stop()


async def test_an_api_server_that_vanishes_sends_it_back_until_it_answers(field: Field) -> None:
    before = field.of_link("eth0")
    agent = Agent(field, timeout=3.0)
    await agent.start()
    agent.host.joined = field.stop_api
    agent.put(defaultInterface="eth0")
    await agent.phase("held")
    assert field.of_link("eth0") == before
    assert agent.told.reasons()[0] == "UplinkWentBack"
    assert agent.told.events[0][1].endswith("tried again when the API server answers")
    field.serve_api()
    await agent.phase("settled")
    assert field.of_link(BRIDGE) == before
    await agent.stop()


async def test_a_bridge_of_kube_ovn_cni_is_taken_over_as_it_is(field: Field) -> None:
    """Its addresses are on the bridge already, and no record says that they were the NIC's."""
    before = field.of_link("eth0")
    first = Agent(field)
    await first.start()
    first.put(defaultInterface="eth0")
    await first.phase("settled")
    await first.stop()
    for path in field.journal.iterdir():
        path.unlink()
    field.switch.vsctl("remove", "Bridge", BRIDGE, "external_ids", "ovnlet-provider-network")
    mac = field.ids("ovn-chassis-mac-mappings")
    agent = Agent(field)
    await agent.start()
    agent.put(defaultInterface="eth0")
    await agent.phase("settled")
    assert field.of_link(BRIDGE) == before
    assert field.ids("ovn-chassis-mac-mappings") == mac
    assert agent.record is not None
    assert "gateway 192.0.2.1" in agent.record.checks
    assert agent.host.done <= 2, "more was done than to mark the bridge"
    agent.put()
    await agent.phase(None)
    assert field.of_link("eth0") == before
    assert not field.has_bridge
    await agent.stop()
