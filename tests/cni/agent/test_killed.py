"""The agent is killed after every single step of an ADD and of a DEL: whoever comes next arrives."""

import asyncio
from collections.abc import Callable, Coroutine
from itertools import count

from cni.agent.node import AgentNode, until
from cni.runtime import Outcome

# kill after so many steps -> whether the agent got that far
Round = Callable[[AgentNode, int], Coroutine[None, None, bool]]


async def _killed(node: AgentNode, call: "asyncio.Task[Outcome]") -> bool:
    """Wait until either the agent has killed itself or the call is answered."""
    assert node.agent is not None
    agent = node.agent

    async def over() -> bool:
        return call.done() or not agent.alive

    await until(over, "the call to end one way or the other")
    return not agent.alive


async def add_is_retried(node: AgentNode, steps: int) -> bool:
    """The plugin looks for the next agent and asks again."""
    sandbox = await node.sandbox()
    before = await node.look()
    node.start(killed_at=str(steps))
    adding = asyncio.create_task(node.call("ADD", sandbox))
    killed = await _killed(node, adding)
    if killed:
        node.start()
    outcome = await adding
    assert outcome.code == 0, (steps, outcome, node.told())
    assert (await node.check(sandbox, outcome.body)).code == 0
    assert await node.iface_id(sandbox) == sandbox.pod.port
    assert await node.addresses(sandbox) == {sandbox.pod.v4, sandbox.pod.v6}
    if killed:
        await node.delete(sandbox)
        await node.same(before)
    node.kill()
    return killed


async def sandbox_dies_with_it(node: AgentNode, steps: int) -> bool:
    """Nobody asks again, not even for a DEL: the next agent sees the death and clears up."""
    before = await node.look()
    sandbox = await node.sandbox()
    node.start(killed_at=str(steps))
    adding = asyncio.create_task(node.call("ADD", sandbox))
    killed = await _killed(node, adding)
    node.kill()
    await node.end_sandboxes([sandbox])
    node.start()
    assert ((await adding).code != 0) == killed, "an ADD that is retried meets a dead sandbox"
    await node.same(before)
    node.kill()
    return killed


async def delete_is_retried(node: AgentNode, steps: int) -> bool:
    sandbox = await node.sandbox()
    before = await node.look()
    node.start()
    await node.add(sandbox)
    node.kill()
    node.start(killed_at=str(steps))
    deleting = asyncio.create_task(node.call("DEL", sandbox))
    killed = await _killed(node, deleting)
    if killed:
        node.start()
    assert (await deleting).code == 0
    await node.same(before)
    node.kill()
    return killed


async def _every_prefix(node: AgentNode, one: Round) -> int:
    for steps in count():
        if not await one(node, steps):
            return steps
    raise AssertionError


async def test_after_each_single_step(nodes: list[AgentNode]) -> None:
    """Three kinds of killing at the same time, each on a node of its own."""
    rounds: list[Round] = [add_is_retried, sandbox_dies_with_it, delete_is_retried]
    prefixes = await asyncio.gather(*map(_every_prefix, nodes, rounds))
    for one, number in zip(rounds, prefixes, strict=True):
        print(f"{one.__name__}: killed after each of {number} prefixes")
    added, died, deleted = prefixes
    assert added == died > 10
    assert deleted >= 3
    assert added + deleted > 10


async def test_while_an_add_waits_for_its_annotations(node: AgentNode) -> None:
    """What is there by then is a record alone."""
    sandbox = await node.sandbox(pod := node.pod(annotated=False))
    before = await node.look()
    adding = asyncio.create_task(node.call("ADD", sandbox))

    async def received() -> bool:
        return sandbox.container_id in await node.sh("ls /run/ovnlet/sandboxes")

    await until(received, "the ADD to be received")
    node.kill()
    node.start()
    node.annotate(pod, pod.annotations)
    outcome = await adding
    assert outcome.code == 0, outcome
    assert outcome.seconds < 20
    await node.delete(sandbox)
    await node.same(before)
