"""Repairs that are undone at once rest; exempt pods are told of and left alone. On a fake clock."""

import asyncio

import pytest

from kit.memory import COMPLETE, World, pod
from ovnlet.core.annotations import REPAIR
from ovnlet.core.identity import Attachment
from ovnlet.core.plan import Step, Verb
from ovnlet.core.resources import Network, Port, Route
from ovnlet.reconcile.budget import FREE, UNDONE, WINDOW, RepairBackoff

pytestmark = pytest.mark.looptime
KEY = ("c1", "eth0")


def step(name: str) -> Step:
    return Step(Verb.ENSURE, Port("br-int", name, frozenset()))


SAME = step("c1_h")


async def test_the_first_repairs_are_immediate_and_the_next_rest_ever_longer() -> None:
    over: list[float] = []
    loop = asyncio.get_running_loop()
    patience = RepairBackoff(lambda _: over.append(loop.time()))
    for _ in range(FREE):
        patience.took(KEY, [SAME])
        assert patience.rest(KEY) == 0
    rests = []
    for _ in range(8):
        patience.took(KEY, [SAME])
        rests.append(patience.rest(KEY))
        await asyncio.sleep(rests[-1] + 0.01)
    assert rests == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60], abs=0.02)
    assert len(over) == 8


async def test_a_quiet_time_is_forgiven() -> None:
    patience = RepairBackoff(lambda _: None)
    for _ in range(FREE + 1):
        patience.took(KEY, [SAME])
    await asyncio.sleep(patience.rest(KEY) + WINDOW + 0.1)
    patience.took(KEY, [SAME])
    assert patience.rest(KEY) == 0


async def test_many_things_that_are_broken_once_each_have_nothing_wait() -> None:
    patience = RepairBackoff(lambda _: None)
    for number in range(3 * FREE):
        patience.took(KEY, [step(f"other{number}_h")])
    assert patience.rest(KEY) == 0
    for _ in range(FREE):
        patience.took(KEY, [SAME, step("another")])
    assert patience.rest(KEY) == 0
    patience.took(KEY, [SAME])
    assert patience.rest(KEY) == 1


@pytest.fixture
async def world() -> World:
    return World()


async def attached(world: World, mode: str = "fix") -> Attachment:
    world.tell(pod({**COMPLETE, REPAIR: mode}))
    attachment = world.attachment()
    await world.attaching.add(attachment)
    return attachment


def without_routes(network: Network) -> Network:
    return frozenset(resource for resource in network if not isinstance(resource, Route))


async def test_a_fight_over_a_route_does_not_spin(world: World) -> None:
    attachment = await attached(world)
    repairs = 0
    for _ in range(600):  # a minute of somebody who removes them ten times a second
        world.host.networks[attachment.key] = without_routes(world.host.networks[attachment.key])
        world.queue.add(attachment.key)
        await asyncio.sleep(0.1)
        repairs += bool(world.outcomes[-1].steps)
    assert FREE <= repairs <= FREE + 8
    # One Event with a count: words that change would be another Event at each rest.
    assert {outcome.why_left for outcome in world.outcomes if outcome.left} == {UNDONE}
    await asyncio.sleep(70)
    assert any(isinstance(resource, Route) for resource in world.host.networks[attachment.key])


@pytest.mark.parametrize("mode", ["report", "off"])
async def test_an_exempt_pod_is_left_alone(world: World, mode: str) -> None:
    attachment = await attached(world, mode)
    world.host.networks[attachment.key] = without_routes(world.host.networks[attachment.key])
    await world.queue.run(attachment.key)
    assert not any(isinstance(resource, Route) for resource in world.host.networks[attachment.key])
    assert bool(world.outcomes[-1].left) == (mode == "report")


async def test_a_wrong_exemption_is_told_and_does_not_count(world: World) -> None:
    attachment = await attached(world, "maybe")
    world.host.networks[attachment.key] = without_routes(world.host.networks[attachment.key])
    outcome = await world.queue.run(attachment.key)
    assert outcome is not None
    assert outcome.steps
    assert [problem.key for problem in outcome.problems] == [REPAIR]
