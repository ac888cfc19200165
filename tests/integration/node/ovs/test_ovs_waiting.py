"""Waits for ovs-vswitchd to plug a port, and for ovn-controller to install it."""

import asyncio

import pytest

from integration.node.ovs.vswitch import (
    TIMEOUT_FACTOR,
    PrivateSwitch,
    desired_port,
    ensure,
    eventually,
    remove,
    settled,
)
from ovnlet.core.errors import NodeFault
from ovnlet.core.identity import Attachment
from ovnlet.drivers.ovs.ports import Ovs


async def test_the_row_goes_before_its_device_and_gets_its_ofport_later(
    ovs: Ovs, switch: PrivateSwitch, attachment: Attachment
) -> None:
    port = desired_port(attachment)
    await ovs.writer.apply(ensure(port))
    plugged = asyncio.create_task(ovs.plugged(port.name))
    await asyncio.to_thread(
        eventually, lambda: switch.vsctl("get", "Interface", port.name, "ofport") == "-1"
    )
    await settled(ovs)
    row = ovs._index.interface(port.name)
    assert row is not None
    assert row["ofport"] == -1
    assert "No such device" in row["error"]
    assert not plugged.done()
    switch.ip("link", "add", port.name, "type", "veth", "peer", "name", f"{port.name[:10]}_c")
    async with asyncio.timeout(5 * TIMEOUT_FACTOR):
        await plugged
        await ovs.plugged(port.name)  # returns at once when plugged already
    row = ovs._index.interface(port.name)
    assert row is not None
    assert row["ofport"] == int(switch.vsctl("get", "Interface", port.name, "ofport")) > 0
    assert row["error"] is None

    # A row recreated for the same link in one transaction: vswitchd plugs the new row.
    before = switch.vsctl("get", "Interface", port.name, "_uuid")
    await ovs.writer.apply([*remove(port), *ensure(port)])
    async with asyncio.timeout(5 * TIMEOUT_FACTOR):
        await ovs.plugged(port.name)
    assert switch.vsctl("get", "Interface", port.name, "_uuid") != before
    switch.ip("link", "del", port.name)
    await ovs.writer.apply(remove(port))


async def test_a_device_that_cannot_be_opened_is_a_fault_of_the_node(
    ovs: Ovs, switch: PrivateSwitch, attachment: Attachment
) -> None:
    port = desired_port(attachment)
    switch.ip("link", "add", port.name, "type", "veth", "peer", "name", f"{port.name[:10]}_c")
    await ovs.writer.apply(ensure(port))
    switch.vsctl("set", "Interface", port.name, "type=no-such-type")
    async with asyncio.timeout(5 * TIMEOUT_FACTOR):
        with pytest.raises(NodeFault, match="could not open network device"):
            await until_error(ovs, port.name)
    switch.ip("link", "del", port.name)
    await ovs.writer.apply(remove(port))


async def until_error(ovs: Ovs, name: str) -> None:
    """Call ``plugged`` until it raises.

    ovs-vswitchd may plug the valid type before it sees the invalid one.
    """
    while True:
        await ovs.plugged(name)
        await asyncio.sleep(0.01)


async def test_installed_is_awaited_on_the_row(
    ovs: Ovs, switch: PrivateSwitch, attachment: Attachment
) -> None:
    port = desired_port(attachment)
    waiting = asyncio.create_task(ovs.installed(port.name))  # before there is a row at all
    await ovs.writer.apply(ensure(port))
    switch.vsctl("set", "Interface", port.name, "external_ids:ovn-installed=false")
    await settled(ovs)
    await asyncio.sleep(0)
    assert not waiting.done()
    assert not ovs.is_installed(port.name)
    switch.vsctl("set", "Interface", port.name, "external_ids:ovn-installed=true")
    async with asyncio.timeout(10):
        await waiting
        await ovs.installed(port.name)
    assert ovs.is_installed(port.name)
    await ovs.writer.apply(remove(port))
    late = asyncio.create_task(ovs.installed(port.name))
    await asyncio.sleep(0)
    late.cancel()
    with pytest.raises(asyncio.CancelledError):
        await late
    assert not ovs._waits._waiting
