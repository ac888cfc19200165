"""Invalid calls against the real agent: the same error codes, and no change on the node."""

import asyncio

from integration.cni.agent.node import AgentNode
from integration.cni.wrong import CONFIGS, ENVIRONMENTS, NAMESPACES
from ovnlet_cni.errors import Code


async def test_every_wrong_call_is_one_error_and_leaves_nothing(node: AgentNode) -> None:
    runtime = node.runtime
    sandbox = await node.sandbox()
    result = (await node.add(sandbox)).body
    before = await node.look()
    good = sandbox.env

    async def environment(verb: str, name: str, value: str | None) -> None:
        outcome = await runtime.call(
            verb, runtime.good(verb), runtime.env(verb, **{**good, name: value})
        )
        assert outcome.code == Code.INVALID_ENVIRONMENT, (verb, name, value, outcome)

    async def namespace(verb: str, path: str) -> None:
        outcome = await runtime.call(
            verb, runtime.good(verb), runtime.env(verb, **good | {"CNI_NETNS": path})
        )
        assert outcome.code == Code.INVALID_NETNS, (verb, path, outcome)

    async def configuration(verb: str, change: "dict[str, object] | bytes", code: Code) -> None:
        config = change if isinstance(change, bytes) else runtime.good(verb, **change)
        outcome = await runtime.call(verb, config, runtime.env(verb, **good))
        assert outcome.code == code, (verb, change, outcome)

    calls = [environment(*case) for case in ENVIRONMENTS]
    calls += [namespace(verb, path) for verb in ("ADD", "CHECK") for path in NAMESPACES]
    calls += [configuration(*case) for case in CONFIGS]
    for start in range(0, len(calls), 20):
        await asyncio.gather(*calls[start : start + 20])
    print(f"{len(calls)} invalid calls")
    await node.same(before)
    assert (await node.check(sandbox, result)).code == 0
    assert "unexpectedly" not in node.logged()


async def test_a_pod_that_cannot_be_attached(node: AgentNode) -> None:
    """One pod has an unusable annotation, the other does not exist."""
    wrong = await node.sandbox(pod := node.pod(annotated=False))
    node.annotate(pod, pod.annotations | {"ovn.kubernetes.io/mac_address": "yes"})
    gone = await node.sandbox(other := node.pod())
    node.delete_pod(other)
    before = await node.look()
    first, second = await asyncio.gather(node.call("ADD", wrong), node.call("ADD", gone))
    assert first.code == Code.INVALID_CONFIG, first
    assert "mac_address" in str(first.error["msg"])
    assert second.code == Code.UNKNOWN_CONTAINER, second
    assert second.seconds < 2
    await node.same(before)
