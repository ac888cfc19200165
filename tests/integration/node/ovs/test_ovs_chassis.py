"""OVN's keys and the integration bridge in a wiped database.

A real ovn-controller, which creates a bridge too, runs beside the driver.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from integration.node.ovs.vswitch import Hints, PrivateSwitch, eventually, until
from kit.memory import Recorded
from ovnlet.core.chassis import ChassisIdentity
from ovnlet.core.errors import OvnletError
from ovnlet.core.resources import Bridge
from ovnlet.drivers.ovs.chassis import ChassisDriver
from ovnlet.drivers.ovs.ports import Ovs
from ovnlet.drivers.store.json_file import JsonFile
from ovnlet.reconcile.loop import Loop
from ovnlet.reconcile.outcome import Outcome
from ovnlet.reconcile.scope import Key
from ovnlet.reconcile.scopes.chassis import ChassisScope

REMOTE = "ovn-bridge-remote"
KEYS = {
    "system-id": "node-1",
    "ovn-remote": "unix:/nowhere",
    "ovn-encap-type": "geneve",
    "ovn-bridge-datapath-type": "netdev",
}


class Chassis:
    """The loop with the scope of the chassis alone."""

    def __init__(self, ovs: Ovs, path: Path, given: dict[str, str]) -> None:
        self.driver, self.loop = ChassisDriver(ovs), Loop()
        scope = ChassisScope(
            self.driver,
            JsonFile(path),
            Recorded("chassis"),
            identity=ChassisIdentity("br-int"),
            given=given,
            mode="manage",
        )
        self.loop.keep("chassis", scope)

    async def look(self) -> Outcome | None:
        """Run a pass through the queue; a failed one is repeated later."""
        with suppress(OvnletError):
            return await self.loop.queue.run(Key("chassis", "chassis"))
        return None

    @property
    def owes(self) -> bool:
        """Return whether ovn-controller has not been made to connect to a new bridge yet."""
        (bridge,) = [each for each in self.driver._seen() if isinstance(each, Bridge)]
        return not bridge.announced


@pytest.fixture
async def driver(server: PrivateSwitch, hints: Hints) -> AsyncIterator[Ovs]:
    """Yield a driver on a database without a bridge and without keys."""
    server.vsctl("del-br", "br-int")
    async for driver in hints.driver(server):
        yield driver


def _bridge_type(server: PrivateSwitch) -> str:
    return server.vsctl("--if-exists", "get", "Bridge", "br-int", "datapath_type").strip('"')


async def test_a_bridge_that_ovn_controller_made_without_its_keys_is_put_right(
    driver: Ovs, server: PrivateSwitch, tmp_path: Path
) -> None:
    """It has the kernel datapath and no socket; ovn-controller waits longer after each attempt."""
    server.start_controller()
    await until(lambda: driver.datapath_type == "system")
    server.start_vswitchd()
    chassis = Chassis(driver, tmp_path / "chassis.json", KEYS)
    await asyncio.gather(chassis.look(), chassis.look())  # one from the start, one from a change
    assert _bridge_type(server) == "netdev"
    assert not chassis.owes
    # One of the two calls wrote the remote; a second write would have used the other spelling.
    assert driver.chassis == {**KEYS, REMOTE: "unix:br-int.mgmt"}
    eventually(
        lambda: (
            "unix:br-int.mgmt: connected" in (server.directory / "ovn-controller.log").read_text()
        )
    )
    await chassis.look()

    server.vsctl("--", "del-br", "br-int", "--", "clear", "Open_vSwitch", ".", "external_ids")
    await until(lambda: driver.datapath_type != "netdev" and not driver.chassis)
    await chassis.look()
    # ovn-controller may keep the spelling from before the wipe; the same one would not trigger it.
    assert driver.chassis == {**KEYS, REMOTE: "unix:./br-int.mgmt"}
    eventually(
        lambda: (
            "unix:./br-int.mgmt: connected" in (server.directory / "ovn-controller.log").read_text()
        )
    )


async def test_a_foreign_bridge_remote_is_left_alone(
    driver: Ovs, server: PrivateSwitch, tmp_path: Path
) -> None:
    server.start_vswitchd()
    server.vsctl("set", "Open_vSwitch", ".", f"external_ids:{REMOTE}=tcp:127.0.0.1:6633")
    await until(lambda: REMOTE in driver.chassis)
    await Chassis(driver, tmp_path / "chassis.json", KEYS).look()
    assert driver.chassis == {**KEYS, REMOTE: "tcp:127.0.0.1:6633"}


async def test_a_bridge_of_another_type_is_not_remembered_against_ovns_key(
    driver: Ovs, server: PrivateSwitch, tmp_path: Path
) -> None:
    """A restarted agent, which recorded the keys before, finds a wiped database."""
    await driver.ensure_chassis(KEYS, "netdev")
    await Chassis(driver, tmp_path / "chassis.json", {}).look()
    server.vsctl(
        "--",
        "clear",
        "Open_vSwitch",
        ".",
        "external_ids",
        "--",
        "set",
        "Bridge",
        "br-int",
        "datapath_type=system",
    )
    await until(lambda: driver.datapath_type == "system" and not driver.chassis)
    chassis = Chassis(driver, tmp_path / "chassis.json", {})
    await chassis.look()
    assert driver.chassis == KEYS
    assert _bridge_type(server) == "netdev"
    # Without an ovs-vswitchd the call cannot be made yet; it stays due until one answers.
    assert chassis.owes
    server.start_vswitchd()
    await chassis.look()
    assert not chassis.owes
