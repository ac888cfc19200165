"""The scope of OVN's flows: what is asked of ovn-controller when they are gone, and how often."""

import asyncio
from dataclasses import dataclass, field

import pytest

from kit.memory import Recorded
from ovnlet.core.chassis import FlowsIdentity
from ovnlet.core.errors import NodeFault
from ovnlet.core.plan import Plan
from ovnlet.core.resources import Flows, Network
from ovnlet.core.settings import Repair
from ovnlet.reconcile.loop import NO_REMEDY, Loop
from ovnlet.reconcile.outcome import Outcome
from ovnlet.reconcile.owners import OwnerIndex
from ovnlet.reconcile.scope import Key
from ovnlet.reconcile.scopes.flows import FlowsScope

pytestmark = [pytest.mark.looptime, pytest.mark.review2]
KEY = Key("flows", "flows")


@dataclass
class Tables:
    """A bridge without flows. ``helps`` is whether ovn-controller installs them again."""

    incomplete: tuple[int, ...] = ()
    helps: bool = True
    applied: list[float] = field(default_factory=list)

    async def ready(self) -> None:
        return

    async def observe(self, _: object, __: Network) -> Network:
        return frozenset({Flows("br-int", self.incomplete)})

    async def apply(self, _: object, plan: Plan) -> None:
        assert plan
        self.applied.append(asyncio.get_running_loop().time())
        if not self.helps:
            raise NodeFault("ovn-controller installs no flows")
        self.incomplete = ()


class World:
    """The loop with the scope of flows."""

    def __init__(self, repair: Repair = "fix") -> None:
        self.host, self.loop, self.status = Tables(), Loop(), Recorded("flows")
        self.owners = OwnerIndex(self.loop.queue.hint)
        scope = FlowsScope(
            self.host,
            FlowsIdentity("br-int"),
            self.loop.passes("flows"),
            self.status,
            owners=self.owners,
            repair=repair,
        )
        self.loop.keep("flows", scope)

    async def look(self) -> Outcome:
        outcome = await self.loop.queue.run(KEY)
        assert outcome is not None
        return outcome


async def test_flows_that_are_gone_are_installed_again_and_an_event_says_so_f1() -> None:
    world = World()
    assert not (await world.look()).steps
    world.host.incomplete = (0, 65)
    world.owners.notify(("flows", "br-int"))
    await asyncio.sleep(0.1)
    assert not world.host.incomplete
    (event,) = world.status.events
    assert event[:2] == ("Warning", "NetworkRepaired")
    assert "~ Flows br-int: incomplete 0,65 -> none" in event[2]


async def test_a_remedy_that_does_not_help_comes_twice_and_then_once_a_minute_f1() -> None:
    world = World()
    world.host.incomplete, world.host.helps = (0,), False
    for _ in range(3000):  # five minutes
        world.owners.notify(("flows", "br-int"))
        await asyncio.sleep(0.1)
    assert 5 <= len(world.host.applied) <= 8
    assert (await world.look()).why_remaining == NO_REMEDY
    reasons = {reason for _, reason, _ in world.status.events}
    assert reasons >= {"NetworkRepairFailed", "NetworkDrifted"}
    await world.loop.queue.close()


async def test_it_is_only_reported_where_the_settings_say_so_f1() -> None:
    world = World("report")
    world.host.incomplete = (65,)
    assert (await world.look()).remaining
    assert not world.host.applied
