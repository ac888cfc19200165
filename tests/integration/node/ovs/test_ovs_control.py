"""The health of the daemons, read from their control sockets."""

import asyncio
import signal
import time
from pathlib import Path

import pytest

from integration.node.ovs.vswitch import PrivateSwitch
from ovnlet.core.errors import NotReady
from ovnlet.drivers.ovsdb.jsonrpc import Refused
from ovnlet.drivers.ovsdb.unixctl import call, control_socket, part_health


@pytest.fixture
def ovn(server: PrivateSwitch) -> PrivateSwitch:
    """Start ovs-vswitchd, and an ovn-controller on an empty southbound database."""
    remote = f"external_ids:ovn-remote=unix:{server.socket}"
    keys = (
        "external_ids:system-id=c1",
        "external_ids:ovn-encap-type=geneve",
        "external_ids:ovn-encap-ip=127.0.0.1",
    )
    server.vsctl("set", "Bridge", "br-int", "datapath_type=netdev")
    server.start_vswitchd()
    server.vsctl("set", "Open_vSwitch", ".", remote, *keys)
    server.start_controller()
    return server


async def until_health(ovn: PrivateSwitch, complaints: list[str]) -> None:
    async with asyncio.timeout(20):
        while await part_health(ovn.directory, ovn.directory) != complaints:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_the_health_of_each_daemon_is_reported(ovn: PrivateSwitch) -> None:
    here = ovn.directory
    vswitchd = control_socket(here, "ovs-vswitchd")
    assert "Open vSwitch" in await call(vswitchd, "version")
    with pytest.raises(Refused, match="not a valid command"):
        await call(vswitchd, "no-such-command")

    await until_health(ovn, [])
    ovn.vsctl("set", "Open_vSwitch", ".", f"external_ids:ovn-remote=unix:{here}/nowhere.sock")
    await until_health(ovn, ["ovn-controller: southbound database not connected"])

    ovn.signal("ovs-vswitchd", signal.SIGSTOP)
    ovn.kill("ovn-controller")
    begun = time.monotonic()
    hangs, gone = await part_health(here, here)
    assert "ovs-vswitchd" in hangs
    assert "did not answer version for 1 s" in hangs
    assert gone.startswith("ovn-controller: ")
    assert time.monotonic() - begun < 1.5
    ovn.signal("ovs-vswitchd", signal.SIGCONT)
    (vswitchd.parent / "ovs-vswitchd.pid").unlink()
    assert control_socket(here, "ovs-vswitchd") == vswitchd


async def test_without_daemons_each_is_reported(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="neither"):
        control_socket(tmp_path, "ovs-vswitchd")
    (tmp_path / "ovs-vswitchd.pid").write_text("12\n")
    with pytest.raises(NotReady, match="No such file"):
        await call(control_socket(tmp_path, "ovs-vswitchd"), "version")
    assert len(await part_health(tmp_path, tmp_path)) == 2
