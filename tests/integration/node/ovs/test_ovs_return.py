"""ovs-vswitchd is back after a crash: a real ovn-controller installs its flows at once."""

import asyncio
import re
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from integration.node.ovs.ovn_chassis import Chassis
from integration.node.ovs.vswitch import Hints, PrivateSwitch, until
from kit.memory import Recorded
from ovnlet.core.chassis import ChassisIdentity
from ovnlet.drivers.ovs.chassis import ChassisDriver
from ovnlet.drivers.ovs.forwarding import RESTORING, Forwarding
from ovnlet.drivers.ovs.ports import Ovs
from ovnlet.drivers.store.json_file import JsonFile
from ovnlet.reconcile.loop import Loop
from ovnlet.reconcile.scopes.chassis import ChassisScope

pytestmark = pytest.mark.review2
REMOTE = "ovn-bridge-remote"


@pytest.fixture
async def ovs(server: PrivateSwitch, hints: Hints) -> AsyncIterator[Ovs]:
    async for driver in hints.driver(server):
        yield driver


@asynccontextmanager
async def _managing(chassis: Chassis, ovs: Ovs, path: Path) -> AsyncIterator[Callable[[], None]]:
    """Run the scope of the chassis; give what the agent calls when ovs-vswitchd is back."""
    driver, loop = ChassisDriver(ovs), Loop()
    identity = ChassisIdentity("br-int")
    inputs, status = JsonFile(path / "chassis.json"), Recorded("chassis")
    scope = ChassisScope(driver, inputs, status, identity=identity, given={}, mode="manage")
    loop.keep("chassis", scope)

    def returned() -> None:
        driver.unannounce()
        loop.passes("chassis").add(scope.only)

    yield returned
    await loop.queue.close()


async def _crash(chassis: Chassis) -> None:
    """Kill ovs-vswitchd, and start it once ovn-controller has begun to wait for 8 s."""
    switch = chassis.switch
    switch.kill("ovs-vswitchd")
    log = switch.directory / "ovn-controller.log"
    began = len(log.read_text())
    # What rconn says as its wait grows to the longest.
    waiting = re.compile(r"\|rconn\|.*suppressing further logging")
    await until(lambda: waiting.search(log.read_text()[began:]), within=30)
    switch.start_vswitchd()


def _has_flows(chassis: Chassis) -> bool:
    """Return whether the bridge is there and has OVN's flows."""
    try:
        return chassis.complete()
    except subprocess.CalledProcessError:
        return False


async def test_after_a_crash_of_vswitchd_ovn_controller_connects_at_once_k10(
    chassis: Chassis, ovs: Ovs, tmp_path: Path
) -> None:
    """K10: by itself it waits for up to 8 s while the node forwards nothing."""
    here, calls = chassis.switch.directory, list[float]()
    async with _managing(chassis, ovs, tmp_path) as returned:

        def called() -> None:
            calls.append(time.monotonic())
            returned()

        forwarding = Forwarding(
            "br-int", here, here, installed=lambda: ovs.installed_ports, returned=called
        )
        looks = asyncio.create_task(forwarding.run())
        await until(lambda: ovs.is_installed("lp1"))
        assert REMOTE not in ovs.chassis
        await _crash(chassis)
        began = time.monotonic()
        await until(lambda: _has_flows(chassis))
        print(f"flows {time.monotonic() - began:.2f} s after ovs-vswitchd's first answer")
        await until(lambda: REMOTE in ovs.chassis)
        await asyncio.sleep(1.5)
        # One call: the other spelling would be there after a second one.
        assert (ovs.chassis[REMOTE], len(calls)) == ("unix:br-int.mgmt", 1)
        assert chassis.complete()
        looks.cancel()
        with suppress(asyncio.CancelledError):
            await looks


async def test_flows_that_are_restored_need_no_call_k10(chassis: Chassis) -> None:
    """Whoever restarts ovs-vswitchd may restore its flows, so a call waits for that."""
    socket = chassis.switch.directory / "br-int.mgmt"
    away, calls = socket.with_suffix(".away"), list[int]()
    forwarding = Forwarding(
        "br-int", *[socket.parent] * 2, installed=lambda: 1, returned=lambda: calls.append(1)
    )
    chassis.switch.kill("ovn-controller")
    saved = chassis.ofctl("dump-flows", "br-int", "--no-stats")
    (socket.parent / "flows").write_text(saved)
    for restored in (True, False):
        chassis.ofctl("del-flows", "br-int")
        socket.rename(away)
        await forwarding.look()
        away.rename(socket)
        await forwarding.look()
        if restored:
            chassis.ofctl("replace-flows", "br-int", str(socket.parent / "flows"))
        await asyncio.sleep(RESTORING)
        await forwarding.look()
        await forwarding.look()
        assert len(calls) == (0 if restored else 1)
