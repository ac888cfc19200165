"""With a Lease the nodes move their uplinks one after the other."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from kit.uplinks import GATEWAY, INTENT, Agent, Disk, Nic
from ovnlet.agent.underlay import LeasedTurn
from ovnlet.kube.session import ApiFault

pytestmark = pytest.mark.looptime


@dataclass
class Cluster:
    """A Lease that everybody sees. While ``away``, the API server does not answer."""

    holder: str = ""
    away: bool = False
    history: list[str] = field(default_factory=list)

    def turn(self, node: str) -> LeasedTurn:
        lease: Any = HeldBy(self, node)
        return LeasedTurn(lease)


@dataclass
class HeldBy:
    cluster: Cluster
    node: str

    async def take(self) -> bool:
        await asyncio.sleep(0.01)
        if self.cluster.away:
            raise ApiFault("no answer")
        if self.cluster.holder not in ("", self.node):
            return False
        self.cluster.holder = self.node
        self.cluster.history.append(self.node)
        return True

    async def release(self) -> None:
        if self.cluster.holder == self.node:
            self.cluster.holder = ""


def agents(cluster: Cluster, *nics: Nic, shared: bool = True) -> list[Agent]:
    turns = [cluster.turn(f"n{number}") if shared else None for number in range(len(nics))]
    return [Agent(nic, Disk(), turn) for nic, turn in zip(nics, turns, strict=True)]


@pytest.mark.parametrize("shared", [True, False])
async def test_a_second_node_waits_for_the_end_of_the_first_move(shared: bool) -> None:
    """The control: without the Lease both are under way at once."""
    cluster = Cluster()
    nics = [Nic(silent_by={("br-net1", GATEWAY)}) for _ in range(2)]
    every = agents(cluster, *nics, shared=shared)
    for each in every:
        each.put(INTENT)
    await asyncio.sleep(10)
    assert sorted(each.phase for each in every) == (
        ["moving", "none"] if shared else ["moving"] * 2
    )
    # The first one goes back after its time; only then is the other one cut off.
    nics[0].silent_by, nics[1].silent_by = set(), set()
    async with asyncio.timeout(60):
        while [each.phase for each in every] != ["settled"] * 2:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_a_node_that_goes_back_gives_the_turn_to_the_next() -> None:
    cluster = Cluster()
    one, other = agents(cluster, Nic(silent_by={("br-net1", GATEWAY)}), Nic())
    one.put(INTENT)
    await one.until("moving")
    other.put(INTENT)
    await one.until("held")
    assert await other.until("settled") < 10
    assert cluster.history == ["n0", "n1"]
    await asyncio.sleep(10)
    assert cluster.holder == ""


async def test_without_an_answer_about_the_lease_nothing_is_moved() -> None:
    cluster = Cluster(away=True)
    (agent,) = agents(cluster, Nic())
    agent.put(INTENT)
    await asyncio.sleep(60)
    assert agent.phase == "none"
    cluster.away = False
    assert await agent.until("settled") < 10
