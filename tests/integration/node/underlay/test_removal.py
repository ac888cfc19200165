"""`ovnlet uninstall` gives an interface back what moved, without an agent and an API server."""

import asyncio
from pathlib import Path

import pytest

from integration.node.ovs.vswitch import TIMEOUT_FACTOR
from integration.node.underlay.field import BRIDGE, Agent, Field
from ovnlet.cli.uplinks import give_back
from ovnlet.core.settings import Settings
from ovnlet.drivers.links import uplink, veths
from ovnlet.drivers.linux.rtnetlink import Link
from ovnlet.drivers.ovs.boot_unit import BootUnit

ADDED = "192.0.2.99/24"


@pytest.mark.parametrize("settled", [True, False])
async def test_the_node_has_what_it_had(
    field: Field, agent: Agent, tmp_path: Path, settled: bool
) -> None:
    """The control: without it everything stays on the bridge."""
    state = tmp_path / "state"
    field.journal = agent.journal._directory = state / "uplinks"
    before = field.of_link("eth0")
    joined = asyncio.Event()

    def cut() -> None:
        field.change_vlan()
        joined.set()

    if not settled:
        agent.host.joined = cut
    agent.put(defaultInterface="eth0", vlans=(10,))
    if settled:
        await agent.phase("settled")
        field.node.ip("address", "add", ADDED, "dev", BRIDGE)
    else:
        await asyncio.wait_for(joined.wait(), 20 * TIMEOUT_FACTOR)
    await agent.stop()
    field.stop_api()
    assert field.of_link("eth0") != before
    said: list[str] = []
    units = tmp_path / "units"
    BootUnit(str(units)).write()
    settings = Settings(
        node_name="n1",
        ovsdb=str(field.switch.socket),
        state_dir=str(state),
        systemd_dir=str(units),
    )
    await give_back(settings, said.append)
    found = field.of_link("eth0")
    if settled:
        assert any(ADDED in line for line in found["addresses"])
        field.node.ip("address", "del", ADDED, "dev", "eth0")
    assert field.of_link("eth0") == before
    assert (field.has_bridge, field.ids("ovn-bridge-mappings")) == (False, "")
    assert said[-2:] == [
        "eth0 has what it had before ProviderNetwork net1",
        "removed the drop-in of Open vSwitch's unit",
    ]
    assert not state.exists()
    assert not list(units.iterdir())
    await give_back(settings, said.append)


def test_a_link_that_goes_while_it_is_read_has_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bridge's link goes some time after its row; `ovnlet uninstall` failed with ENODEV.

    The index stands for a link that was there when it was named.
    """
    gone = Link(2**30, "br-net1", "openvswitch", "", 1500, True, True, "", 0, None)
    monkeypatch.setattr(veths, "named", lambda *_: gone)
    assert uplink.entries(gone.name) == ()
    assert uplink.unmovable(gone.name) == ()
    assert uplink.gateways(gone.name) == ()
