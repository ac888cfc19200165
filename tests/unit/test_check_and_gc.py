"""CHECK and GC as callers of the loop, on a node in memory."""

import pytest

from kit.memory import COMPLETE, World, pod
from ovnlet.core.errors import NotConverged
from ovnlet.core.identity import Record
from ovnlet.core.resources import Port

pytestmark = pytest.mark.looptime


@pytest.fixture
async def world() -> World:
    return World()


async def test_check_is_the_plan_that_is_left_and_changes_nothing(world: World) -> None:
    world.tell(pod())
    attachment = world.attachment()
    await world.attaching.add(attachment)
    await world.attaching.check(attachment.key)
    broken = frozenset(r for r in world.host.networks[attachment.key] if not isinstance(r, Port))
    world.host.networks[attachment.key] = broken
    with pytest.raises(NotConverged, match=r"\+ Port"):
        await world.attaching.check(attachment.key)
    assert world.host.networks[attachment.key] == broken


async def test_gc_removes_the_unlisted_dead_and_keeps_the_unlisted_living(world: World) -> None:
    world.tell(pod())
    living = world.attachment("living")
    await world.attaching.add(living)
    dead = world.attachment("dead", uid=None)
    world.scope.remember(Record(dead, COMPLETE))
    world.host.networks[dead.key] = world.host.networks[living.key]
    world.host.dead.add(dead.key)
    await world.attaching.collect(frozenset())
    assert world.host.networks[living.key]
    assert not world.host.networks[dead.key]
    assert dead.key not in world.records.kept
