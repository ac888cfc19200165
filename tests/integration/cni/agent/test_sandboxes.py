"""Two sandboxes of one pod, in every order.

The newest live sandbox has the port, and the other one is removed.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from itertools import permutations

import pytest

from integration.cni.agent.cli import is_received
from integration.cni.agent.node import AgentNode, until
from integration.cni.agent.pods import Sandbox
from ovnlet_cni.errors import Code

ORDERS = list(permutations(["ADD old", "ADD new", "DEL old"]))


async def holds_the_port(node: AgentNode, sandbox: Sandbox) -> bool:
    """Return whether OVSDB's iface-id, ovn-installed and the addresses are this sandbox's."""
    words = [
        "ovs-vsctl",
        "--bare",
        "--columns=name",
        "find",
        "Interface",
        f"external_ids:iface-id={sandbox.pod.port}",
    ]
    if (await node.run(*words)).split() != [sandbox.link]:
        return False
    installed = "external_ids:ovn-installed=true"
    if not (await node.run(*words[:-1], f"name={sandbox.link}", installed)).strip():
        return False
    return await node.addresses(sandbox) == {sandbox.pod.v4, sandbox.pod.v6}


async def test_every_order(node: AgentNode) -> None:
    """Six pods run the six orders at the same time."""
    pods = [pod for pod in node.make_pods([""] * len(ORDERS)) for _ in ("old", "new")]
    sandboxes = iter(await node.make_sandboxes(pods))
    before = await node.look()
    await asyncio.gather(
        *(_in_order(node, order, next(sandboxes), next(sandboxes)) for order in ORDERS)
    )
    await node.same(before)


async def _in_order(node: AgentNode, order: tuple[str, ...], old: Sandbox, new: Sandbox) -> None:
    alive: list[Sandbox] = []  # in the order in which their ADDs were received
    for action in order:
        if action == "DEL old":
            await node.delete(old)
            alive = [each for each in alive if each != old]
        else:
            alive.append(old if action == "ADD old" else new)
            await node.add(alive[-1])
        if alive:
            newest = alive[-1]
            await until(
                partial(holds_the_port, node, newest), f"{order}, {action}: the newest has the port"
            )
    await node.delete(new)
    await node.delete(old)


Stall = Callable[[AgentNode, Sandbox], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def annotations_withheld(node: AgentNode, sandbox: Sandbox) -> AsyncIterator[None]:
    node.annotate(sandbox.pod, dict.fromkeys(sandbox.pod.annotations))
    yield
    node.annotate(sandbox.pod, sandbox.pod.annotations)


@asynccontextmanager
async def ovn_stopped(node: AgentNode, _: Sandbox) -> AsyncIterator[None]:
    with node.stopped("ovn-controller"):
        yield


@pytest.mark.parametrize(
    "stall", [annotations_withheld, ovn_stopped], ids=lambda stall: stall.__name__
)
async def test_a_stalled_add_of_the_old_ends_with_code_3(node: AgentNode, stall: Stall) -> None:
    old, new = await node.make_sandboxes([pod := node.pod(), pod])
    before = await node.look()
    async with stall(node, old):
        first = asyncio.create_task(node.call("ADD", old))
        await until(lambda: is_received(node, old), "the old ADD to be received")
        second = asyncio.create_task(node.call("ADD", new))
        outcome = await first
        assert outcome.code == Code.UNKNOWN_CONTAINER, outcome
        assert old.link not in await node.run("ovs-vsctl", "list-ports", "br-int"), (
            "the ADD answered before it had cleaned up"
        )
        assert old.link not in await node.run("ip", "-o", "link")
    outcome = await second
    assert outcome.code == 0, outcome
    assert await holds_the_port(node, new)
    await node.delete(old)
    assert await holds_the_port(node, new), "the DEL of the old sandbox changed the new one"
    await node.delete(new)
    await node.same(before)


async def test_an_add_of_the_old_that_resumes_after_its_sandbox_died(node: AgentNode) -> None:
    """The runtime has deleted the old sandbox's namespace and attached the new sandbox."""
    old, new = await node.make_sandboxes([pod := node.pod(), pod])
    node.annotate(pod, dict.fromkeys(pod.annotations))
    stalled = asyncio.create_task(node.call("ADD", old))
    await until(lambda: is_received(node, old), "the old ADD to be received")
    await node.end_sandboxes([old])
    adding = asyncio.create_task(node.call("ADD", new))
    node.annotate(pod, pod.annotations)
    assert (await adding).code == 0
    assert (await stalled).code == Code.UNKNOWN_CONTAINER
    assert (await node.call("ADD", old)).code == Code.INVALID_NETNS
    await node.delete(old)
    assert await holds_the_port(node, new)


async def test_a_pod_of_the_same_name_took_its_place(node: AgentNode) -> None:
    """A StatefulSet recreates its pod at once: the old ADD must not take the new pod's address."""
    old = await node.sandbox(pod := node.pod("web-0", annotated=False))
    stalled = asyncio.create_task(node.call("ADD", old))
    await until(lambda: is_received(node, old), "the old ADD to be received")
    node.delete_pod(pod)
    new = await node.sandbox(node.pod("web-0"))
    outcome = await stalled
    assert outcome.code == Code.UNKNOWN_CONTAINER, outcome
    await node.add(new)
    late = await node.call("ADD", old)
    assert late.code == Code.UNKNOWN_CONTAINER, late
    assert late.seconds < 3
    await node.delete(old)
    assert await holds_the_port(node, new)
