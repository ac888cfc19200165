"""CHECK against the real agent with the result of an ADD.

It detects drift, passes changes of chained plugins, and modifies nothing.
"""

import asyncio
import json
from collections.abc import Callable, Coroutine

import pytest

from integration.cni.agent.node import AgentNode, until
from integration.cni.agent.pods import Sandbox
from integration.cni.runtime import Json
from ovnlet_cni.errors import Code

Breaking = Callable[[AgentNode, Sandbox], Coroutine[None, None, object]]


def ip(*words: str) -> Breaking:
    return lambda node, sandbox: node.inside(sandbox, "ip", *words)


def external_ids(verb: str, *words: str) -> Breaking:
    return lambda node, sandbox: node.run("ovs-vsctl", verb, "Interface", sandbox.link, *words)


async def _delete_port(node: AgentNode, sandbox: Sandbox) -> None:
    await node.run("ovs-vsctl", "del-port", sandbox.link)


async def _delete_link(node: AgentNode, sandbox: Sandbox) -> None:
    await node.run("ip", "link", "del", sandbox.link)


async def _take_iface_id(node: AgentNode, sandbox: Sandbox) -> None:
    """Set the pod's iface-id on a second port."""
    duplicate = [
        "ovs-vsctl",
        "add-port",
        "br-int",
        "duplicate",
        "--",
        "set",
        "Interface",
        "duplicate",
        "type=internal",
    ]
    await node.run(*duplicate, f"external_ids:iface-id={sandbox.pod.port}")


BROKEN: list[tuple[str, Breaking, str]] = [
    ("default route", ip("route", "del", "default"), "+ Route eth0 0.0.0.0/0"),
    ("IPv6 default route", ip("-6", "route", "del", "default"), "+ Route eth0 ::/0"),
    (
        "gateway",
        ip("route", "replace", "default", "via", "10.16.0.9", "proto", "157"),
        "~ Route eth0 0.0.0.0/0: via",
    ),
    (
        "competing route",
        ip("route", "append", "default", "via", "10.16.0.9"),
        "- CompetingRoute eth0 0.0.0.0/0 via 10.16.0.9",
    ),
    ("connected route", ip("route", "del", "10.16.0.0/16"), "+ Route eth0 10.16.0.0/16"),
    ("address", ip("-4", "address", "flush", "dev", "eth0"), "+ Address eth0 10.16."),
    ("link down", ip("link", "set", "eth0", "down"), "pod_up False -> True"),
    ("MTU", ip("link", "set", "eth0", "mtu", "1300"), "mtu 1300 -> 1400"),
    ("MAC", ip("link", "set", "eth0", "address", "0a:00:00:ff:ff:ff"), "mac 0a:00:00:ff:ff:ff ->"),
    ("link", _delete_link, "+ Veth"),
    ("port", _delete_port, "+ Port br-int"),
    ("iface-id", external_ids("remove", "external_ids", "iface-id"), "iface-id None ->"),
    ("other iface-id", external_ids("set", "external_ids:iface-id=other"), "iface-id other ->"),
    ("duplicate iface-id", _take_iface_id, "- DuplicateIfaceId duplicate"),
]


@pytest.fixture
async def idle(bare: AgentNode) -> AgentNode:
    """Return a node whose agent reports drift and repairs none."""
    bare.start("--repair=report")
    return bare


async def attached(node: AgentNode) -> tuple[Sandbox, Json]:
    sandbox = await node.sandbox()
    result = (await node.add(sandbox)).body
    assert (await node.check(sandbox, result)).code == 0, "right after its ADD"
    return sandbox, result


async def test_it_passes_right_after_each_of_50_adds(node: AgentNode) -> None:
    """CRI-O calls CHECK right after an ADD."""
    sandboxes = await node.make_sandboxes(node.make_pods([""] * 50))

    async def both(sandbox: Sandbox) -> int:
        return (await node.check(sandbox, (await node.add(sandbox)).body)).code

    assert set(await asyncio.gather(*map(both, sandboxes))) == {0}


