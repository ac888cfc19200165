"""A further network whose annotations vanish before the DEL of its interface: left as it is."""

import asyncio

import pytest

from kit.memory import COMPLETE, World, pod
from ovnlet.agent.cni_service import CniService
from ovnlet.core.resources import Network
from ovnlet_cni.request import Attach, Detach

pytestmark = [pytest.mark.looptime]
N1 = "n1.default.ovn.net1"
FURTHER = {key.replace("ovn.", f"{N1}.", 1): value for key, value in COMPLETE.items()}


async def attached() -> tuple[World, CniService, Network]:
    """Return a world with net1 of a pod, and what is there of it."""
    world = World()
    service = CniService(world.attaching, world.records, lambda: None)
    world.tell(pod({**COMPLETE, **FURTHER}))
    words = ("1.0.0", "c1", "net1", "/run/netns/c1", "default", "web")
    await service.add(Attach(*words, provider="n1.default.ovn"))
    return world, service, world.host.networks["c1", "net1"]


async def test_an_interface_whose_keys_vanish_stays_until_its_del() -> None:
    world, service, before = await attached()
    outcomes = len(world.outcomes)
    world.tell(pod(COMPLETE))
    await asyncio.sleep(5)
    assert world.host.networks["c1", "net1"] == before
    assert not [step for each in world.outcomes[outcomes:] for step in each.steps]
    assert [kind for kind, *_ in world.status.events if kind == "Warning"] == []
    await service.delete(Detach("1.0.0", "c1", "net1"))
    assert world.nothing_left()


async def test_its_repair_goes_on_and_needs_no_logical_port() -> None:
    world, _, before = await attached()
    world.tell(pod(COMPLETE))
    await asyncio.sleep(1)
    world.host.networks["c1", "net1"] = frozenset(list(before)[1:])
    world.scope.pod_changed(("default", "web"))
    await asyncio.sleep(5)
    assert world.host.networks["c1", "net1"] == before
    target = world.scope.target(("c1", "net1"))
    assert target is not None
    assert target.leaving, "its logical port may be gone: no remedy waits for it"


async def test_the_first_network_is_never_withdrawn() -> None:
    """An edit that removes the address of a running pod is reported, as ever."""
    world, _, _ = await attached()
    world.tell(pod(FURTHER))
    await asyncio.sleep(1)
    assert world.host.networks["c1", "net1"]


async def test_an_allocation_that_goes_on_under_another_name_is_reported() -> None:
    """Kube-OVN renames it when the network comes a second time: the port's address is lost."""
    world = World()
    service = CniService(world.attaching, world.records, lambda: None)
    plain = {key.replace("ovn.", "n1.default.ovn.", 1): value for key, value in COMPLETE.items()}
    world.tell(pod({**COMPLETE, **plain}))
    words = ("1.0.0", "c1", "net1", "/run/netns/c1", "default", "web")
    await service.add(Attach(*words, provider="n1.default.ovn"))
    before = world.host.networks["c1", "net1"]
    moved = {**FURTHER, f"{N1}.kubernetes.io/ip_address": "10.16.0.9"}
    world.tell(pod({**COMPLETE, **moved}))
    await asyncio.sleep(5)
    (said,) = [each for each in world.status.events if each[0] == "Warning"]
    assert said[1] == "AllocationRenamed"
    assert N1 in said[2]
    assert "10.16.0.9" in said[2]
    assert world.host.networks["c1", "net1"] == before, "addresses are fixed for a sandbox"
    world.tell(pod({**COMPLETE, **plain}))
    await asyncio.sleep(5)
    target = world.scope.target(("c1", "net1"))
    assert target is not None
    assert target.notices == ()
