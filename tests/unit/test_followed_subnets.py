"""Edits of a Subnet that its pods follow, through the loop, on a node in memory."""

import pytest

from kit.memory import World, pod
from ovnlet.core.annotations import SUBNET_GATEWAY, SUBNET_MTU
from ovnlet.core.resources import Network, Route, Veth

pytestmark = pytest.mark.looptime


@pytest.fixture
async def world() -> World:
    return World()


def mtu_and_gateway(network: Network) -> tuple[int, str]:
    (mtu,) = (each.mtu for each in network if isinstance(each, Veth))
    (route,) = (each for each in network if isinstance(each, Route) and each.via is not None)
    return mtu, str(route.via)


async def test_an_edit_of_a_subnet_applies_to_its_pods_and_stays_while_the_subnet_is_unknown(
    world: World,
) -> None:
    world.tell(pod())
    attachment = world.attachment()
    await world.attaching.add(attachment)

    async def now() -> tuple[int, str]:
        await world.passes.run(attachment.key)
        return mtu_and_gateway(world.host.networks[attachment.key])

    assert await now() == (1400, "10.16.0.1")
    world.subnets["ovn-default"] = {SUBNET_MTU: "1300", SUBNET_GATEWAY: "10.16.255.254"}
    assert await now() == (1300, "10.16.255.254")
    assert world.outcomes[-1].edited
    del world.subnets["ovn-default"]
    assert await now() == (1300, "10.16.255.254")
    world.gone()
    assert await now() == (1300, "10.16.255.254")
    world.subnets["ovn-default"] = {}
    assert await now() == (1400, "10.16.0.1")


async def test_an_unusable_value_of_a_subnet_is_reported_and_changes_nothing(world: World) -> None:
    world.tell(pod())
    attachment = world.attachment()
    world.subnets["ovn-default"] = {SUBNET_MTU: "1300"}
    await world.attaching.add(attachment)
    before = world.host.networks[attachment.key]
    world.subnets["ovn-default"] = {SUBNET_MTU: "100", SUBNET_GATEWAY: "10.99.0.1"}
    await world.passes.run(attachment.key)
    assert world.host.networks[attachment.key] == before
    assert {problem.key for problem in world.outcomes[-1].problems} == {SUBNET_MTU, SUBNET_GATEWAY}
    assert str(world.outcomes[-1].problems[0]).startswith(
        "Subnet gateway is '10.99.0.1'; allowed: "
    )


async def test_a_restarted_agent_without_an_api_server_keeps_the_subnets_last_values(
    world: World,
) -> None:
    world.tell(pod())
    attachment = world.attachment()
    world.subnets["ovn-default"] = {SUBNET_MTU: "1300"}
    await world.attaching.add(attachment)
    again = World()
    again.api = None
    again.host, again.records.kept = world.host, world.records.kept
    again.scope.host = again.host
    outcome = await again.passes.run(attachment.key)
    assert outcome is not None
    assert outcome.steps == ()
    assert mtu_and_gateway(outcome.desired) == (1300, "10.16.0.1")
