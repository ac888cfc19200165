"""The agent is killed after each single step of an ADD and of a DEL; its successor completes it."""

import asyncio
from collections.abc import Callable, Coroutine
from itertools import count

from integration.cni.agent.cli import is_received
from integration.cni.agent.node import AgentNode, until
from integration.cni.runtime import Outcome

# Kills the agent after a number of steps; returns whether the agent got that far.
Round = Callable[[AgentNode, int], Coroutine[None, None, bool]]


async def _killed(node: AgentNode, *calls: "asyncio.Task[Outcome]") -> bool:
    """Wait until either the agent has killed itself or the calls are answered."""
    assert node.agent is not None
    agent = node.agent

    async def over() -> bool:
        return all(call.done() for call in calls) or not agent.alive

    try:
        await until(over, "the calls to end one way or the other")
    except AssertionError as error:
        raise AssertionError(f"{error}; the agent logged: {node.logged()[-3000:]}") from error
    return not agent.alive


async def kill_adds(node: AgentNode, steps: int) -> bool:
    """Kill the agent when two ADDs are at the same step; return whether it got that far.

    The plugin of one repeats the ADD; the sandbox of the other is deleted.
    """
    before = await node.look()
    retried, deleted = await node.make_sandboxes(node.make_pods(["", ""]))
    node.start(killed_at=f"{steps},2")
    first, second = (
        asyncio.create_task(node.call("ADD", sandbox)) for sandbox in (retried, deleted)
    )
    killed = await _killed(node, first, second)
    node.kill()
    await node.end_sandboxes([deleted])
    node.start()
    outcome = await first
    assert outcome.code == 0, (steps, outcome, node.logged())
    assert (await node.check(retried, outcome.body)).code == 0
    assert await node.iface_id(retried) == retried.pod.port
    assert await node.addresses(retried) == {retried.pod.v4, retried.pod.v6}
    assert ((await second).code != 0) == killed, (
        "an ADD of a deleted sandbox succeeded, or failed without a kill"
    )
    await node.delete(retried)
    await node.end_sandboxes([retried])
    await node.same(before)
    node.kill()
    return killed


async def kill_deletion(node: AgentNode, steps: int) -> bool:
    sandbox = await node.sandbox()
    before = await node.look()
    node.start()
    await node.add(sandbox)
    node.kill()
    node.start(killed_at=f"{steps},1")
    deleting = asyncio.create_task(node.call("DEL", sandbox))
    killed = await _killed(node, deleting)
    if killed:
        node.start()
    assert (await deleting).code == 0
    await node.same(before)
    node.kill()
    return killed


async def _every_prefix(node: AgentNode, one: Round, first: int = 0, stride: int = 1) -> int:
    """Call `one` with growing numbers of steps; return the first one that the agent survives."""
    for steps in count(first, stride):
        if not await one(node, steps):
            return steps
    raise AssertionError


async def test_after_each_single_step(nodes: list[AgentNode]) -> None:
    """Three nodes run at the same time."""
    even, odd, deleted = await asyncio.gather(
        _every_prefix(nodes[0], kill_adds, 0, 2),
        _every_prefix(nodes[1], kill_adds, 1, 2),
        _every_prefix(nodes[2], kill_deletion),
    )
    added = min(even, odd)
    assert max(even, odd) == added + 1
    print(f"killed after each of {added} prefixes of an ADD and {deleted} of a DEL")
    assert added > 10
    assert deleted >= 3


async def test_while_an_add_waits_for_its_annotations(node: AgentNode) -> None:
    """Nothing is on the node at that point: the plugin asks again."""
    sandbox = await node.sandbox(pod := node.pod(annotated=False))
    before = await node.look()
    adding = asyncio.create_task(node.call("ADD", sandbox))
    await until(lambda: is_received(node, sandbox), "the ADD to be received")
    node.kill()
    node.start()
    node.annotate(pod, pod.annotations)
    outcome = await adding
    assert outcome.code == 0, outcome
    assert outcome.seconds < 20
    await node.delete(sandbox)
    await node.same(before)


async def test_an_add_that_meets_the_agent_as_it_connects(bare: AgentNode) -> None:
    """OVSDB does not answer yet when the call arrives."""
    sandbox = await bare.sandbox()
    before = await bare.look()
    with bare.stopped("ovsdb-server"):
        bare.start(ready=False)
        adding = asyncio.create_task(bare.call("ADD", sandbox))
        await asyncio.sleep(1.5)
        assert not adding.done(), adding.result()
    outcome = await adding
    assert outcome.code == 0, outcome
    await bare.delete(sandbox)
    await bare.same(before)
