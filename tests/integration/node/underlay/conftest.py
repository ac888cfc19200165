"""A node whose address is on its uplink, a router behind it, and an Open vSwitch of its own."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from integration.node.spaces import Bed
from integration.node.underlay.field import DATAPATH, Agent, Field

# One needs kinds of links that the kernel of a virtual machine has for certain; the other a client
# that renews within seconds, which an emulated processor does not.
collect_ignore = ["test_dhcp_routes.py" if DATAPATH == "system" else "test_stacked.py"]


@pytest.fixture
def field(bed: Bed, tmp_path: Path) -> Iterator[Field]:
    """Yield a node with addresses, routes of several tables, a rule and a neighbour on `eth0`."""
    made = Field(bed.node, bed.another("router"), tmp_path)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
async def agent(field: Field) -> AsyncIterator[Agent]:
    """Yield an agent on the node, without any provider network yet."""
    started = Agent(field)
    await started.start()
    yield started
    await started.stop()
