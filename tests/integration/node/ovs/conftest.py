"""An Open vSwitch of the tests' own, and a driver on it."""

from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import pytest

from integration.node.ovs.ovn_chassis import Chassis
from integration.node.ovs.vswitch import Hints, PrivateSwitch
from ovnlet.core.identity import Attachment
from ovnlet.drivers.ovs.ports import Ovs

_SANDBOXES = count(1)


@pytest.fixture(scope="session")
def switch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateSwitch]:
    """Yield ovsdb-server and ovs-vswitchd with an integration bridge in userspace."""
    private = PrivateSwitch(tmp_path_factory.mktemp("ovs"))
    try:
        private.start_server()
        private.vsctl("add-br", "br-int", "--", "set", "Bridge", "br-int", "datapath_type=netdev")
        private.start_vswitchd()
        yield private
    finally:
        private.stop()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PrivateSwitch]:
    """Yield an ovsdb-server alone, for tests that stop and kill it."""
    private = PrivateSwitch(tmp_path)
    try:
        private.start_server()
        private.vsctl("add-br", "br-int")
        yield private
    finally:
        private.stop()


@pytest.fixture
def chassis(server: PrivateSwitch) -> Chassis:
    """Return a switch that is a chassis of OVN, with one port installed."""
    prepared = Chassis(server)
    prepared.prepare()
    return prepared


@pytest.fixture
def hints() -> Hints:
    return Hints()


@pytest.fixture
async def ovs(switch: PrivateSwitch, hints: Hints) -> AsyncIterator[Ovs]:
    async for driver in hints.driver(switch):
        yield driver


@pytest.fixture
def attachment() -> Attachment:
    """Return an attachment that no other test uses."""
    number = next(_SANDBOXES)
    return Attachment(
        f"{number:012x}{'0' * 52}",
        "eth0",
        "/run/netns/x",
        "default",
        f"pod-{number}",
        "u-1",
        "ovn",
        "boot",
        number,
    )
