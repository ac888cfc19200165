"""The calls of a runtime that follows the CNI specification, CHECK, STATUS and GC among them.

`testbed/cni_runtime.py` makes them on the node, with results cached from call to call.
"""

import asyncio
import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from integration.cni.agent.inside import run
from integration.cni.agent.node import SOCKET, TESTS, AgentNode, until
from integration.cni.agent.pods import Sandbox
from ovnlet_cni.errors import Code

PROGRAM = str(TESTS / "testbed" / "cni_runtime.py")
HOME = "/run/specification"


@dataclass(frozen=True, slots=True)
class Calls:
    """The runtime on a node: each call is a process of its own, as two starts of a runtime are."""

    node: AgentNode

    async def __call__(self, verb: str, *sandboxes: Sandbox) -> Any:
        """Return the result of a verb; fail on an error."""
        answer = await self.answer(verb, *sandboxes)
        assert "error" not in answer, (verb, answer)
        return answer["result"]

    async def code(self, verb: str, *sandboxes: Sandbox) -> int:
        """Return the code of the error of a verb, 0 without one."""
        return int((await self.answer(verb, *sandboxes)).get("error", {"code": 0})["code"])

    async def answer(self, verb: str, *sandboxes: Sandbox) -> dict[str, Any]:
        words = ["python3", PROGRAM, verb, f"--list={HOME}/list", f"--cache={HOME}/cache"]
        words.append(f"--path={self.node.plugin.parent}")
        for each in sandboxes:
            args = each.env["CNI_ARGS"]
            words += ["--attachment", f"{each.container_id},{each.netns},{args}"]
        path = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        outcome = await run(self.node.space.path("/"), words, path)
        answer: dict[str, Any] = json.loads(outcome.stdout)
        return answer

    async def has_port(self, sandbox: Sandbox) -> bool:
        return sandbox.link in (await self.node.run("ovs-vsctl", "list-ports", "br-int")).split()


@pytest.fixture
def calls(bare: AgentNode) -> Iterator[Calls]:
    """Yield the runtime, with a list of the plugin alone."""
    network = {
        "cniVersion": "1.1.0",
        "name": "ovnlet",
        "plugins": [{"type": "ovnlet", "server_socket": SOCKET}],
    }
    bare.space.path(HOME).mkdir(parents=True)
    bare.space.path(f"{HOME}/list").write_text(json.dumps(network))
    yield Calls(bare)
    bare.space.sh(f"rm -r {HOME}")


async def test_the_life_of_two_attachments(calls: Calls) -> None:
    """STATUS, VERSION, ADD, CHECK, a CHECK that fails, GC of valid attachments, DEL, DEL again."""
    node = calls.node
    node.start("--repair=report")
    web, db = await node.make_sandboxes(node.make_pods(["web", "db"]))
    before = await node.look()
    assert await calls("status") is None
    assert "1.1.0" in (await calls("version"))["ovnlet"]
    results = await calls("add", web, db)
    assert [each["ips"][0]["address"].split("/")[0] for each in results] == [web.pod.v4, db.pod.v4]
    assert await calls("check", web, db) == [None, None]
    await node.inside(web, "ip", "route", "del", "default")
    assert await calls.code("check", web) == Code.INTERNAL
    assert await calls.code("check", db) == 0, "the control: nothing is wrong with the other pod"
    await calls("add", web)
    assert await calls("check", web) == [None]
    assert await calls("gc", web, db) == []
    assert await calls("check", web, db) == [None, None], "GC has touched a valid attachment"
    await calls("delete", web, db)
    assert (await calls.answer("check", web))["error"] == {
        "refused": "CHECK of an attachment that has no ADD, or has been deleted"
    }
    await calls("delete", web)
    await node.same(before, within=20)


async def test_gc_removes_what_the_runtime_has_forgotten(calls: Calls) -> None:
    """One dead sandbox is still in the cache: it gets a DEL. Of the other only the plugin knows."""
    node = calls.node
    node.start()
    web, cached, forgotten = await node.make_sandboxes(node.make_pods(["web", "old", "older"]))
    await calls("add", web, cached, forgotten)
    await node.sh(f"rm {HOME}/cache/*-{forgotten.container_id}-eth0")
    await node.suspend([cached, forgotten])  # else it would be notified of the ends before the GC
    await node.end_sandboxes([cached, forgotten])
    assert node.agent is not None
    assert await calls.has_port(forgotten), "the control: the port is there without a GC"
    collecting = asyncio.create_task(calls("gc", web))
    await asyncio.sleep(0.1)
    node.agent.send(signal.SIGCONT)
    assert await collecting == [cached.container_id]
    assert not await calls.has_port(cached)
    assert not await calls.has_port(forgotten)
    assert await calls("check", web) == [None]


async def test_status_gives_the_reason_while_a_daemon_is_stopped(calls: Calls) -> None:
    node = calls.node
    node.start()
    held = node.space.service("ovs-vswitchd")
    held.send(signal.SIGSTOP)
    try:

        async def limited() -> bool:
            return await calls.code("status") == Code.LIMITED

        await until(limited, "STATUS with code 51")
    finally:
        held.send(signal.SIGCONT)

    async def good() -> bool:
        return await calls.code("status") == 0

    await until(good, "STATUS without an error")
