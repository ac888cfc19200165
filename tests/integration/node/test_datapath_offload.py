"""Checksum offload of a pod's real link while a foreign tool changes the bridge's datapath."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from ipaddress import IPv4Interface
from pathlib import Path

import pytest_asyncio

from integration.node.ovs.vswitch import Hints, PrivateSwitch, until
from integration.node.spaces import MAC, Bed
from kit.memory import Recorded
from ovnlet.core import desired
from ovnlet.core.allocation import Allocation
from ovnlet.core.chassis import ChassisIdentity
from ovnlet.core.resources import Port
from ovnlet.drivers.linux.ethtool import set_tx_checksum, tx_checksum
from ovnlet.drivers.linux.transport import Socket
from ovnlet.drivers.node_state import NodeState
from ovnlet.drivers.ovs.chassis import ChassisDriver
from ovnlet.drivers.ovs.ports import Ovs
from ovnlet.drivers.store.json_file import JsonFile
from ovnlet.reconcile.loop import Loop
from ovnlet.reconcile.scope import Key
from ovnlet.reconcile.scopes.chassis import ChassisScope

TYPE = "ovn-bridge-datapath-type"
ROOT = ("Open_vSwitch", ".")
POD = Allocation((IPv4Interface("10.16.0.5/16"),), MAC, "s", (), default_route=False)


@dataclass
class Node:
    """An OVSDB whose bridge is to be in the kernel, the scope that repairs it, and a pod."""

    bed: Bed
    switch: PrivateSwitch
    ovs: Ovs
    path: Path

    def __post_init__(self) -> None:
        self.loop = Loop()
        self.scope = ChassisScope(
            ChassisDriver(self.ovs),
            JsonFile(self.path),
            Recorded("chassis"),
            identity=ChassisIdentity("br-int"),
            given={},
            mode="manage",
        )
        self.loop.keep("chassis", self.scope)
        self.state = NodeState(self.ovs, 1400)

    async def look(self) -> None:
        """Compare the chassis, and repair it."""
        await self.loop.queue.run(Key("chassis", "chassis"))

    async def attach(self) -> bool:
        """Bring the pod's links to what the node's facts ask for; return whether offload is on."""
        wanted = desired.network(self.bed.attachment, POD, self.state.facts)
        await self.bed.converge(frozenset(e for e in wanted if not isinstance(e, Port)))
        with self.bed.pod.inside(), Socket() as pod:
            return tx_checksum(pod, "eth0")

    async def break_(self) -> None:
        """Put the bridge into userspace, and remove the key by which ovn-controller undoes that."""
        change = ("set", "Bridge", "br-int", "datapath_type=netdev")
        self.switch.vsctl("remove", *ROOT, "external_ids", TYPE, "--", *change)
        await until(lambda: self.ovs.datapath_type == "netdev" and TYPE not in self.ovs.chassis)


@pytest_asyncio.fixture
async def node(bed: Bed, tmp_path: Path) -> AsyncIterator[Node]:
    switch = PrivateSwitch(tmp_path)
    try:
        switch.start_server()
        switch.vsctl("add-br", "br-int", "--", "set", "Bridge", "br-int", "datapath_type=system")
        switch.vsctl("set", *ROOT, f"external_ids:{TYPE}=system", "external_ids:system-id=n0")
        switch.start_vswitchd()
        async for ovs in Hints().driver(switch):
            yield Node(bed, switch, ovs, tmp_path / "chassis.json")
    finally:
        switch.stop()


async def test_a_bridge_in_userspace_for_a_moment_leaves_offload_on(node: Node) -> None:
    """While the change is not repaired, and once it is, also for a pod that is looked at only then.

    Nothing would switch it on again: others switch it off on purpose.
    """
    node.state.userspace = node.scope.userspace
    await node.look()
    assert await node.attach()
    await node.break_()
    assert await node.attach(), "looked at before the bridge is repaired"
    await node.look()
    await until(lambda: node.ovs.datapath_type == "system")
    assert await node.attach()


async def test_one_that_is_not_repaired_switches_it_off(node: Node) -> None:
    """The control: links that follow the bridge as it is, of which nobody restores the type."""
    await node.look()
    assert await node.attach()
    await node.break_()
    assert not await node.attach()


async def test_offload_that_somebody_else_switched_off_stays_off(node: Node) -> None:
    """KubeVirt does so in a launcher, and users do against faulty checksums."""
    node.state.userspace = node.scope.userspace
    assert await node.attach()
    with node.bed.pod.inside(), Socket() as pod:
        set_tx_checksum(pod, "eth0", on=False)
    assert not await node.attach()
