"""A real agent moves the uplink over which it reaches its API server, and gives it back."""

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from integration.cni.agent.cli import ovnlet
from integration.cni.agent.node import AgentNode, until
from testbed.service import wait_for

BRIDGE, STATE = "br-net1", "/run/ovnlet-state"
KINDS = {"provider-networks": "ProviderNetwork", "vlans": "Vlan"}


def kind(plural: str, name: str) -> dict[str, Any]:
    """Return a kind of Kube-OVN's API group, as far as the agent needs it."""
    names = {"kind": name, "plural": plural, "singular": name.lower()}
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"openAPIV3Schema": anything}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    version |= {"subresources": {"status": {}}}
    spec = {"group": "kubeovn.io", "scope": "Cluster", "names": names, "versions": [version]}
    metadata = {"name": f"{plural}.kubeovn.io"}
    api_version = "apiextensions.k8s.io/v1"
    return {
        "apiVersion": api_version,
        "kind": "CustomResourceDefinition",
        "metadata": metadata,
        "spec": spec,
    }


@pytest.fixture
def cluster(bare: AgentNode) -> Iterator[AgentNode]:
    """Yield a node with its Node, in a cluster that knows provider networks and Vlans."""
    bed, name = bare.bed, bare.space.role
    assert bed.control is not None
    bed.control.run(["ethtool", "-K", f"n{bed.nodes.index(bare.space)}", "tx", "off"])
    bare.space.run(["ethtool", "-K", "eth0", "tx", "off"])
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
    every = [node, *(kind(plural, one) for plural, one in KINDS.items())]
    body = {"apiVersion": "v1", "kind": "List", "items": every}
    bed.kubectl("create", "-f", "-", stdin=json.dumps(body))
    for plural in KINDS:
        where = "--output=jsonpath={.status.conditions[*].type}"
        asked = ("get", "crd", f"{plural}.kubeovn.io", where)
        wait_for(lambda asked=asked: "Established" in bed.kubectl(*asked), plural)  # type: ignore[misc]
    yield bare
    bare.kill()
    bare.space.sh(f"rm -rf {STATE} /run/ovnlet")
    bed.kubectl("delete", "node", name)
    for plural in KINDS:
        bed.kubectl("delete", "crd", f"{plural}.kubeovn.io")


async def state(node: AgentNode, link: str) -> list[str]:
    """Return the addresses and routes of a link, with `LINK` in place of its name."""
    shown = await node.sh(
        f"ip -o address show dev {link} scope global | sed 's/^[0-9]*: //; s/ *valid_lft.*//'\n"
        f"ip -4 route show table all dev {link} type unicast\n"
        f"ip -6 route show table all dev {link} type unicast | grep -v fe80 || :\n"
    )
    lines = (re.sub(r"\s+", " ", line).strip() for line in shown.splitlines())
    return sorted(re.sub(rf"\b{link}\b", "LINK", line) for line in lines)


async def put(node: AgentNode, **spec: Any) -> None:
    body = {"apiVersion": "kubeovn.io/v1", "kind": "ProviderNetwork", "metadata": {"name": "net1"}}
    vlan = {"apiVersion": "kubeovn.io/v1", "kind": "Vlan", "metadata": {"name": "v10"}}
    vlan |= {"spec": {"id": 10, "provider": "net1"}}
    both = {"apiVersion": "v1", "kind": "List", "items": [{**body, "spec": spec}, vlan]}
    words = ("apply", "--filename=-")
    await asyncio.to_thread(node.bed.kubectl, *words, stdin=json.dumps(both))


async def told(node: AgentNode, reason: str) -> None:
    async def look() -> bool:
        words = ("get", "events", "--all-namespaces", "-o", "json")
        found = json.loads(await asyncio.to_thread(node.bed.kubectl, *words))["items"]
        kinds = {each["involvedObject"]["kind"] for each in found if each["reason"] == reason}
        return kinds == {"ProviderNetwork", "Node"}

    await until(look, f"the Event {reason}", within=60)


async def test_the_uplink_of_the_api_server_moves_and_comes_back(cluster: AgentNode) -> None:
    """The control: the same object changes nothing with `underlay: plan`, which shows the plan."""
    node = cluster
    before = await state(node, "eth0")
    assert len(before) == 6, before
    flags = (f"--state-dir={STATE}", "--underlay-timeout=20")
    node.start("--underlay=plan", *flags)
    await put(node, defaultInterface="eth0", nodeSelector={"matchLabels": {"none": "here"}})
    await put(node, defaultInterface="eth0")

    async def planned() -> bool:
        shown = (await ovnlet(node, "plan", "--node")).stdout.decode()
        return "+ UplinkPort br-net1 eth0" in shown and "- LinkEntry eth0 route default" in shown

    await until(planned, "the plan")
    assert await state(node, "eth0") == before
    node.kill()

    node.start("--underlay=manage", *flags)
    await told(node, "UplinkMoved")
    assert await state(node, BRIDGE) == before
    assert await state(node, "eth0") == []
    assert (await node.run("ovs-vsctl", "get", "Port", "eth0", "trunks")).strip() == "[0, 10]"
    await labels(node, {"ready": "true", "interface": "eth0", "mtu": "1500"})

    await node.run("ovs-vsctl", "del-port", BRIDGE, "eth0")
    await node.run("ip", "route", "flush", "dev", BRIDGE)

    async def repaired() -> bool:
        ports = await node.run("ovs-vsctl", "list-ports", BRIDGE)
        return ports.split() == ["eth0"] and await state(node, BRIDGE) == before

    await until(repaired, "the repair")

    node.kill()
    node.start("--underlay=manage", *flags)
    assert await state(node, BRIDGE) == before
    await put(node, defaultInterface="eth0", excludeNodes=[node.space.role])
    await told(node, "UplinkReturned")
    assert await state(node, "eth0") == before
    assert BRIDGE not in await node.run("ovs-vsctl", "list-br")
    await labels(node, {"exclude": "true"})


async def labels(node: AgentNode, wanted: dict[str, str]) -> None:
    """Wait until the Node has these labels of the network, and no others."""

    async def look() -> bool:
        words = ("get", "node", node.space.role, "-o", "json")
        body = json.loads(await asyncio.to_thread(node.bed.kubectl, *words))
        found = body["metadata"].get("labels") or {}
        prefix = "net1.provider-network.kubernetes.io/"
        own = {k.removeprefix(prefix): v for k, v in found.items() if k.startswith(prefix)}
        return own == wanted

    await until(look, f"the labels {wanted}")
