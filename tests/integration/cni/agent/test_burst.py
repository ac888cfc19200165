"""Many ADDs and DELs at once, and thousands in sequence.

All succeed, an invalid one fails alone, and the agent leaks nothing.
"""

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path

import pytest

from integration.cni.agent.node import AgentNode
from integration.cni.agent.pods import Pod, Sandbox
from ovnlet_cni.errors import Code


@pytest.mark.uncovered
async def test_100_adds_then_100_dels(node: AgentNode) -> None:
    pods = await asyncio.to_thread(node.make_pods, [""] * 100)
    sandboxes = await node.make_sandboxes(pods)
    before = await node.look()
    begun = time.monotonic()
    await asyncio.gather(*map(node.add, sandboxes))
    added = time.monotonic() - begun
    words = (
        "--bare",
        "--columns=external_ids",
        "find",
        "Interface",
        "external_ids:ovn-installed=true",
    )
    installed = await node.run("ovs-vsctl", *words)
    assert {pod.port for pod in pods} == {
        word.removeprefix("iface-id=") for word in installed.split() if word.startswith("iface-id=")
    }
    begun = time.monotonic()
    await asyncio.gather(*map(node.delete, sandboxes))
    print(f"100 ADDs at once in {added:.2f} s, 100 DELs in {time.monotonic() - begun:.2f} s")
    await node.same(before)


async def _foreign_link(node: AgentNode, sandbox: Sandbox) -> None:
    await node.run("ip", "link", "add", sandbox.link, "type", "veth", "peer", "name", "foreign")


async def _foreign_port(node: AgentNode, sandbox: Sandbox) -> None:
    await node.run(
        "ovs-vsctl",
        "add-port",
        "br-int",
        sandbox.link,
        "--",
        "set",
        "Interface",
        sandbox.link,
        "type=internal",
    )


async def _foreign_port_elsewhere(node: AgentNode, sandbox: Sandbox) -> None:
    await node.run(
        "ovs-vsctl",
        "add-port",
        "br-ext",
        sandbox.link,
        "--",
        "set",
        "Interface",
        sandbox.link,
        "type=patch",
    )


async def _foreign_link_in_the_pod(node: AgentNode, sandbox: Sandbox) -> None:
    await node.run(
        "ip",
        "-n",
        sandbox.container_id,
        "link",
        "add",
        "eth0",
        "type",
        "veth",
        "peer",
        "name",
        "other",
    )


Clash = Callable[[AgentNode, Sandbox], Coroutine[None, None, None]]
CLASHES: list[Clash] = [
    _foreign_link,
    _foreign_port,
    _foreign_port_elsewhere,
    _foreign_link_in_the_pod,
]


async def test_20_at_once_with_a_name_clash(node: AgentNode) -> None:
    pods = await asyncio.to_thread(node.make_pods, [""] * 20)
    for clash in CLASHES:
        await _clash(node, pods, clash)


async def _clash(node: AgentNode, pods: list[Pod], clash: Clash) -> None:
    bad, *good = await node.make_sandboxes(pods)
    await clash(node, bad)
    before = await node.look()
    failed, *done = await asyncio.gather(
        node.call("ADD", bad), *(node.call("ADD", each) for each in good)
    )
    assert [outcome.code for outcome in done] == [0] * 19
    assert failed.code == Code.INVALID_CONFIG, failed
    assert "foreign" in str(failed.error["msg"]) or "not ovnlet's" in str(failed.error["msg"]), (
        failed
    )
    await asyncio.gather(*map(node.delete, good))
    await node.delete(bad)
    await node.same(before)
    await node.sh(
        f"ovs-vsctl --if-exists del-port {bad.link}; ip link del {bad.link} 2>/dev/null || :"
    )
    await node.end_sandboxes([bad, *good])


@dataclass(frozen=True, slots=True)
class Weight:
    """The counts and sizes of the agent's process that a leak would raise."""

    descriptors: int
    threads: int
    processes: int
    kib: int

    @classmethod
    def of(cls, pid: int) -> "Weight":
        process = Path(f"/proc/{pid}")
        facts = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        children = [task.read_text().split() for task in process.glob("task/*/children")]
        return cls(
            descriptors=len(list((process / "fd").iterdir())),
            threads=int(facts["Threads"]),
            processes=sum(map(len, children)),
            kib=int(facts["VmRSS"].split()[0]),
        )


async def _churn(node: AgentNode, pods: list[Pod], rounds: int) -> None:
    """Attach and detach every pod in each round, in new namespaces, 25 pods at a time."""

    async def one(sandbox: Sandbox) -> None:
        await node.add(sandbox)
        await node.delete(sandbox)

    for _ in range(rounds):
        sandboxes = await node.make_sandboxes(pods)
        for start in range(0, len(sandboxes), 25):
            await asyncio.gather(*map(one, sandboxes[start : start + 25]))
        await node.end_sandboxes(sandboxes)


async def _grown(node: AgentNode, warming: int, rounds: int) -> tuple[Weight, Weight]:
    pods = await asyncio.to_thread(node.make_pods, [""] * 50)
    before = await node.look()
    await _churn(node, pods, warming)
    assert node.agent is not None
    first = Weight.of(node.agent.pid)
    begun = time.monotonic()
    await _churn(node, pods, rounds)
    seconds = time.monotonic() - begun
    await node.same(before)
    last = Weight.of(node.agent.pid)
    print(
        f"{50 * rounds} ADD/DEL in {seconds:.0f} s;"
        f" after {50 * warming}: {first}, at the end: {last}"
    )
    assert last.descriptors <= first.descriptors + 2
    # asyncio's pool has as many threads as were ever needed at once, at most this number.
    assert last.threads <= first.threads + min(32, (os.cpu_count() or 1) + 4)
    assert last.processes == first.processes == 0
    return first, last


@pytest.mark.uncovered
async def test_200_adds_and_dels_leave_the_agent_as_it_was(node: AgentNode) -> None:
    first, last = await _grown(node, warming=1, rounds=4)
    assert last.kib - first.kib < 8 << 10


@pytest.mark.long
async def test_5000_adds_and_dels_leave_the_agent_as_it_was(node: AgentNode) -> None:
    first, last = await _grown(node, warming=20, rounds=100)
    assert last.kib < first.kib * 1.05
