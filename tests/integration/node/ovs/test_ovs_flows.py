"""OVN's flows in a real bridge, by a real ovn-controller: lost, noticed and installed again."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from integration.node.ovs.ovn_chassis import Chassis
from integration.node.ovs.vswitch import (
    Hints,
    PrivateSwitch,
    desired_port,
    ensure,
    remove,
    until,
)
from kit.memory import Recorded
from ovnlet.core.chassis import FlowsIdentity
from ovnlet.core.identity import Attachment
from ovnlet.core.plan import diff
from ovnlet.drivers.ovs.forwarding import TABLES, FlowsDriver, Forwarding
from ovnlet.drivers.ovs.ports import Ovs
from ovnlet.drivers.ovsdb import unixctl
from ovnlet.reconcile.loop import Loop
from ovnlet.reconcile.owners import OwnerIndex
from ovnlet.reconcile.scopes.flows import FlowsScope

pytestmark = pytest.mark.review2
LOSSES = {
    "all": ("del-flows", "br-int"),
    "the first table": ("del-flows", "br-int", "table=0"),
    "the last table": ("del-flows", "br-int", "table=65"),
}


@pytest.fixture
async def ovs(server: PrivateSwitch, hints: Hints) -> AsyncIterator[Ovs]:
    async for driver in hints.driver(server):
        yield driver


class Agent:
    """The loop with the scope of flows, and the looks of a second."""

    def __init__(self, chassis: Chassis, installed: Callable[[], int]) -> None:
        self.loop, self.status = Loop(), Recorded("flows")
        self.owners = OwnerIndex(self.loop.queue.hint)
        here = chassis.switch.directory
        self.forwarding = Forwarding(
            "br-int",
            here,
            here,
            installed=installed,
            lost=lambda: self.owners.notify(("flows", "br-int")),
            settling=1.0,
        )
        scope = FlowsScope(
            FlowsDriver(self.forwarding),
            FlowsIdentity("br-int"),
            self.loop.passes("flows"),
            self.status,
            owners=self.owners,
        )
        self.loop.keep("flows", scope)

    @property
    def repairs(self) -> list[str]:
        return [str(step) for outcome in self.status.outcomes for step in outcome.steps]


@asynccontextmanager
async def running(chassis: Chassis, ovs: Ovs) -> AsyncIterator[Agent]:
    agent = Agent(chassis, lambda: ovs.installed_ports)
    looks = asyncio.create_task(agent.forwarding.run())
    yield agent
    looks.cancel()
    with suppress(asyncio.CancelledError):
        await looks
    await agent.loop.queue.close()


@pytest.mark.parametrize("loss", LOSSES)
async def test_flows_that_somebody_deletes_are_back_within_seconds_f1(
    chassis: Chassis, ovs: Ovs, loss: str
) -> None:
    async with running(chassis, ovs) as agent:
        chassis.ofctl(*LOSSES[loss])
        assert not chassis.complete()
        await until(chassis.complete, within=10)
        await until(lambda: agent.repairs)
        (event,) = agent.status.events
        assert event[:2] == ("Warning", "NetworkRepaired")
        await asyncio.sleep(4)
        assert len(agent.repairs) == 1


@pytest.mark.parametrize("table", TABLES)
async def test_a_new_port_does_not_hide_that_the_flows_of_the_others_are_gone_f1(
    chassis: Chassis, ovs: Ovs, table: int
) -> None:
    """ovn-controller adds the flows of the new port to the table, which is not empty then."""
    async with running(chassis, ovs) as agent:
        await until(lambda: ovs.is_installed("lp1"))
        before = chassis.count(table)
        chassis.ofctl("del-flows", "br-int", f"table={table}")
        chassis.add("lp2")
        chassis.wait_installed("lp2")
        assert 0 < chassis.count(table) <= before
        await until(lambda: chassis.count(table) > before, within=10)
        await until(lambda: agent.repairs)


async def test_a_stale_mark_of_a_port_costs_one_reconnect_only_f1(
    chassis: Chassis, ovs: Ovs
) -> None:
    """Nobody has a logical port of this name, so OVN never has flows for it."""
    async with running(chassis, ovs) as agent:
        chassis.add("ghost")
        chassis.switch.vsctl("set", "Interface", "ghost", "external_ids:ovn-installed=true")
        if chassis.count(TABLES[1]) > 1:
            chassis.ofctl("del-flows", "br-int", f"table={TABLES[1]}")
        await until(lambda: len(agent.repairs) == 1, within=20)
        await asyncio.sleep(6)
        assert len(agent.repairs) == 1
        chassis.ofctl("del-flows", "br-int")
        await until(lambda: len(agent.repairs) > 1, within=20)
        await until(chassis.complete)


async def test_flows_that_go_with_the_fail_mode_are_back_within_seconds_f1(
    chassis: Chassis, ovs: Ovs
) -> None:
    """ovs-vswitchd then puts a flow of its own into the first table: only the last one is empty."""
    async with running(chassis, ovs) as agent:
        chassis.switch.vsctl("set", "Bridge", "br-int", "fail_mode=standalone")
        await until(lambda: not chassis.complete())
        await until(chassis.complete, within=10)
        await until(lambda: agent.repairs)


async def test_without_the_remedy_they_stay_away_whatever_is_computed_f1(chassis: Chassis) -> None:
    """The control: so it was before, for good."""
    chassis.ofctl("del-flows", "br-int")
    controller = unixctl.control_socket(chassis.switch.directory, "ovn-controller")
    await unixctl.call(controller, "inc-engine/recompute")
    await asyncio.sleep(6)
    assert not chassis.complete()


async def test_an_ovn_controller_that_is_away_or_starting_is_no_loss_f1(
    chassis: Chassis, ovs: Ovs
) -> None:
    async with running(chassis, ovs) as agent:
        chassis.switch.kill("ovn-controller")
        chassis.ofctl("del-flows", "br-int")
        await asyncio.sleep(5)
        assert not agent.forwarding.incomplete
        chassis.switch.start_controller()
        await until(chassis.complete, within=10)
        await asyncio.sleep(2)
        assert not agent.repairs


async def test_a_bridge_without_an_installed_port_needs_no_flows_f1(chassis: Chassis) -> None:
    agent = Agent(chassis, lambda: 0)
    chassis.ofctl("del-flows", "br-int")
    for _ in range(4):
        await agent.forwarding.look()
        await asyncio.sleep(1)
    assert not agent.forwarding.incomplete


async def test_a_bridge_that_is_not_there_is_no_loss_f1(tmp_path: Path) -> None:
    forwarding = Forwarding("br-int", tmp_path, tmp_path, installed=lambda: 1)
    await forwarding.look()
    assert not forwarding.incomplete


@pytest.mark.parametrize("flag", ["no-forward", "no-receive", "no-packet-in"])
async def test_a_port_flag_that_stops_traffic_is_seen_and_cleared_f4(
    switch: PrivateSwitch, attachment: Attachment, flag: str
) -> None:
    hints: list[str] = []
    here = switch.directory
    forwarding = Forwarding("br-int", here, here, installed=lambda: 0, blocked=hints.append)
    ovs = Ovs(str(switch.socket), "br-int", forwarding=forwarding)
    ovs.start()
    await ovs.ready()
    port = desired_port(attachment)
    switch.ip("link", "add", port.name, "type", "veth", "peer", "name", f"{port.name}p")
    await ovs.writer.apply(ensure(port))
    await ovs.plugged(port.name)
    chassis = Chassis(switch)
    chassis.ofctl("mod-port", "br-int", port.name, flag)
    await forwarding.look()
    assert hints == [port.name]
    (step,) = diff(frozenset({port}), ovs.observe(attachment, frozenset({port})))
    assert str(step) == f"~ Port br-int {port.name}: blocked {flag} -> none"
    await ovs.writer.apply([step])
    assert not diff(frozenset({port}), ovs.observe(attachment, frozenset({port})))
    assert flag.upper().replace("RECEIVE", "RECV").replace("-", "_").replace(
        "FORWARD", "FWD"
    ) not in (chassis.ofctl("dump-ports-desc", "br-int"))
    await ovs.writer.apply(remove(port))
    await ovs.close()
