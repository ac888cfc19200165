"""A Subnet is edited under running pods.

MTU and gateway follow in place, addresses stay, and an invalid edit leaves the last valid values.
"""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.cni.agent.node import AgentNode, until
from integration.cni.agent.pods import Sandbox
from testbed.assign import SWITCH
from testbed.bed import Bed
from testbed.service import wait_for

CRD = Path(__file__).resolve().parents[4] / "manifests" / "standalone" / "subnet.yaml"
PODS = 20


@pytest.fixture
def subnets(bed: Bed) -> Iterator[None]:
    """Install the Subnet kind for this test only."""
    bed.kubectl("apply", f"--filename={CRD}")
    asked = ("get", "crd", "subnets.kubeovn.io", "--output=jsonpath={.status.conditions[*].type}")
    wait_for(lambda: "Established" in bed.kubectl(*asked), "the Subnet kind")
    yield
    bed.kubectl("delete", "crd", "subnets.kubeovn.io")


async def put(bed: Bed, **spec: Any) -> None:
    body = {"apiVersion": "kubeovn.io/v1", "kind": "Subnet", "metadata": {"name": SWITCH}}
    facts = {"cidrBlock": "10.16.0.0/16,fd00:10:16::/64", **spec}
    await asyncio.to_thread(
        bed.kubectl, "apply", "--filename=-", stdin=json.dumps({**body, "spec": facts})
    )


async def seen(node: AgentNode, sandbox: Sandbox) -> tuple[int, int, str, str]:
    """Return the MTU inside and outside, and the gateways of the IPv4 and IPv6 default routes."""
    (inside,) = json.loads(await node.inside(sandbox, "ip", "-j", "link", "show", "eth0"))
    (outside,) = json.loads(await node.run("ip", "-j", "link", "show", sandbox.link))
    defaults = [
        json.loads(await node.inside(sandbox, "ip", "-j", family, "route", "show", "default"))
        for family in ("-4", "-6")
    ]
    return (
        inside["mtu"],
        outside["mtu"],
        *(found[0]["gateway"] if found else "" for found in defaults),
    )


async def all_are(
    node: AgentNode, sandboxes: list[Sandbox], what: tuple[int, int, str, str], within: float
) -> None:
    async def look() -> bool:
        return {await seen(node, each) for each in sandboxes} == {what}

    seconds = await until(look, f"{what} on {len(sandboxes)} pods", within)
    print(f"{len(sandboxes)} pods followed their Subnet {seconds:.1f} s after the edit")


async def test_mtu_and_gateway_act_on_pods_that_run_and_no_address_moves(
    node: AgentNode, subnets: None
) -> None:
    pods = node.make_pods([""] * PODS)
    sandboxes = await node.make_sandboxes(pods)
    await asyncio.gather(*(node.add(each) for each in sandboxes))
    before = [await node.addresses(each) for each in sandboxes]
    usual = (1400, 1400, "10.16.0.1", "fd00:10:16::1")
    await all_are(node, sandboxes, usual, 10)

    edited = (1300, 1300, "10.16.255.254", "fd00:10:16::1")
    await put(node.bed, mtu=1300, gateway="10.16.255.254")
    await all_are(node, sandboxes, edited, 30)  # the kind came after the agent

    await put(node.bed, mtu=100, gateway="10.99.0.1")
    message = "Subnet mtu is '100'"
    await until(lambda: _true(message in node.logged()), "the log message", 20)
    await all_are(node, sandboxes, edited, 5)

    await put(node.bed, mtu=1280)
    await all_are(node, sandboxes, (1280, 1280, *usual[2:]), 20)
    assert [await node.addresses(each) for each in sandboxes] == before

    result = (await node.add(sandboxes[0])).body
    node.kill()
    control = node.bed.control_plane.space
    with node.stopped("kube-apiserver", control):
        node.start(ready=False)
        await node.inside(sandboxes[0], "ip", "link", "set", "eth0", "mtu", "1350")
        await all_are(node, sandboxes[:1], (1280, 1280, *usual[2:]), 60)
    node.wait_ready()
    await asyncio.to_thread(node.bed.kubectl, "delete", "subnet", SWITCH)
    await asyncio.sleep(1)
    await all_are(node, sandboxes, (1280, 1280, *usual[2:]), 5)
    assert (await node.check(sandboxes[0], result)).exit_code == 0


async def _true(value: bool) -> bool:
    return value
