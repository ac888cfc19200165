"""The check of an ADD whether another machine has the pod's addresses, in memory."""

import asyncio
from ipaddress import ip_address

import pytest

from kit.memory import COMPLETE, World, pod
from ovnlet.core.errors import NotReady
from ovnlet.core.resources import Port
from ovnlet.core.virtual_machines import MIGRATION
from ovnlet.drivers.linux.announcements import frame
from ovnlet.drivers.linux.probes import claimant, probe

VLAN = {**COMPLETE, "ovn.kubernetes.io/provider_network": "net1"}
MAC, OTHER = "0a:00:00:00:00:01", "02:00:00:00:00:99"
V4, V6 = ip_address("192.0.2.7"), ip_address("2001:db8::7")


async def added(world: World, text: dict[str, str]) -> float:
    """Return the seconds of an ADD."""
    began = asyncio.get_running_loop().time()
    world.tell(pod(text))
    assert (await world.attaching.add(world.attachment())).desired
    return asyncio.get_running_loop().time() - began


@pytest.mark.looptime
async def test_off_it_asks_nobody_and_takes_no_time() -> None:
    world = World()
    world.host.holder = ("192.0.2.7", OTHER)
    assert await added(world, VLAN) < 0.01
    assert world.host.asked == []


@pytest.mark.looptime
async def test_an_address_that_nobody_has_is_asked_for_once() -> None:
    """Neither a repeated ADD nor a repair asks again: the pod uses its addresses."""
    world = World(asks=True)
    assert 1.2 <= await added(world, VLAN) <= 1.5
    key = world.attachment().key
    assert world.host.asked == [key]
    assert await added(world, VLAN) < 0.01
    there = world.host.networks[key]
    world.host.networks[key] = frozenset(each for each in there if not isinstance(each, Port))
    await world.attaching.add(world.attachment())
    assert any(isinstance(each, Port) for each in world.host.networks[key])
    assert world.host.asked == [key]
    assert world.status.events == []


@pytest.mark.looptime
async def test_an_add_that_waits_for_its_annotations_asks_too() -> None:
    """Their arrival asks for a pass by itself, which may make the port before that of the ADD."""
    world = World(asks=True)
    world.host.holder = ("192.0.2.7", OTHER)
    world.tell(pod({}))
    adding = asyncio.create_task(world.attaching.add(world.attachment()))
    await asyncio.sleep(1)
    world.tell(pod(VLAN))
    with pytest.raises(NotReady, match="is in use"):
        await adding
    assert world.nothing_left()


@pytest.mark.looptime
@pytest.mark.parametrize("text", [COMPLETE, {**VLAN, MIGRATION: "job"}])
async def test_no_pod_outside_of_a_vlan_and_no_target_of_a_migration_asks(
    text: dict[str, str],
) -> None:
    world = World(asks=True)
    world.host.holder = ("192.0.2.7", OTHER)
    assert await added(world, text) < 0.01
    assert world.host.asked == []


@pytest.mark.looptime
async def test_an_address_of_another_machine_fails_the_add_with_an_event() -> None:
    """Nothing is left of the pod, and once the address is free the next ADD succeeds."""
    world = World(asks=True)
    world.host.holder = ("192.0.2.7", OTHER)
    with pytest.raises(NotReady, match=f"192.0.2.7 is in use: {OTHER} .*net1.*excludeIps") as error:
        await added(world, VLAN)
    assert world.nothing_left()
    assert world.status.events == [("Warning", "AddressConflict", str(error.value))]
    world.host.holder = None
    assert await added(world, VLAN) <= 1.5
    assert len(world.host.asked) == 2


@pytest.mark.parametrize("address", [V4, V6])
def test_who_has_an_address_by_the_frames_on_the_wire(address: object) -> None:
    assert isinstance(address, type(V4) | type(V6))
    other = V6 if address == V4 else V4
    for sent in (probe(OTHER, address), frame(OTHER, address)):
        assert claimant(sent, address) == OTHER, "it probes too, or it announces"
        assert claimant(sent, other) is None
        assert claimant(sent, address + 1) is None
        for size in (0, 13, 20, 41):
            assert claimant(sent[:size], address) is None
    assert claimant(bytes(90), address) is None


def test_who_only_asks_for_an_address_does_not_have_it() -> None:
    """A neighbour that resolves the address names its own as the sender."""
    asks = probe(OTHER, V4)
    resolves = asks[:28] + (V4 + 1).packed + asks[32:]
    assert claimant(resolves, V4) is None
    assert claimant(resolves, V4 + 1) == OTHER
    solicits = probe(OTHER, V6)
    assert claimant(solicits[:22] + (V6 + 1).packed + solicits[38:], V6) is None
