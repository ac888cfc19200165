"""A node that boots has its bridge in conf.db and no addresses on it.

Open vSwitch starts as the package's units and the agent's drop-in have it, by the packaged
`ovs-ctl`. There is no systemd here: `kit.units` composes what it would run.
"""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from integration.node.ovs.vswitch import eventually
from integration.node.underlay.field import BRIDGE, DATAPATH, Agent, Field
from integration.node.underlay.test_drift import state
from integration.node.underlay.test_outages import whole
from kit.units import Unit
from ovnlet.drivers.ovs.boot_unit import NAME, BootUnit

DAEMONS = {"ovsdb-server.service": "ovsdb-server", "ovs-vswitchd.service": "ovs-vswitchd"}
FOREIGN = "foreign0"
# What takes the NIC out of its bridge before ovs-vswitchd starts. Kube-OVN's image does so for
# bridges of its vendor label that have no link (dist/images/start-ovs.sh).
_VENDORS = "ovs-vsctl --no-wait --bare --columns=name find bridge external-ids:vendor=kube-ovn"
WAYS = {
    "drop-in": [],
    "Kube-OVN's image": [
        *("sh", "-euc"),
        f"for b in $({_VENDORS}); do ip link show $b || ovs-vsctl --no-wait del-br $b; done",
    ],
    "delete-transient-ports": [
        *("/usr/share/openvswitch/scripts/ovs-ctl", "delete-transient-ports")
    ],
    "nothing": [],
}


class Host:
    """The node of a field as a host that can lose its power."""

    def __init__(self, field: Field, units: Path) -> None:
        self.field, self.units = field, units
        self._stubs = field.directory / "stubs"
        (field.directory / "openvswitch").mkdir()
        self._stubs.mkdir()
        if DATAPATH == "netdev":  # this machine's kernel may have no module for ovs-ctl to load
            (self._stubs / "modprobe").write_text("#!/bin/sh\n")
            (self._stubs / "modprobe").chmod(0o755)

    def cut_power(self) -> None:
        """End both daemons, and take all that the kernel had. The NIC comes back with its MAC."""
        node = self.field.node
        mac = node.link("eth0")["address"]
        for name in ("ovs-vswitchd", "ovsdb-server"):
            self.field.switch.kill(name)
        self.field.switch.socket.unlink(missing_ok=True)
        if DATAPATH == "system":
            self._run(["ovs-dpctl", "del-dp", "system@ovs-system"])
        for link in node.links():
            node.ip("link", "del", link)
        node.ip("rule", "del", "priority", "50")
        assert not node.links()
        self.field.lay_uplink()
        node.ip("link", "set", "eth0", "address", mac)

    def boot(self, words: list[str]) -> None:
        """Start Open vSwitch as the host does, and run these words before ovs-vswitchd."""
        self.start("ovsdb-server.service")
        assert not words or self._run(words) == 0
        self.start("ovs-vswitchd.service")
        eventually(lambda: set(self.bridges()) <= self.field.node.links(), 30)

    def bridges(self) -> list[str]:
        """Return the bridges by their rows."""
        return self.field.switch.vsctl("list-br").split()

    def start(self, name: str) -> None:
        """Start a service as its unit does."""
        unit = Unit.read(name, self.units)
        for command in unit.starts():
            code = self._run(command.words, unit.env)
            assert not code or command.may_fail, command

    def stop(self) -> None:
        """End what was started; it is no child of the test."""
        for name in DAEMONS.values():
            with suppress(FileNotFoundError, ProcessLookupError, ValueError):
                os.kill(int((self.field.directory / f"{name}.pid").read_text()), signal.SIGKILL)

    def _run(self, words: list[str], env: dict[str, str] | None = None) -> int:
        places = {f"OVS_{kind}DIR": str(self.field.directory) for kind in ("RUN", "LOG", "DB")}
        places["OVS_SYSCONFDIR"] = str(self.field.directory)
        path = f"{self._stubs}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        inside = ["ip", "netns", "exec", self.field.node.name, *words]
        with (self.field.directory / "boot.log").open("a") as log:
            given = {"PATH": path, **(env or {}), **places}
            done = subprocess.run(inside, env=given, stdout=log, stderr=log, check=False)
        return done.returncode


@pytest.fixture
async def moved(field: Field, agent: Agent) -> Agent:
    agent.put(defaultInterface="eth0", vlans=(10,))
    await agent.phase("settled")
    return agent


@pytest.fixture
def host(field: Field, tmp_path: Path) -> Iterator[Host]:
    made = Host(field, tmp_path / "units")
    yield made
    made.stop()


async def restarted(field: Field, expected: dict[str, object]) -> None:
    """Start an agent that cannot ask its API server; all is on the bridge again."""
    field.stop_api()
    again = Agent(field)
    await again.start()
    await whole(field, again, expected)
    assert again.record is not None
    assert again.record.phase == "settled"
    await again.stop()


@pytest.mark.parametrize("way", WAYS)
async def test_the_node_is_reached_before_there_is_an_agent(
    field: Field, moved: Agent, host: Host, way: str
) -> None:
    """The control: with nothing of it the NIC is in its bridge before it has addresses.

    On the kernel's datapath the node is cut off then; in userspace a NIC keeps answering.
    """
    if way == "drop-in":
        assert BootUnit(str(host.units)).write()
    expected = state(field)
    internal = ("set", "interface", FOREIGN, "type=internal")
    field.switch.vsctl("add-port", BRIDGE, FOREIGN, "--", *internal)
    await moved.stop()
    host.cut_power()
    host.boot(WAYS[way])
    field.configure()
    assert field.in_bridge is (way == "nothing")
    if BRIDGE in host.bridges():
        assert FOREIGN in field.switch.vsctl("list-ports", BRIDGE).split()
    if way != "nothing":
        eventually(field.reaches, 30)
    elif DATAPATH == "system":
        assert not field.reaches()
    await restarted(field, expected)


async def test_addresses_that_are_nowhere_are_put_on_the_bridge_without_an_api_server(
    field: Field, moved: Agent, host: Host
) -> None:
    """The host configures nothing, for it found its NIC enslaved. The record has all of it."""
    expected = state(field)
    await moved.stop()
    host.cut_power()
    host.boot([])
    assert field.in_bridge
    assert not field.of_link(BRIDGE)["addresses"]
    assert not field.of_link("eth0")["addresses"]
    await restarted(field, expected)


async def test_a_restart_of_the_daemon_alone_leaves_the_nic_in_its_bridge(
    field: Field, moved: Agent, host: Host
) -> None:
    """The same start as at boot, which takes it out: the bridge's link says that this is none."""
    BootUnit(str(host.units)).write()
    expected = state(field)
    await moved.stop()
    field.switch.kill("ovs-vswitchd")
    host.start("ovs-vswitchd.service")
    assert (host.units / NAME).exists()
    assert field.in_bridge
    eventually(field.reaches, 30)
    assert state(field) == expected
