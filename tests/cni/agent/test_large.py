"""The largest annotations that Kubernetes takes, edited again and again: no other pod waits, and nothing piles up."""

import asyncio
import json
import time
from pathlib import Path

from cni.agent.node import AgentNode, until
from cni.agent.pods import Sandbox

OVN = "ovn.kubernetes.io"
MOST = 256 * 1024  # keys and values of one object, by the API server's own rule
SPARE = 4096
EDITS = 60
SOON = 3.0
MIB = 1 << 20


def many(number: int, size: int) -> str:
    """A list with an entry for about each ten characters."""
    entry = json.dumps({"dst": f"{number}"})
    return "[" + ",".join([entry] * (size // (len(entry) + 1) - 1)) + "]"


def values(number: int) -> dict[str, str | None]:
    """Different each time: routes just inside what is read, other values far beyond it."""
    inside = 64 * 1024
    rest = (MOST - SPARE - inside) // 2
    return {f"{OVN}/routes": many(number, inside), f"{OVN}/gateway": "," * (rest - number), f"{OVN}/loss": "9" * rest}


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


async def repaired(node: AgentNode, sandbox: Sandbox) -> float:
    """A neighbour's routes are flushed: how long until they are back."""
    await node.inside(sandbox, "ip", "route", "flush", "dev", "eth0")

    async def back() -> bool:
        return "default via" in await node.inside(sandbox, "ip", "route")

    return await until(back, "the neighbour's routes", 20)


async def test_the_largest_annotations_hold_up_nobody_and_pile_up_nowhere(node: AgentNode) -> None:
    assert node.agent is not None
    large, other = await node.make_sandboxes(node.make_pods(["", ""]))
    await asyncio.gather(node.add(large), node.add(other))
    node.annotate(large.pod, values(0))
    await repaired(node, other)
    before, going = resident(node.agent.pid), True

    async def edit() -> int:
        edits = 0
        while going or edits < EDITS:
            edits += 1
            await asyncio.to_thread(node.annotate, large.pod, values(edits))
        return edits

    editing = asyncio.create_task(edit())
    began = time.monotonic()
    took: list[float] = []
    while time.monotonic() - began < 5 or len(took) < 5:
        took.append(await repaired(node, other))
        await asyncio.sleep(0.3)  # ten at once would rest
    going = False
    edits = await editing
    grown = (resident(node.agent.pid) - before) / MIB
    print(f"{edits} edits of 256 KiB, {len(took)} repairs beside them: at most {max(took):.2f} s, {grown:.0f} MiB more")
    assert max(took) < SOON
    assert grown < 24, "each edit is remembered"
    assert await node.addresses(large) == {large.pod.v4, large.pod.v6}, "what was good stays in force"
