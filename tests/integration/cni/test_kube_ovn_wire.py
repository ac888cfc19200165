"""Our plugin with the network configurations of Kube-OVN, and who may use kube-ovn-cni's socket.

What Kube-OVN's own plugin sends is in tests/unit/test_kube_ovn_wire.py.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from integration.cni.agents import ScriptedAgent
from integration.cni.runtime import Json, Runtime
from ovnlet_cni.errors import Code
from ovnlet_cni.request import Attach
from ovnlet_cni.server import Server

NOBODY = 65534


@pytest.fixture
def second(socket_path: Path) -> Path:
    """Return the path of the second socket, in a directory that is there as Open vSwitch's is."""
    directory = socket_path.parent.parent / "openvswitch"
    directory.mkdir(mode=0o755)
    return directory / "kube-ovn-daemon.sock"


@pytest_asyncio.fixture
async def serving(agent: ScriptedAgent, socket_path: Path, second: Path) -> AsyncIterator[Server]:
    server = Server(agent, socket_path, kube_ovn_socket=second)
    await server.start()
    assert server.kube_ovn_site is not None
    await server.kube_ovn_site.listen()
    yield server
    await server.stop(0.1)


@pytest.mark.usefixtures("serving")
async def test_another_user_is_refused_as_on_our_own_socket(
    agent: ScriptedAgent, second: Path
) -> None:
    second.parent.parent.chmod(0o755)
    second.chmod(0o666)
    child = os.fork()
    if not child:  # pragma: no cover - another process
        os.setuid(NOBODY)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(second))
            client.sendall(b"POST /api/v1/del HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\n\r\n{}")
            got = b""
            while b"error" not in got:
                got += client.recv(4096)
        os._exit(0 if b" 403 " in got and b"65534" in got else 1)
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert agent.calls == []


def network(second: Path, **changes: object) -> dict[str, object]:
    """Return a NetworkAttachmentDefinition's configuration as users have it."""
    config: dict[str, object] = {
        "cniVersion": "0.3.1",
        "name": "n1",
        "type": "kube-ovn",
        "server_socket": str(second),
        "provider": "n1.default.ovn",
    }
    return {**config, **changes}


@pytest.mark.usefixtures("serving")
async def test_our_plugin_with_a_configuration_of_kube_ovn(
    agent: ScriptedAgent, runtime: Runtime, second: Path
) -> None:
    routes = [{"dst": "192.0.2.0/24", "gw": "10.16.0.9"}]
    config = network(second, mtu=1300, routes=routes, vf_driver="")
    outcome = await runtime.call("ADD", config)
    assert outcome.code == 0, outcome
    assert outcome.body["cniVersion"] == "0.3.1"
    (call,) = agent.calls
    assert isinstance(call, Attach)
    assert (call.provider, call.mtu, call.ipam_only) == ("n1.default.ovn", 1300, False)
    assert [str(route.dst) for route in call.routes] == ["192.0.2.0/24"]
    assert (await runtime.call("DEL", config)).code == 0


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"vf_driver": "vfio-pci"}, "vf_driver"), ({"mtu": 100}, "mtu=100"), ({"mtu": "x"}, "mtu")],
)
@pytest.mark.usefixtures("serving")
async def test_what_our_plugin_cannot_do_is_said(
    agent: ScriptedAgent, runtime: Runtime, second: Path, changes: dict[str, object], named: str
) -> None:
    outcome = await runtime.call("ADD", network(second, **changes))
    assert outcome.code in (Code.UNSUPPORTED_FIELD, Code.INVALID_CONFIG)
    assert named in str(outcome.error["msg"])
    assert agent.calls == []


@pytest.mark.parametrize("kind", ["macvlan", "ipvlan", "bridge"])
@pytest.mark.usefixtures("serving")
async def test_our_plugin_called_for_addresses_alone(
    agent: ScriptedAgent, runtime: Runtime, second: Path, kind: str
) -> None:
    """The plugin that has the interface passes its whole configuration, with a section for us."""
    ipam = {
        "type": "kube-ovn",
        "server_socket": str(second),
        "provider": "vlan.default",
        "routes": [{"dst": "192.0.2.0/24", "gw": "10.16.0.9"}],
    }
    config: Json = {
        "cniVersion": "1.0.0",
        "name": "vlan",
        "type": kind,
        "master": "eth9",
        "ipam": ipam,
    }
    outcome = await runtime.call("ADD", config)
    assert outcome.code == 0, outcome
    assert outcome.body["interfaces"] == []
    assert [ip["address"] for ip in outcome.body["ips"]] == ["10.16.0.2/16", "fd00::2/64"]  # type: ignore[attr-defined]
    (call,) = agent.calls
    assert isinstance(call, Attach)
    assert (call.provider, call.ipam_only) == ("vlan.default", True)
    assert [str(route.dst) for route in call.routes] == ["192.0.2.0/24"]
    checked = {**config, "prevResult": outcome.body}
    assert (await runtime.call("CHECK", checked)).code == 0
    assert (await runtime.call("DEL", config)).code == 0
    assert [type(call).__name__ for call in agent.calls] == ["Attach", "Detach"]


async def test_a_del_of_addresses_alone_without_an_agent_leaves_no_note(
    runtime: Runtime, second: Path
) -> None:
    ipam = {"type": "kube-ovn", "server_socket": str(second), "provider": "vlan.default"}
    config: Json = {"cniVersion": "1.0.0", "name": "vlan", "type": "macvlan", "ipam": ipam}
    assert (await runtime.call("DEL", config)).code == 0
    assert list(second.parent.iterdir()) == []