async def test_it_fails_with_the_plan_and_changes_nothing(idle: AgentNode) -> None:
    """Each change is on a pod of its own. Drift is only reported, so each is there at the end."""

    async def one(breaking: Breaking, words: str) -> None:
        sandbox, result = await attached(idle)
        await breaking(idle, sandbox)
        outcome = await idle.check(sandbox, result)
        assert outcome.code == Code.INTERNAL, (words, outcome)
        assert words in str(outcome.error["msg"]), outcome
        again = await idle.check(sandbox, result)
        assert again.error["msg"] == outcome.error["msg"], "drift was repaired in report mode"

    for _, breaking, words in BROKEN:
        await one(breaking, words)

    async def all_logged() -> bool:
        return idle.logged().count("drift is left") >= len(BROKEN)

    await until(all_logged, "each drift in the log")
    assert "] repaired" not in idle.logged()


async def test_a_call_and_an_edit_act_though_drift_stays(idle: AgentNode) -> None:
    sandbox, result = await attached(idle)
    await idle.inside(sandbox, "ip", "route", "del", "default")
    assert (await idle.check(sandbox, result)).code == Code.INTERNAL
    await idle.add(sandbox)
    assert (await idle.check(sandbox, result)).code == 0, "a repeated ADD repaired nothing"
    idle.annotate(
        sandbox.pod,
        {"ovn.kubernetes.io/routes": json.dumps([{"dst": "9.9.9.0/24", "gw": "10.16.0.1"}])},
    )
    for _ in range(100):
        if "9.9.9.0/24" in await idle.inside(sandbox, "ip", "route"):
            break
        await asyncio.sleep(0.05)
    assert "9.9.9.0/24" in await idle.inside(sandbox, "ip", "route"), "the edit was not applied"
    await idle.delete(sandbox)


async def test_with_repair_off_nothing_is_logged(bare: AgentNode) -> None:
    bare.start("--repair=off", "--resync=1")
    sandbox, result = await attached(bare)
    await bare.inside(sandbox, "ip", "route", "del", "default")
    await asyncio.sleep(1.5)
    assert (await bare.check(sandbox, result)).code == Code.INTERNAL
    assert "drift" not in bare.logged()


async def test_it_is_narrowed_to_what_the_result_lists(idle: AgentNode) -> None:
    sandbox, result = await attached(idle)
    await idle.inside(sandbox, "ip", "route", "add", "10.99.0.0/16", "via", "10.16.0.1")
    await idle.inside(sandbox, "ip", "address", "add", "10.16.200.200/16", "dev", "eth0")
    assert (await idle.check(sandbox, result)).code == 0, (
        "a route and an address of a chained plugin fail the CHECK"
    )
    await idle.inside(sandbox, "ip", "-6", "route", "del", "default")
    assert (await idle.check(sandbox, result)).code == Code.INTERNAL
    (v4,) = [route for route in json.loads(json.dumps(result["routes"])) if ":" not in route["dst"]]
    taken = result | {"routes": [v4], "ips": json.loads(json.dumps(result["ips"]))}
    assert (await idle.check(sandbox, taken)).code == 0, (
        "a route that the result lacks fails the CHECK"
    )
    await idle.inside(
        sandbox, "ip", "-6", "route", "add", "default", "via", "fd00:10:16::9", "metric", "9"
    )
    assert (await idle.check(sandbox, taken)).code == 0, (
        "the chained plugin's own route fails the CHECK"
    )
    assert (await idle.check(sandbox, {})).code == Code.INVALID_CONFIG


async def test_a_missing_ovn_installed_is_a_failure(idle: AgentNode) -> None:
    sandbox, result = await attached(idle)
    await idle.run(
        "ovs-vsctl", "remove", "Interface", sandbox.link, "external_ids", "ovn-installed"
    )
    outcome = await idle.check(sandbox, result)
    assert outcome.code == Code.TRY_AGAIN
    assert "ovn-installed" in str(outcome.error["msg"])


async def test_of_an_unknown_sandbox(node: AgentNode) -> None:
    sandbox, result = await attached(node)
    await node.delete(sandbox)
    assert (await node.check(sandbox, result)).code == Code.UNKNOWN_CONTAINER


async def test_it_asks_the_api_server_nothing(node: AgentNode) -> None:
    """With the API server stopped it answers as fast as before."""
    sandbox, result = await attached(node)
    assert node.bed.control is not None
    control = node.bed.control
    with node.stopped("kube-apiserver", control):
        outcome = await node.check(sandbox, result)
    assert outcome.code == 0
    assert outcome.seconds < 3
