"""The datapath that links follow: what the bridge is to have, not what it has for a moment."""

import json
from pathlib import Path

import pytest

from ovnlet.agent.wiring import Agent
from ovnlet.core.chassis import BRIDGE_TYPE, desired
from ovnlet.core.resources import Bridge, ChassisId
from ovnlet.core.settings import Repair, Settings
from unit.test_node_wide_scopes import KEYS, Chassis, Inputs, Things
from unit.test_rotated_credentials import keys, name_client, write_kubeconfig

__all__ = ["keys"]  # a fixture

ELSEWHERE = {**KEYS, BRIDGE_TYPE: "netdev"}  # a bridge in userspace that OVN wants in the kernel


@pytest.mark.parametrize(
    ("wanted", "mode", "userspace"),
    [("system", "manage", False), ("", "manage", True), ("", "observe", True)],
)
async def test_links_follow_the_datapath_that_the_bridge_gets_back(
    wanted: str, mode: str, userspace: bool
) -> None:
    """Only where the type is repaired. A key that nobody ever set decides nothing."""
    host, inputs = Things(), Inputs({"ovn-bridge-datapath-type": wanted} if wanted else {})
    host.put(desired("br-int", ELSEWHERE, create=True))
    assert Chassis(host, inputs, mode=mode).scope.userspace() is userspace


@pytest.mark.parametrize("mode", ["manage", "observe"])
async def test_links_follow_ovns_own_key_which_ovn_controller_enforces(mode: str) -> None:
    host = Things()
    host.put(desired("br-int", KEYS, create=True))
    host.things[("bridge", "br-int")] = Bridge("br-int", "netdev")
    host.things["key"] = ChassisId("ovn-bridge-datapath-type", "system")
    assert not Chassis(host, mode=mode).scope.userspace()


@pytest.mark.parametrize(("mode", "repair"), [("observe", "fix"), ("manage", "report")])
async def test_links_follow_the_bridge_as_it_is_where_nobody_repairs_it(
    mode: str, repair: Repair
) -> None:
    host, inputs = Things(), Inputs({"ovn-bridge-datapath-type": "system"})
    host.put(desired("br-int", ELSEWHERE, create=True))
    assert Chassis(host, inputs, mode=mode, repair=repair).scope.userspace()


@pytest.mark.parametrize(("mode", "userspace"), [("manage", True), ("observe", False)])
async def test_an_agent_takes_the_type_that_it_restores(
    keys: Path, mode: str, userspace: bool
) -> None:
    """Before OVSDB has a bridge, as while another program makes it again."""
    (keys / "chassis.json").write_text(json.dumps({"ovn-bridge-datapath-type": "netdev"}))
    (keys / "ca.crt").write_bytes((keys / "server.crt").read_bytes())
    name_client(keys, "old")
    paths = {"run_dir": str(keys), "ovsdb": str(keys / "db.sock")}
    access = {"kubeconfig": write_kubeconfig(keys, "https://127.0.0.1:1")}
    text = {"node_name": "n0", "mtu": "1400", "chassis": mode}
    agent = Agent(Settings.of(text | paths | access))
    assert agent.node_state.facts.userspace is userspace
