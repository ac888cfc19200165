"""Who has a pod's address already: real kernels answer, in the VLANs of a real Open vSwitch."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_interface
from pathlib import Path

import pytest

from integration.node.ovs.vswitch import PrivateSwitch, until
from integration.node.spaces import MAC, Bed, Space, network
from integration.node.underlay.field import DATAPATH
from ovnlet.core.errors import NodeFault, UnknownSandbox
from ovnlet.drivers.links.duplicates import other_holder
from ovnlet.drivers.linux.announcements import frame

V4, V6 = "10.16.0.5/16", "fd00::5/64"
OTHER = "02:00:00:00:00:99"
WANTED = network(V4, V6)
VLAN, ANOTHER = 10, 20


@dataclass
class Wire:
    """A pod in a VLAN of a bridge, and a machine beside it."""

    bed: Bed
    switch: PrivateSwitch
    machine: Space

    async def start(self) -> None:
        self.switch.start_server()
        bridge = ("br-int", "--", "set", "bridge", "br-int", f"datapath_type={DATAPATH}")
        self.switch.vsctl("add-br", *bridge)
        self.switch.start_vswitchd("nsenter", f"--net={self.bed.node.path}")
        await self.bed.converge(WANTED)
        words = f"link add m0 type veth peer name eth0 netns {self.machine.name}"
        self.bed.node.ip(*words.split())
        self.bed.node.ip("link", "set", "m0", "up")
        self.machine.ip("link", "set", "eth0", "address", OTHER, "up")
        await self.join(self.bed.host, VLAN)
        await self.join("m0", VLAN)

    async def join(self, link: str, tag: int) -> None:
        """Put a link into a VLAN, and wait until the bridge has it there."""
        self.switch.vsctl("--if-exists", "del-port", link)
        await until(lambda: link not in self._ports())
        self.switch.vsctl("add-port", "br-int", link, f"tag={tag}")
        await until(lambda: link in self._ports())

    def _ports(self) -> str:
        """Return the ports of the bridge as ovs-vswitchd has them."""
        words = ("--bare", "--columns=name", "find", "Interface", "ofport>0")
        return self.switch.vsctl(*words)

    def has(self, *addresses: str) -> None:
        """Give the machine these addresses, and no others."""
        for each in ("-4", "-6"):
            self.machine.ip(each, "address", "flush", "dev", "eth0", "scope", "global")
        for each in addresses:
            self.machine.ip("address", "add", each, "dev", "eth0", "nodad")

    @asynccontextmanager
    async def announced(self, data: bytes) -> AsyncIterator[None]:
        """Let the machine send a frame ten times a second."""
        with self.machine.inside():
            link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            link.bind(("eth0", 0))

        async def send() -> None:
            while True:
                link.send(data)
                await asyncio.sleep(0.1)

        sending = asyncio.create_task(send())
        try:
            yield
        finally:
            sending.cancel()
            link.close()

    async def asked(self) -> tuple[str, str] | None:
        """Return what the check of an ADD finds."""
        return await other_holder(self.bed.attachment, WANTED)


@pytest.fixture
async def wire(bed: Bed, tmp_path: Path) -> AsyncIterator[Wire]:
    made = Wire(bed, PrivateSwitch(tmp_path), bed.another("machine"))
    try:
        await made.start()
        yield made
    finally:
        made.switch.stop()


@pytest.mark.parametrize("address", [V4, V6])
async def test_another_machine_that_has_the_address_is_found(wire: Wire, address: str) -> None:
    """The control: while it has another address nobody is found."""
    wire.has("10.16.0.6/16", "fd00::6/64")
    assert await wire.asked() is None
    wire.has(address)
    assert await wire.asked() == (address.partition("/")[0], OTHER)


async def test_a_machine_of_another_vlan_is_none(wire: Wire) -> None:
    wire.has(V4)
    await wire.join("m0", ANOTHER)
    assert await wire.asked() is None
    await wire.join("m0", VLAN)
    assert await wire.asked() == ("10.16.0.5", OTHER)


@pytest.mark.parametrize("address", [V4, V6])
async def test_an_announcement_by_the_own_mac_is_none(wire: Wire, address: str) -> None:
    """kube-ovn#2659: what OVN announces itself comes back from a switch. The control: another MAC.

    So announces another launcher of the same virtual machine too.
    """
    ip = ip_interface(address).ip
    async with wire.announced(frame(MAC, ip)):
        assert await wire.asked() is None
    async with wire.announced(frame(OTHER, ip)):
        assert await wire.asked() == (str(ip), OTHER)


async def test_nobody_believes_a_probe(wire: Wire) -> None:
    """The machine had another MAC for the address, and still has it."""
    wire.has("10.16.0.6/16", "fd00::6/64")
    believed = "02:00:00:00:00:77"
    for each in (V4, V6):
        words = ("lladdr", believed, "dev", "eth0", "nud", "stale")
        wire.machine.ip("neighbour", "replace", each.partition("/")[0], *words)
    assert await wire.asked() is None
    rows = wire.machine.json("neighbour", "show", "dev", "eth0")
    found = {row["dst"]: row.get("lladdr") for row in rows}
    assert [found["10.16.0.5"], found["fd00::5"]] == [believed, believed]


async def test_no_descriptor_is_left_and_a_lost_link_is_an_error(wire: Wire) -> None:
    wire.has(V4)
    await wire.asked()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        await wire.asked()
    wire.bed.pod.ip("link", "set", "eth0", "down")
    with pytest.raises(NodeFault, match="ENETDOWN"):
        await wire.asked()
    wire.bed.pod.delete()
    with pytest.raises(UnknownSandbox):
        await wire.asked()
    assert len(os.listdir("/proc/self/fd")) == before
