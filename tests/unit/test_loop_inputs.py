"""A pass runs after its inputs, and what the operating system refuses is the node's fault."""

import asyncio
import errno
from typing import cast

import pytest

from kit.memory import World, pod
from ovnlet.core.errors import NodeFault, NotReady
from ovnlet.drivers.host import PortHost
from ovnlet.drivers.links.pod import PodLinks
from ovnlet.drivers.node_state import NodeState
from ovnlet.drivers.ovs.chassis import ChassisDriver
from ovnlet.drivers.ovs.ports import Ovs

pytestmark = [pytest.mark.review2, pytest.mark.looptime]


@pytest.fixture(params=["ports", "chassis"])
async def host(request: pytest.FixtureRequest) -> PortHost | ChassisDriver:
    ovs = Ovs("/nonexistent/db.sock", "br-int")
    if request.param == "chassis":
        return ChassisDriver(ovs)
    return PortHost(cast("PodLinks", None), ovs, cast("NodeState", None))


async def test_no_pass_begins_before_ovsdb_was_read(host: PortHost | ChassisDriver) -> None:
    """L12: what is desired follows from the rows too, so without them nothing is compared."""
    with pytest.raises(NotReady, match="OVSDB"):
        await host.ready()
    assert asyncio.get_running_loop().time() >= 3


async def test_what_the_operating_system_refuses_is_a_node_fault() -> None:
    """L5: an ADD is answered in words (code 5), and its pass is tried again."""
    world = World()
    world.tell(pod())

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    attachment = world.attachment()
    apply = world.host.apply
    world.host.apply = full  # type: ignore[assignment,method-assign]
    with pytest.raises(NodeFault, match="No space left on device"):
        await world.attaching.add(attachment)
    world.host.apply = apply  # type: ignore[method-assign]
    await asyncio.sleep(60)
    await world.attaching.add(attachment)
    assert world.host.networks[attachment.key]
