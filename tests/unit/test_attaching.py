"""ADD and DEL as callers of the loop, on a node in memory and a fake clock."""

import asyncio
from contextlib import suppress

import pytest

from kit.memory import BUDGET, COMPLETE, World, pod
from ovnlet.core.errors import Invalid, NotReady, UnknownSandbox
from ovnlet.core.identity import Attachment, Record
from ovnlet.core.resources import Network, Port

pytestmark = pytest.mark.looptime


@pytest.fixture
async def world() -> World:
    return World()


@pytest.mark.parametrize("after", [0.1, 5.0, 25.0, 100.0])
async def test_add_ends_with_the_event_that_brings_the_annotations(
    world: World, after: float
) -> None:
    """On a fake clock: an ADD that polled would end at its next tick, not at the event."""
    loop = asyncio.get_running_loop()
    world.tell(pod({}))
    began = loop.time()
    loop.call_later(after, world.tell, pod())
    await world.attaching.add(world.attachment())
    assert loop.time() - began == pytest.approx(after, abs=0.05)


async def test_while_an_add_waits_no_timer_but_its_budget_is_pending(world: World) -> None:
    world.tell(pod({}))
    adding = asyncio.create_task(world.attaching.add(world.attachment()))
    await asyncio.sleep(1)
    loop = asyncio.get_running_loop()
    pending = [handle for handle in loop._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
    due = [handle.when() - loop.time() for handle in pending]
    assert [pytest.approx(BUDGET - 1, abs=0.1)] == due
    adding.cancel()
    with suppress(asyncio.CancelledError):
        await adding


async def test_an_address_that_cannot_be_used_fails_the_add_at_once_and_is_told(
    world: World,
) -> None:
    world.tell(pod({**COMPLETE, "ovn.kubernetes.io/ip_address": "10.17.0.5"}))
    with pytest.raises(
        Invalid, match=r"ip_address is '10.17.0.5'; allowed: an address inside 10.16.0.0/16"
    ):
        await world.attaching.add(world.attachment())
    assert [(kind, reason) for kind, reason, _ in world.status.events] == [
        ("Warning", "InvalidAnnotation")
    ]
    assert "ovn.kubernetes.io/ip_address" in world.status.events[0][2]
    assert world.nothing_left()


async def test_add_waits_for_routed_after_the_address(world: World) -> None:
    loop = asyncio.get_running_loop()
    world.tell(pod({key: value for key, value in COMPLETE.items() if not key.endswith("routed")}))
    loop.call_later(10, world.tell, pod())
    loop.call_later(9, lambda: made.extend(world.host.networks.values()))
    made: list[Network] = []
    await world.attaching.add(world.attachment())
    assert loop.time() == pytest.approx(10, abs=0.05)
    assert not any(made)


async def test_add_waits_for_a_pod_not_yet_seen_while_the_api_server_is_away(world: World) -> None:
    world.api = None
    asyncio.get_running_loop().call_later(30, world.tell, pod())
    outcome = await world.attaching.add(world.attachment())
    assert any(isinstance(resource, Port) for resource in outcome.observed)


async def test_with_the_api_server_away_a_remembered_pod_gets_a_new_sandbox(world: World) -> None:
    """After a restart of the agent, a dead sandbox is replaced by the annotations in its record."""
    world.api = None
    world.scope.remember(Record(world.attachment("old"), COMPLETE))
    outcome = await world.attaching.add(world.attachment("new"))
    assert any(isinstance(resource, Port) for resource in outcome.observed)


async def test_with_the_api_server_away_a_pod_is_remembered_beyond_its_sandbox(
    world: World,
) -> None:
    """kubelet stops the dead sandbox before it starts another: the DEL comes first."""
    world.api = None
    world.scope.remember(Record(world.attachment("old"), COMPLETE))
    await world.attaching.delete(Attachment.of_deletion("old", "eth0", "boot"))
    outcome = await world.attaching.add(world.attachment("new"))
    assert any(isinstance(resource, Port) for resource in outcome.observed)


async def test_a_remembered_pod_that_a_list_lacks_gets_no_sandbox(world: World) -> None:
    world.scope.remember(Record(world.attachment("old"), COMPLETE))
    world.state.synced.set()
    with pytest.raises(UnknownSandbox, match="deleted"):
        await world.attaching.add(world.attachment("new"))


async def test_a_pod_that_a_fresh_list_lacks_is_answered_at_once(world: World) -> None:
    with pytest.raises(UnknownSandbox, match="deleted"):
        await world.attaching.add(world.attachment())
    assert asyncio.get_running_loop().time() < 1
    assert world.nothing_left()


async def test_a_pod_replaced_by_one_of_the_same_name_is_answered_at_once(world: World) -> None:
    world.tell(pod(uid="8a3b2f64-0000-4000-8000-000000000002"))
    with pytest.raises(UnknownSandbox, match="deleted"):
        await world.attaching.add(world.attachment())
    assert world.nothing_left()


async def test_a_static_pod_may_come_before_its_mirror(world: World) -> None:
    static = "0123456789abcdef0123456789abcdef"
    asyncio.get_running_loop().call_later(3, world.tell, pod(uid=static))
    await world.attaching.add(world.attachment(uid=static))


async def test_a_pod_deleted_meanwhile_is_answered_at_once(world: World) -> None:
    loop = asyncio.get_running_loop()
    world.tell(pod({}))
    loop.call_later(7, world.gone)
    with pytest.raises(UnknownSandbox, match="deleted"):
        await world.attaching.add(world.attachment())
    assert loop.time() == pytest.approx(7, abs=0.05)
    assert world.nothing_left()


async def test_a_pod_deleted_while_ovn_is_awaited_undoes_the_add(world: World) -> None:
    world.host.installs.clear()
    world.tell(pod())
    asyncio.get_running_loop().call_later(7, world.gone)
    with pytest.raises(UnknownSandbox, match="deleted"):
        await world.attaching.add(world.attachment())
    assert world.nothing_left()


async def test_an_add_that_gives_up_says_what_was_missing_and_leaves_nothing(world: World) -> None:
    world.host.installs.clear()
    world.tell(pod())
    with pytest.raises(NotReady, match="ovn-installed"):
        await world.attaching.add(world.attachment())
    assert asyncio.get_running_loop().time() == pytest.approx(BUDGET, abs=1)
    assert world.nothing_left()


async def test_a_client_that_hangs_up_undoes_the_add_even_if_it_is_cancelled_twice(
    world: World,
) -> None:
    world.host.installs.clear()
    world.tell(pod())
    adding = asyncio.create_task(world.attaching.add(world.attachment()))
    await asyncio.sleep(1)
    adding.cancel()
    await asyncio.sleep(0)
    adding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await adding
    assert world.nothing_left()


async def test_a_repeated_add_is_success_and_takes_no_step(world: World) -> None:
    world.tell(pod())
    attachment = world.attachment()
    await world.attaching.add(attachment)
    outcome = await world.attaching.add(attachment)
    assert outcome.steps == ()


async def test_a_repeated_add_that_fails_leaves_the_attachment_as_it_was(world: World) -> None:
    world.tell(pod())
    attachment = world.attachment()
    await world.attaching.add(attachment)
    world.host.installs.clear()
    with pytest.raises(NotReady):
        await world.attaching.add(attachment)
    assert world.host.networks[attachment.key]


async def test_del_is_success_for_the_unknown_and_twice(world: World) -> None:
    world.tell(pod())
    attachment = world.attachment()
    await world.attaching.add(attachment)
    for _ in range(2):
        await world.attaching.delete(Attachment.of_deletion("c1", "eth0", "boot"))
    assert world.nothing_left()


async def test_del_while_its_add_runs_ends_the_add_with_nothing_left(world: World) -> None:
    world.host.installs.clear()
    world.tell(pod())
    adding = asyncio.create_task(world.attaching.add(world.attachment()))
    await asyncio.sleep(1)
    await world.attaching.delete(Attachment.of_deletion("c1", "eth0", "boot"))
    with pytest.raises(UnknownSandbox, match="DEL"):
        await adding
    assert world.nothing_left()


async def test_the_newest_sandbox_wins_and_the_older_gives_its_port_up(world: World) -> None:
    world.tell(pod())
    old, new = world.attachment("old"), world.attachment("new")
    await world.attaching.add(old)
    await world.attaching.add(new)
    await asyncio.sleep(1)
    assert not world.host.networks[old.key]
    assert world.host.networks[new.key]
    await world.attaching.delete(old)
    assert world.host.networks[new.key]


async def test_a_stalled_add_that_is_overtaken_ends_with_code_3_after_its_own_clean_up(
    world: World,
) -> None:
    world.host.installs.clear()
    world.tell(pod())
    old, new = world.attachment("old"), world.attachment("new")
    stalled = asyncio.create_task(world.attaching.add(old))
    await asyncio.sleep(1)
    newer = asyncio.create_task(world.attaching.add(new))
    with pytest.raises(UnknownSandbox, match="newer"):
        await stalled
    assert old.key not in world.records.kept
    assert not world.host.networks[old.key]
    world.host.installs.set()
    await newer
    assert world.host.networks[new.key]


async def test_an_older_add_that_comes_last_loses(world: World) -> None:
    world.tell(pod())
    old, new = world.attachment("old"), world.attachment("new")
    await world.attaching.add(new)
    with pytest.raises(UnknownSandbox):
        await world.attaching.add(old)
    assert world.host.networks[new.key]
    assert old.key not in world.records.kept


async def test_if_the_newer_sandbox_is_dead_the_older_takes_the_port_back(world: World) -> None:
    world.tell(pod())
    old, new = world.attachment("old"), world.attachment("new")
    await world.attaching.add(old)
    await world.attaching.add(new)
    world.host.dead.add(new.key)
    await world.passes.run(new.key)
    await world.passes.run(old.key)
    assert world.host.networks[old.key]
    assert not world.host.networks[new.key]


async def test_an_edited_route_is_applied_and_an_edited_address_is_not(world: World) -> None:
    world.tell(pod())
    attachment = world.attachment()
    await world.attaching.add(attachment)
    before = world.host.networks[attachment.key]
    route = {"ovn.kubernetes.io/routes": '[{"dst":"192.0.2.0/24","gw":"10.16.0.9"}]'}
    world.tell(pod({**COMPLETE, **route, "ovn.kubernetes.io/ip_address": "10.16.0.77"}))
    await asyncio.sleep(1)
    added = world.host.networks[attachment.key] - before
    assert [str(getattr(resource, "destination", "")) for resource in added] == ["192.0.2.0/24"]
    assert before < world.host.networks[attachment.key]
    assert [problem.key for problem in world.outcomes[-1].problems] == [
        "ovn.kubernetes.io/ip_address"
    ]


async def test_with_the_pod_gone_from_the_list_the_record_keeps_its_network(world: World) -> None:
    world.tell(pod())
    attachment = world.attachment()
    await world.attaching.add(attachment)
    before = world.host.networks[attachment.key]
    world.gone()
    await world.passes.run(attachment.key)
    assert world.host.networks[attachment.key] == before
