"""One bed for all these tests, and an agent on one of its nodes for each test."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from integration.cni.agent.node import TESTS, AgentNode
from kit import measured
from testbed import exec_agent
from testbed.assign import NETWORK
from testbed.bed import Bed
from testbed.service import wait_for

NAME = os.environ.get("OVNLET_CNI_BED", "floor-cni")  # two checkouts at once need two names
# Several nodes: tests break a different thing on each, and wait for all at the same time.
NODES = 7


@pytest.fixture(scope="session")
def bed() -> Iterator[Bed]:
    if Bed.is_alive(NAME):  # left over from a run that was killed
        Bed.attach(NAME).down()
    with Bed.up(NAME, nodes=NODES, parts={"ovs", "ovn", "etcd", "apiserver"}) as bed:
        bed.nbctl(*NETWORK.split())
        for node in bed.nodes:
            words = [sys.executable, "-m", "testbed.exec_agent"]
            service = node.spawn(
                "exec-agent", words, env={"PYTHONPATH": f"{TESTS}:{TESTS.parent / 'operator'}"}
            )
            service.wait_ready(node.path(exec_agent.SOCKET).exists)
        wait_for(lambda: "default" in bed.kubectl("get", "namespaces"), "namespace default")
        yield bed


@pytest.fixture(autouse=True)
def _no_coverage_of_measured_agents(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Start the agents of tests marked `uncovered` without coverage: it costs time and memory."""
    if request.node.get_closest_marker("uncovered"):
        for name in measured.environment():
            monkeypatch.delenv(name)


@pytest_asyncio.fixture
async def nodes(bed: Bed, plugin: Path) -> AsyncIterator[list[AgentNode]]:
    """Yield all nodes, without agents, and restore each at the end."""
    nodes = [AgentNode(bed, node, plugin) for node in bed.nodes]
    yield nodes
    await asyncio.gather(*(node.forget() for node in nodes))


@pytest_asyncio.fixture
async def bare(nodes: list[AgentNode]) -> AgentNode:
    """Return one node without an agent; the test starts one."""
    return nodes[0]


@pytest_asyncio.fixture
async def node(bare: AgentNode) -> AgentNode:
    """Return one node with a serving agent."""
    bare.start()
    return bare
