"""The pass of an ADD: whose it is."""

import asyncio
from contextvars import ContextVar

import pytest

from kit.memory import COMPLETE, World, pod
from ovnlet.core.identity import Attachment
from ovnlet.core.plan import Step

pytestmark = pytest.mark.looptime


@pytest.fixture
async def world() -> World:
    return World()


async def test_the_pass_of_an_add_that_waited_for_annotations_runs_in_its_context(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pass that the pod's event began would have the kernel's and OVSDB's stages untraced."""
    call, apply, seen = ContextVar("call", default=""), world.host.apply, list[str]()

    async def noted(attachment: Attachment, plan: tuple[Step, ...]) -> None:
        seen.append(call.get())
        await apply(attachment, plan)

    monkeypatch.setattr(world.host, "apply", noted)
    world.tell(pod({}))
    asyncio.get_running_loop().call_later(0.1, world.tell, pod())
    call.set("ADD")
    await world.attaching.add(world.attachment())
    await asyncio.sleep(1)
    assert seen == ["ADD"]
    assert len(world.outcomes) == 1
    world.tell(pod({**COMPLETE, "ovn.kubernetes.io/ingress_rate": "5"}))
    await asyncio.sleep(1)
    assert len(world.outcomes) == 2
