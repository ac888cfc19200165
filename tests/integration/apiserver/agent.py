"""The agent's Kubernetes parts (kopf, relists, state, Events), wired as the agent wires them.

The real API server feeds them through the proxy.
"""

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
# Seconds that the issue allows from the API server's return until an edit that was made
# during the outage is in force.
IN_FORCE = 6.0


@dataclass(frozen=True, slots=True)
class AgentUnderTest:
    """The parts of one agent that read from and write to the API server."""

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
    """Return an agent on ``server`` with the credentials in ``account``; no part runs yet."""
    access = Access(server=server, account=account)
    state = State()
    listing = Relist(access, Store(pods.of_node(NODE), pods.read, state.update, state.synced))
    subnets = Relist(access, Store(objects.SUBNETS, objects.subnet, lambda _was, _now: None))
    runner = KopfRunner(access, NODE, [listing, subnets])
    return AgentUnderTest(state, listing, subnets, runner, Recorder(access, NODE))


@asynccontextmanager
async def running(account: Path, server: str) -> AsyncIterator[AgentUnderTest]:
    """Run each part as a task, as the agent does, and cancel them at the end."""
    agent = build_agent(account, server)
    tasks = [
        asyncio.create_task(part.run())
        for part in (agent.listing, agent.subnets, agent.runner, agent.recorder)
    ]
    try:
        yield agent
        assert not any(task.done() for task in tasks), "a part of the agent ended early"
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(look: Callable[[], object], within: float, what: str) -> float:
    """Wait until ``look`` returns true, and return the seconds that took."""
    began = monotonic()
    while not look():
        assert monotonic() - began < within, f"{what}: not within {within:g} s"
        await asyncio.sleep(0.005)
    return monotonic() - began


@dataclass(frozen=True, slots=True)
class Weight:
    """The counts and sizes of this process that a leak would raise."""

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
