"""E5: the northbound database is a cluster of three, and the client copes with its faults."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from time import monotonic

import pytest

from ovnlet.core.errors import NodeFault, NotReady
from ovnlet.core.plan import Step, Verb
from ovnlet.core.resources.northbound import Router, Switch
from ovnlet.core.settings import ControllerSettings
from ovnlet.drivers.northbound.client import Northbound
from testbed import raft
from testbed.bed import Bed
from testbed.raft import Member

pytestmark = pytest.mark.review2
AGAIN = 5.0  # seconds until a write succeeds after there is a quorum
# A write without an answer ends within 5 s, so a try that began before a fault may come first.
TRY = 6.0


class FirstTerm:
    """The Lease of the only replica."""

    number = 1

    async def advance(self, least: int) -> int:
        """Return what is asked for."""
        self.number = least
        return least


@pytest.fixture(scope="module")
def cluster() -> Iterator[Bed]:
    with Bed.up(f"cluster-{os.getpid()}", parts={"raft"}) as bed:
        yield bed


@pytest.fixture
async def northbound(cluster: Bed) -> AsyncIterator[Northbound]:
    """Yield a client of the cluster, once it may write."""
    settings = {"identity": "a", "ovn_nb": raft.remotes(cluster)}
    client = Northbound(
        ControllerSettings.of(settings), lambda *_: None, lambda: None, lambda _: None
    )
    client.start()
    async with asyncio.timeout(20):
        await client.lead(FirstTerm())
    yield client
    await client.close()


async def leader(cluster: Bed) -> Member:
    return await asyncio.to_thread(raft.leader, cluster)


async def written(client: Northbound, name: str, within: float = AGAIN) -> float:
    """Try until a switch of that name is written, and return the seconds; each try is short."""
    began = monotonic()
    while not client.has(switch=name):
        try:
            async with asyncio.timeout(TRY):  # a write that hangs fails the test
                await client.apply([Step(Verb.ENSURE, Switch(name, frozenset()))])
        except (NotReady, NodeFault):
            await asyncio.sleep(0.05)
        assert monotonic() - began < within + TRY, f"{name} was not written"
    return monotonic() - began


async def test_e5_the_leader_is_killed(cluster: Bed, northbound: Northbound) -> None:
    await written(northbound, "before")
    gone = await leader(cluster)
    await asyncio.to_thread(gone.kill)
    seconds = await written(northbound, "killed")
    await asyncio.to_thread(gone.start)
    print(f"leader killed: written again after {seconds:.1f} s")
    assert northbound.has(switch="before")
    assert seconds < AGAIN


async def test_e5_a_member_without_quorum_is_left(cluster: Bed, northbound: Northbound) -> None:
    """The client still reaches the member: only its links to the other two are down."""
    gone = await leader(cluster)
    await asyncio.to_thread(gone.cut)
    try:
        seconds = await written(northbound, "cut-off")
    finally:
        await asyncio.to_thread(gone.join)
    print(f"leader cut off: written again after {seconds:.1f} s")
    assert seconds < AGAIN


async def test_e5_a_leader_that_hangs_is_left(cluster: Bed, northbound: Northbound) -> None:
    gone = (await leader(cluster)).space.service("ovn-nb")
    gone.send(signal.SIGSTOP)
    try:
        seconds = await written(northbound, "hung")
    finally:
        gone.send(signal.SIGCONT)
    print(f"leader stopped: written again after {seconds:.1f} s")


async def test_e5_without_a_quorum_no_write_hangs(cluster: Bed, northbound: Northbound) -> None:
    """Two of three are away for a while: each write ends as unknown, and works again later."""
    ahead = await leader(cluster)  # a former leader that was stopped may still say that it leads
    others = [each for each in raft.members(cluster) if each.index != ahead.index]
    for each in others:
        await asyncio.to_thread(each.kill)
    began = monotonic()
    for name in ("one", "two"):
        with pytest.raises(NotReady):
            async with asyncio.timeout(TRY):
                await northbound.apply([Step(Verb.ENSURE, Router(name))])
        await asyncio.sleep(1)
    for each in others:
        await asyncio.to_thread(each.start)
    seconds = await written(northbound, "quorum")
    print(f"no quorum for {monotonic() - began - seconds:.1f} s: written {seconds:.1f} s after it")
    assert seconds < AGAIN
