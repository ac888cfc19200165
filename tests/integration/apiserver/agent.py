"""The cluster agent as the agent runs it, fed by the real API server through the proxy."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from ovnlet.core.identity import Pod
from ovnlet.core.ipam.subnets import SubnetObject
from ovnlet.kube import objects, pods
from ovnlet.kube.events import Recorder
from ovnlet.kube.kopf_runner import KopfRunner
from ovnlet.kube.object_store import Store
from ovnlet.kube.relist import Relist
from ovnlet.kube.session import Access
from ovnlet.reconcile.state import State

NODE = "n0"
# What the issue grants from the API server's return until an edit made meanwhile is in force.
IN_FORCE = 6.0


@dataclass(frozen=True, slots=True)
class AgentUnderTest:
    state: State
    listing: Relist[Pod]
    subnets: Relist[SubnetObject]
    runner: KopfRunner
    recorder: Recorder

    def pod(self, name: str) -> Pod | None:
        return self.state.get(("default", name))

    def note(self, name: str) -> str | None:
        pod = self.pod(name)
        return pod.annotations.get("ovn.kubernetes.io/note") if pod else None


def build_agent(account: Path, server: str) -> AgentUnderTest:
    access = Access(server=server, account=account)
    state = State()
    listing = Relist(access, Store(pods.of_node(NODE), pods.read, state.heard, state.known))
    subnets = Relist(access, Store(objects.SUBNETS, objects.subnet, lambda _was, _now: None))
    runner = KopfRunner(access, NODE, [listing, subnets])
    return AgentUnderTest(state, listing, subnets, runner, Recorder(access, NODE))


@asynccontextmanager
async def running(account: Path, server: str) -> AsyncIterator[AgentUnderTest]:
    """As the agent does: some tasks, stopped by cancelling them."""
    agent = build_agent(account, server)
    tasks = [
        asyncio.create_task(part.run())
        for part in (agent.listing, agent.subnets, agent.runner, agent.recorder)
    ]
    try:
        yield agent
        assert not any(task.done() for task in tasks), "a part of the agent ended"
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(look: Callable[[], object], within: float, what: str) -> float:
    """Wait for a state; returns how long it took."""
    began = monotonic()
    while not look():
        assert monotonic() - began < within, f"{what}: not within {within:g} s"
        await asyncio.sleep(0.005)
    return monotonic() - began


@dataclass(frozen=True, slots=True)
class Weight:
    """What a leak would add to."""

    tasks: int
    threads: int
    descriptors: int
    resident: int

    @classmethod
    def now(cls) -> "Weight":
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return cls(
            len(asyncio.all_tasks()),
            threading.active_count(),
            len(os.listdir("/proc/self/fd")),
            pages * 4096 >> 20,
        )
