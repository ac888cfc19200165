"""Budgets of a key: looks and repairs are delayed, never dropped; exempt pods are left alone."""

import asyncio

import pytest

from kit.memory import COMPLETE, World, pod
from ovnlet.core.annotations import REPAIR
from ovnlet.core.identity import Attachment
from ovnlet.core.plan import Plan
from ovnlet.core.resources import Network, Port, Route
from ovnlet.reconcile.budget import Bucket, Budget
from ovnlet.reconcile.loop import NO_REMEDY

pytestmark = [pytest.mark.looptime, pytest.mark.review2]
DAY = 86_400


def test_a_bucket_has_its_burst_and_then_one_token_in_each_interval() -> None:
    bucket = Bucket(3, 2.0)
    for _ in range(3):
        assert bucket.wait(0) == 0
        bucket.spend(0)
    assert bucket.wait(0) == 2
    assert bucket.wait(1.5) == 0.5
    assert bucket.wait(2) == 0


@pytest.mark.uncovered
def test_a_bucket_is_never_more_than_two_tokens_away_from_the_next_l3() -> None:
    """L3: after 17 hours of one fight the old back-off overflowed, and repair was over."""
    bucket = Bucket(15, 2.5)
    for second in range(0, 30 * DAY, 7):
        for _ in range(20):
            bucket.spend(second)
        assert 0 < bucket.wait(second) <= 2 * 2.5


def test_a_budget_that_is_not_used_for_a_while_need_not_be_kept() -> None:
    budget = Budget()
    assert budget.look(0) == (0, "repairs")
    assert not budget.is_full(0)
    assert budget.is_full(60)


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


def has_routes(network: Network) -> bool:
    return any(isinstance(resource, Route) for resource in network)


@pytest.mark.uncovered
async def test_the_first_repairs_of_a_fight_are_immediate_and_the_others_go_on_slowly_l2(
    world: World,
) -> None:
    """L2: a program that undoes each repair must not keep the agent busy, nor end its repairs."""
    attachment = await attached(world)
    networks = world.host.networks
    passes = len(world.outcomes)
    for _ in range(6_000):  # ten minutes of somebody who removes them ten times a second
        networks[attachment.key] = without_routes(networks[attachment.key])
        world.hint(attachment.key)
        await asyncio.sleep(0.1)
    repairs = sum(bool(outcome.steps) for outcome in world.outcomes[passes:])
    assert 15 + 600 / 2.5 - 5 <= repairs <= 15 + 600 / 2.5 + 5
    assert len(world.outcomes) - passes <= repairs + 1
    await asyncio.sleep(5)
    assert has_routes(networks[attachment.key]), "the last change gets its look"
    events = [reason for _, reason, text in world.status.events if "again and again" in text]
    assert events == ["NetworkDrifted"] * len(events)
    assert len(events) <= 11, "one Event a minute at most"


async def test_a_fighter_that_answers_at_once_gets_at_most_two_passes_a_second_l2(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    attachment = await attached(world)
    networks, loop = world.host.networks, asyncio.get_running_loop()
    times: list[float] = []
    apply = world.host.apply

    async def undone(attachment: Attachment, plan: Plan) -> None:
        await apply(attachment, plan)
        times.append(loop.time())
        loop.call_soon(undo)

    def undo() -> None:
        networks[attachment.key] = without_routes(networks[attachment.key])
        world.hint(attachment.key)

    monkeypatch.setattr(world.host, "apply", undone)
    began = loop.time()
    undo()
    await asyncio.sleep(600)
    late = [at for at in times if at > began + 10]
    assert late
    assert len(late) <= 2 * 590
    await world.loop.queue.close()


@pytest.mark.uncovered
async def test_a_pod_that_changes_without_drift_is_looked_at_five_times_a_second_l11(
    world: World,
) -> None:
    """L11: a pod that adds and removes an address does not cost a look for each change."""
    attachment = await attached(world)
    passes = len(world.outcomes)
    for _ in range(20_000):  # twenty seconds
        world.hint(attachment.key)
        await asyncio.sleep(0.001)
    looks = len(world.outcomes) - passes
    assert 80 < looks <= 20 + 20 * 5 + 5
    assert [reason for _, reason, _ in world.status.events].count("NetworkChangesThrottled") == 1
    assert "looks" in world.status.waits
    networks = world.host.networks
    networks[attachment.key] = without_routes(networks[attachment.key])
    world.hint(attachment.key)
    await asyncio.sleep(0.5)
    assert has_routes(networks[attachment.key]), "the last change gets its look"


async def test_calls_and_edits_do_not_wait_for_a_spent_budget(world: World) -> None:
    attachment = await attached(world)
    for _ in range(10_000):
        world.hint(attachment.key)
        await asyncio.sleep(0.001)
    loop = asyncio.get_running_loop()
    began = loop.time()
    world.tell(pod({**COMPLETE, "ovn.kubernetes.io/gateway": "10.16.0.9"}))
    await asyncio.sleep(0.05)
    assert any(
        isinstance(each, Route) and str(each.via) == "10.16.0.9"
        for each in world.host.networks[attachment.key]
    )
    await world.attaching.delete(attachment)
    assert loop.time() - began < 0.2
    assert world.nothing_left()


async def test_a_port_that_ovn_does_not_install_makes_two_recomputes_and_then_one_a_minute_l4(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """L4: recomputes concern the whole node. A pod without a logical port made 21 a minute."""
    attachment = await attached(world)
    networks, applied = world.host.networks, 0

    async def refuse(_: Attachment, plan: object) -> None:
        nonlocal applied
        applied += 1

    monkeypatch.setattr(world.host, "apply", refuse)
    networks[attachment.key] = frozenset(
        Port(each.bridge, each.name, each.external_ids, uninstalled=True)
        if isinstance(each, Port)
        else each
        for each in networks[attachment.key]
    )
    for _ in range(6000):  # ten minutes
        world.hint(attachment.key)
        await asyncio.sleep(0.1)
    # Each pass that may act tries three times before it gives up.
    assert 3 * 10 <= applied <= 3 * 13
    assert world.outcomes[-1].why_remaining == NO_REMEDY
    await world.loop.queue.close()


@pytest.mark.parametrize("mode", ["report", "off"])
async def test_an_exempt_pod_is_left_alone(world: World, mode: str) -> None:
    attachment = await attached(world, mode)
    world.host.networks[attachment.key] = without_routes(world.host.networks[attachment.key])
    await world.passes.run(attachment.key)
    assert not has_routes(world.host.networks[attachment.key])
    assert bool(world.outcomes[-1].remaining) == (mode == "report")


async def test_a_wrong_exemption_is_reported_and_does_not_count(world: World) -> None:
    attachment = await attached(world, "maybe")
    world.host.networks[attachment.key] = without_routes(world.host.networks[attachment.key])
    outcome = await world.passes.run(attachment.key)
    assert outcome is not None
    assert outcome.steps
    assert [problem.key for problem in outcome.problems] == [REPAIR]
