"""When a pod's addresses are announced: once for each port that a pass made, and never else."""

import asyncio

import pytest

from kit.memory import COMPLETE, World, pod
from ovnlet.core.resources import Address, Port, Veth
from ovnlet.core.virtual_machines import MACHINE, MIGRATION
from ovnlet.reconcile.announcements import LATER

pytestmark = pytest.mark.looptime


@pytest.fixture
async def world() -> World:
    return World()


async def _added(
    world: World, annotations: dict[str, str] = COMPLETE, wait: float = 2 * LATER
) -> None:
    world.tell(pod(annotations))
    await world.attaching.add(world.attachment())
    await asyncio.sleep(wait)


async def _drifted(world: World, *lost: type) -> None:
    """Remove what is of these types from the node, and wait for the repair."""
    (key,) = world.host.networks
    world.host.networks[key] = frozenset(
        each for each in world.host.networks[key] if not isinstance(each, lost)
    )
    world.hint(key)
    await asyncio.sleep(1)


async def test_an_add_announces_all_addresses_once(world: World) -> None:
    await _added(world)
    ((key, network),) = world.host.announced
    assert key == ("c1", "eth0")
    assert [str(each.ip) for each in network if isinstance(each, Address)] == ["10.16.0.5/16"]


async def test_nothing_is_announced_before_ovn_has_installed_the_port(world: World) -> None:
    world.host.installs.clear()
    world.tell(pod())
    adding = asyncio.create_task(world.attaching.add(world.attachment()))
    await asyncio.sleep(5)
    assert world.host.announced == []
    world.host.installs.set()
    await adding
    await asyncio.sleep(1)
    assert len(world.host.announced) == 1


async def test_the_adds_of_a_burst_come_before_the_announcements(world: World) -> None:
    await _added(world, wait=0)
    assert world.host.announced == []
    await asyncio.sleep(LATER + 0.01)
    assert len(world.host.announced) == 1


async def test_a_pod_that_ends_at_once_is_not_announced(world: World) -> None:
    await _added(world, wait=LATER / 2)
    await world.attaching.delete(world.attachment())
    await asyncio.sleep(1)
    assert world.host.announced == []


async def test_a_pass_that_changes_nothing_announces_nothing(world: World) -> None:
    await _added(world)
    (key,) = world.host.networks
    for _ in range(3):
        await world.passes.run(key)
        await asyncio.sleep(1)
    assert len(world.host.announced) == 1


@pytest.mark.parametrize("lost", [(Port,), (Port, Veth)])
async def test_a_repair_that_made_the_port_again_announces_once(
    world: World, lost: tuple[type, ...]
) -> None:
    await _added(world)
    await _drifted(world, *lost)
    assert [outcome.action for outcome in world.outcomes[-1:]] == ["repaired"]
    assert len(world.host.announced) == 2


async def test_a_repair_of_something_else_announces_nothing(world: World) -> None:
    await _added(world)
    await _drifted(world, Address)
    assert world.outcomes[-1].steps
    assert len(world.host.announced) == 1


async def test_ports_made_before_ovn_installed_the_first_are_announced_once(world: World) -> None:
    await _added(world)
    world.host.installs.clear()
    for _ in range(3):
        await _drifted(world, Port)
    world.host.installs.set()
    await asyncio.sleep(1)
    assert len(world.host.announced) == 2


async def test_nothing_is_announced_after_a_del(world: World) -> None:
    await _added(world)
    world.host.installs.clear()
    await _drifted(world, Port)
    await world.attaching.delete(world.attachment())
    world.host.installs.set()
    await asyncio.sleep(1)
    assert len(world.host.announced) == 1


async def test_a_restart_announces_nothing(world: World) -> None:
    """A new agent finds the records, and the network as it should be."""
    await _added(world)
    again = World()
    again.host.networks = world.host.networks
    (record,) = world.records
    again.scope.remember(record)
    again.tell(pod())
    await again.loop.settle()
    await asyncio.sleep(1)
    assert {outcome.steps for outcome in again.outcomes} == {()}
    assert again.host.announced == []


async def test_the_target_of_a_migration_is_never_announced(world: World) -> None:
    """OVN lets no frame of it pass yet, and the source still runs with the same address."""
    await _added(world, {**COMPLETE, MACHINE: "vm", MIGRATION: "job"})
    await _drifted(world, Port)
    assert world.host.announced == []


async def test_a_virtual_machine_is_announced_at_its_add_only(world: World) -> None:
    """It may have migrated away since, and then another node has its address."""
    await _added(world, {**COMPLETE, MACHINE: "vm"})
    assert len(world.host.announced) == 1
    await _drifted(world, Port)
    assert len(world.host.announced) == 1
