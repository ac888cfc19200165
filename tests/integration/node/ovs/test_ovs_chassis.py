"""OVN's keys and the integration bridge in a wiped database, beside a real ovn-controller that makes a bridge too."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from integration.node.ovs.vswitch import Hints, PrivateSwitch, eventually, until
from ovnlet.drivers.ovs.chassis import Chassis
from ovnlet.drivers.ovs.ports import Ovs

REMOTE = "ovn-bridge-remote"
KEYS = {
    "system-id": "node-1",
    "ovn-remote": "unix:/nowhere",
    "ovn-encap-type": "geneve",
    "ovn-encap-ip": "192.0.2.1",
    "ovn-bridge-datapath-type": "netdev",
}


@pytest.fixture
async def driver(server: PrivateSwitch, hints: Hints) -> AsyncIterator[Ovs]:
    """On a database without a bridge and without keys."""
    server.vsctl("del-br", "br-int")
    async for driver in hints.listening(server):
        yield driver


def _bridge_type(server: PrivateSwitch) -> str:
    return server.vsctl("--if-exists", "get", "Bridge", "br-int", "datapath_type").strip('"')


async def test_a_bridge_that_ovn_controller_made_without_its_keys_is_put_right(
    driver: Ovs, server: PrivateSwitch, tmp_path: Path
) -> None:
    """It is of the kernel's datapath, and its socket is not there: ovn-controller waits longer after each try."""
    server.start_controller()
    await until(lambda: driver.datapath_type == "system")
    server.start_vswitchd()
    chassis = Chassis(driver, tmp_path / "chassis.json", KEYS, "manage")
    await asyncio.gather(chassis.look(), chassis.look())  # the start's and a change's
    assert _bridge_type(server) == "netdev"
    assert not chassis.owes
    # Spelled anew by one of the two looks: by both, it would be spelled in yet other words.
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
    # ovn-controller may hold on to the words of before the wipe: the same ones would tell it nothing.
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
    await Chassis(driver, tmp_path / "chassis.json", KEYS, "manage").look()
    assert driver.chassis == {**KEYS, REMOTE: "tcp:127.0.0.1:6633"}


async def test_a_bridge_of_another_type_is_not_remembered_against_ovns_key(
    driver: Ovs, server: PrivateSwitch, tmp_path: Path
) -> None:
    """A restarted agent, that saw the keys before, comes upon a wiped database."""
    await driver.ensure_chassis(KEYS, "netdev")
    await Chassis(driver, tmp_path / "chassis.json", {}, "manage").look()
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
    chassis = Chassis(driver, tmp_path / "chassis.json", {}, "manage")
    await chassis.look()
    assert driver.chassis == KEYS
    assert _bridge_type(server) == "netdev"
    # Without an ovs-vswitchd nobody can be told yet; the debt stays until one answers.
    assert chassis.owes
    server.start_vswitchd()
    await chassis.look()
    assert not chassis.owes
