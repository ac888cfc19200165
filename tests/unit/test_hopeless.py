"""An ADD that waits for what cannot come ends within five seconds and says why, in memory."""

import asyncio
from dataclasses import replace

import pytest

from kit.memory import World, pod
from ovnlet.core.errors import Invalid, NotReady
from ovnlet.core.identity import Attachment

pytestmark = [pytest.mark.looptime, pytest.mark.review2]


@pytest.fixture
async def world() -> World:
    world = World()
    world.host.installs.clear()
    return world


async def seconds_until(world: World, why: str) -> float:
    """Return how long an ADD took that must fail with these words and leave nothing."""
    with pytest.raises(NotReady, match=why):
        await world.attaching.add(world.attachment())
    assert world.nothing_left()
    return asyncio.get_running_loop().time()


async def test_what_two_looks_find_ends_the_add_l22(world: World) -> None:
    """L22: the host's reason is the answer, within five seconds."""
    world.tell(pod())
    world.host.fault = "this node has no chassis name"
    assert await seconds_until(world, "no chassis name") < 5


async def test_what_heals_meanwhile_is_waited_for_l22(world: World) -> None:
    """L22: a fault that comes and goes, and a port that may still come, end nothing."""
    loop = asyncio.get_running_loop()
    world.tell(pod())
    world.host.fault = "of a moment"
    loop.call_later(3.8, lambda: setattr(world.host, "fault", None))
    loop.call_later(60, world.host.installs.set)
    outcome = await world.attaching.add(world.attachment())
    assert outcome.desired
    assert loop.time() == pytest.approx(60, abs=0.6)


@pytest.mark.parametrize("annotated", [True, False])
async def test_a_pod_whose_subnet_is_gone_l22(world: World, annotated: bool) -> None:
    """L22: with all annotations OVN's port is missing; without an address none will come."""
    text = {"ovn.kubernetes.io/logical_switch": "ovn-default"}
    world.tell(pod() if annotated else pod(text))
    world.lacking.add("ovn-default")
    assert await seconds_until(world, "Subnet ovn-default") < 5


async def test_a_subnet_that_comes_in_time_l22(world: World) -> None:
    """L22: the watch of Subnets may be later than the one of pods."""
    loop = asyncio.get_running_loop()
    world.host.installs.set()
    world.tell(pod({"ovn.kubernetes.io/logical_switch": "ovn-default"}))
    world.lacking.add("ovn-default")
    loop.call_later(2, world.lacking.clear)
    loop.call_later(20, world.tell, pod())
    assert (await world.attaching.add(world.attachment())).desired


async def test_an_iface_id_that_another_pod_holds_l22(world: World) -> None:
    """L22: names with dots can make one `iface-id` of two pods; the second is refused at once."""
    world.host.installs.set()
    world.tell(pod())
    first = world.attachment()
    await world.attaching.add(first)
    pod_name = f"{first.pod}.{first.namespace}"
    second = Attachment(
        "c9",
        "eth0",
        "/run/netns/c9",
        "x",
        pod_name,
        None,
        "ovn",
        "boot",
        9,
        iface_id=first.iface_id,
    )
    with pytest.raises(Invalid, match="logical switch port"):
        await world.attaching.add(second)
    assert asyncio.get_running_loop().time() < 1
    assert world.host.networks[first.key]


async def test_a_burst_is_not_hopeless_because_ovn_takes_its_time(world: World) -> None:
    """OVN installs 200 ports at once, after eight seconds, and shows none of them before."""
    loop = asyncio.get_running_loop()
    world.host.fault = "OVN does not give the port to this node"
    attachments = []
    for number in range(200):
        name = f"web{number}"
        world.tell(replace(pod(), name=name))
        made = world.attachment(f"c{number}")
        attachments.append(replace(made, pod=name, iface_id="", host_link=""))
    loop.call_later(8, world.host.installs.set)
    outcomes = await asyncio.gather(*map(world.attaching.add, attachments))
    assert all(outcome.desired for outcome in outcomes)

    world.host.installs.clear()
    world.tell(replace(pod(), name="late"))
    late = replace(world.attachment("late"), pod="late", iface_id="", host_link="")
    began = loop.time()
    with pytest.raises(NotReady, match="does not give the port"):
        await world.attaching.add(late)
    assert loop.time() - began < 5, "a burst that is over still delays the end of a hopeless wait"
