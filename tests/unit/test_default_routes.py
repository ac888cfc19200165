"""The default route of a pod with several interfaces: `eth0` gives way to one that asks for it."""

import asyncio

import pytest

from kit.memory import COMPLETE, World, pod
from ovnlet.agent.cni_service import CniService
from ovnlet.core.identity import Attachment, Record
from ovnlet.core.resources import Route
from ovnlet_cni.request import Attach, Detach

pytestmark = [pytest.mark.looptime]
N1 = "n1.default.ovn"
FURTHER = {key.replace("ovn.", f"{N1}.", 1): value for key, value in COMPLETE.items()}
ASKS = {f"{N1}.kubernetes.io/default_route": "true"}


def request(ifname: str) -> Attach:
    words = ("1.0.0", "c1", ifname, "/run/netns/c1", "default", "web")
    return Attach(*words, provider="ovn" if ifname == "eth0" else N1)


async def attached(**more: str) -> tuple[World, CniService]:
    """Return a world with both interfaces of a pod; `__` in a key stands for a slash."""
    world = World()
    service = CniService(world.attaching, world.records, lambda: None)
    notes = {key.replace("__", "/"): value for key, value in more.items()}
    world.tell(pod({**COMPLETE, **FURTHER, **notes}))
    for ifname in ("eth0", "net1"):
        await service.add(request(ifname))
    await asyncio.sleep(2)
    return world, service


def defaults(world: World) -> dict[str, list[int]]:
    """Return the metrics of the default routes of each interface, above the usual one."""
    found = {}
    for (_, ifname), network in world.host.networks.items():
        routes = [each for each in network if isinstance(each, Route)]
        found[ifname] = [each.later for each in routes if each.destination.prefixlen == 0]
    return found


async def test_the_default_route_is_by_the_interface_that_asks_for_it() -> None:
    world, _ = await attached(**{key.replace("/", "__"): value for key, value in ASKS.items()})
    found = defaults(world)
    assert found["eth0"] == []
    assert len(found["net1"]) == 1
    assert found["net1"] != [0], "IPv6 joins routes of one metric into one with several next hops"
    world.hint(("c1", "eth0"))
    await asyncio.sleep(2)
    assert defaults(world) == found, "no repair of eth0 takes it back"
    assert [each[:2] for each in world.status.events] == []


async def test_without_one_that_asks_it_is_eth0s() -> None:
    """The control."""
    world, _ = await attached()
    assert defaults(world) == {"eth0": [0], "net1": []}


async def test_one_that_eth0_asks_for_itself_stays_in_front() -> None:
    own = {"ovn.kubernetes.io__default_route": "true"}
    asks = {key.replace("/", "__"): value for key, value in ASKS.items()}
    world, _ = await attached(**own, **asks)
    found = defaults(world)
    assert found["eth0"] == [0]
    assert found["net1"][0] > 0


async def test_when_that_interface_goes_eth0_has_it_again() -> None:
    world, service = await attached(
        **{key.replace("/", "__"): value for key, value in ASKS.items()}
    )
    await service.delete(Detach("1.0.0", "c1", "net1"))
    await asyncio.sleep(2)
    assert defaults(world)["eth0"] == [0]


async def test_adopted_interfaces_of_one_sandbox_are_known_as_such() -> None:
    """Each has as much of the container ID as the name of its link on the node."""
    world = World()
    good = {"eth0": COMPLETE, "net1": {**FURTHER, **ASKS}}
    world.tell(pod({**COMPLETE, **FURTHER, **ASKS}))
    for ifname, container in (("eth0", "0123456789ab"), ("net1", "01234567")):
        provider = request(ifname).provider
        words = (container, ifname, "/run/netns/c1", "default", "web", None, provider, "", 1)
        world.scope.remember(Record(Attachment(*words), good[ifname]))
    for key in list(world.scope.every_key()):
        await world.passes.run(key)
    found = defaults(world)
    assert (found["eth0"], len(found["net1"])) == ([], 1)


async def test_an_edit_of_a_running_pod_moves_nothing() -> None:
    """`default_route` is fixed for a sandbox: without this, the pod would have none at all."""
    world, _ = await attached()
    world.tell(pod({**COMPLETE, **FURTHER, **ASKS}))
    await asyncio.sleep(2)
    assert defaults(world) == {"eth0": [0], "net1": []}
