"""STATUS against the real agent.

It names the daemon that is stopped or hangs, within seconds, until that one recovers; and it always
answers in time.
"""

import asyncio
import signal
import statistics
import time
from collections.abc import AsyncIterator

import pytest_asyncio

from integration.cni.agent.node import AgentNode, until
from integration.cni.runtime import Outcome
from ovnlet_cni.errors import Code

# Two checks, two seconds apart, each waiting a second for an answer; the rest is for slow machines.
REPORTED_WITHIN = 15.0
# daemon, code, start of the reason
PARTS = [
    ("ovsdb-server", Code.UNAVAILABLE, "OVSDB at "),
    ("ovs-vswitchd", Code.LIMITED, "ovs-vswitchd: "),
    ("ovn-controller", Code.UNAVAILABLE, "ovn-controller: "),
]
ENDS = [(*part, number) for part in PARTS for number in (signal.SIGSTOP, signal.SIGKILL)]


@pytest_asyncio.fixture
async def serving(nodes: list[AgentNode]) -> AsyncIterator[list[AgentNode]]:
    """Start agents on all nodes; at the end, continue or restart every daemon."""
    for node in nodes:
        node.start(ready=False)
    for node in nodes:
        node.wait_ready()
    yield nodes
    for node in nodes:
        for daemon, _, _ in PARTS:
            service = node.space.service(daemon)
            service.send(signal.SIGCONT)
            if not service.alive:
                node.space.restart(daemon)


async def _is_good(node: AgentNode) -> bool:
    return (await node.status()).exit_code == 0


async def _failure(node: AgentNode, what: str) -> Outcome:
    async def failing() -> bool:
        return not await _is_good(node)

    seconds = await until(failing, f"{what}: STATUS fails", REPORTED_WITHIN)
    outcome = await node.status()
    print(f"{what}: reported after {seconds:.1f} s: {outcome.error}")
    return outcome


async def test_a_stopped_or_hanging_daemon_is_reported_until_it_recovers(
    serving: list[AgentNode],
) -> None:
    """Each case has a node of its own, at the same time; the last one has a late answer only."""

    async def one(
        node: AgentNode, daemon: str, code: Code, words: str, number: signal.Signals
    ) -> None:
        assert await _is_good(node)
        service = node.space.service(daemon)
        service.send(number)
        outcome = await _failure(node, f"{daemon} {number.name}")
        assert outcome.code == code, outcome
        assert words in str(outcome.error["msg"]), outcome
        if number == signal.SIGKILL:
            await asyncio.to_thread(node.space.restart, daemon)
        else:
            service.send(signal.SIGCONT)
        seconds = await until(
            lambda: _is_good(node), f"{daemon}: STATUS succeeds again", REPORTED_WITHIN
        )
        print(f"{daemon} {number.name}: recovered after {seconds:.1f} s")
        sandbox = await node.sandbox()
        await node.add(sandbox)

    *broken, busy = serving
    ends = (one(node, *end) for node, end in zip(broken, ENDS, strict=True))
    await asyncio.gather(*ends, _one_late_answer_is_no_outage(busy))


async def _one_late_answer_is_no_outage(node: AgentNode) -> None:
    """Stop ovs-vswitchd for less than the time between two checks: at most one can time out."""

    async def stays_good(seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert await _is_good(node)
            await asyncio.sleep(0.1)

    with node.stopped("ovs-vswitchd"):
        await stays_good(1.8)
    await stays_good(2.5)


async def test_a_lost_southbound_database_is_reported_until_it_recovers(node: AgentNode) -> None:
    assert node.bed.control is not None
    node.bed.control.service("ovn-sb").stop(signal.SIGKILL)
    try:
        outcome = await _failure(node, "southbound database killed")
        assert outcome.code == Code.UNAVAILABLE
        assert "ovn-controller: southbound database" in str(outcome.error["msg"])
    finally:
        await asyncio.to_thread(node.bed.control.restart, "ovn-sb")
    await until(lambda: _is_good(node), "STATUS succeeds again", 30)


async def test_it_is_never_late_not_even_during_100_adds(node: AgentNode) -> None:
    sandboxes = await node.make_sandboxes(await asyncio.to_thread(node.make_pods, [""] * 100))
    quiet = [(await node.status()).seconds for _ in range(50)]
    adding = asyncio.gather(*map(node.add, sandboxes))
    busy = []
    while not adding.done():
        outcome = await node.status()
        assert outcome.exit_code == 0, outcome
        busy.append(outcome.seconds)
    await adding
    for when, seconds in (("at rest", quiet), ("during 100 ADDs", busy)):
        median, worst = statistics.median(seconds) * 1000, max(seconds) * 1000
        print(
            f"STATUS {when}: {len(seconds)} answers, median {median:.1f} ms, slowest {worst:.1f} ms"
        )
        assert worst < 500, "too slow: the runtime calls it under the lock of its ADDs"
