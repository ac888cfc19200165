"""Pods get addresses: OVN chooses them, they are pinned and unique, and one patch writes them."""

import asyncio
import json
from statistics import quantiles
from time import monotonic
from typing import Any

from integration.controller.admin import OVN, PODS, ClusterAdmin, until
from integration.controller.replicas import Replicas

DUAL = "10.16.0.0/16,fd00:10:16::/64"


def figures(seconds: list[float]) -> str:
    cuts = quantiles(seconds, n=100)
    return f"p50 {cuts[49] * 1000:.0f} ms, p99 {cuts[98] * 1000:.0f} ms"


async def test_a_subnet_and_a_pod(admin: ClusterAdmin, replicas: Replicas) -> None:
    replicas.start()
    await admin.subnet("ovn-default", DUAL, default=True, excludeIps=["10.16.0.2..10.16.0.9"])
    await admin.node("n0", "192.0.2.1")
    await admin.pod("first")
    addresses = (await admin.allocated("first"))["first"].split(",")
    annotations = await admin.annotations("first")
    assert addresses[0] == "10.16.0.10", "the first that is neither the gateway nor excluded"
    assert addresses[1].startswith("fd00:10:16:")
    assert (annotations["cidr"], annotations["gateway"]) == (DUAL, "10.16.0.1,fd00:10:16::1")
    port = (await admin.ports())["first.default"]
    pinned = " ".join([annotations["mac_address"], *addresses])
    assert (port["addresses"], port["port_security"]) == (pinned, pinned)
    pod = await admin.do("GET", f"{PODS}/first")
    assert port["options"] == {"iface-id-ver": pod["metadata"]["uid"], "requested-chassis": "n0"}

    async def counted() -> bool:
        status = await admin.subnet_status("ovn-default")
        return (status.get("v4usingIPs"), status.get("v4availableIPs")) == (1, 65534 - 9 - 1)

    await until(counted, 10, "the Subnet's figures")


async def test_a_node_gets_its_port_on_the_join_network(
    admin: ClusterAdmin, replicas: Replicas
) -> None:
    replicas.start()
    await admin.subnet("ovn-default", DUAL, default=True)
    await admin.node("n0", "192.0.2.1")

    async def node_annotations() -> dict[str, str]:
        meta = (await admin.do("GET", "/api/v1/nodes/n0"))["metadata"]
        every: dict[str, str] = meta.get("annotations") or {}
        return {key.removeprefix(f"{OVN}/"): value for key, value in every.items()}

    async def allocated() -> bool:
        return (await node_annotations()).get("allocated") == "true"

    await until(allocated, 20, "the Node's annotations")
    facts = await node_annotations()
    assert (facts["port_name"], facts["logical_switch"]) == ("node-n0", "join")
    assert facts["gateway"] == "100.64.0.1,fd00:100:64::1"
    own = facts["ip_address"].split(",")

    async def routed() -> bool:
        listed = await admin.nbctl("lr-policy-list", "ovn-cluster")
        return f"ip4.dst == 192.0.2.1 reroute {own[0]}" in " ".join(listed.split())

    await until(routed, 10, "the route to the node")


async def test_500_pods_at_once(admin: ClusterAdmin, replicas: Replicas) -> None:
    replicas.start()
    await admin.subnet("ovn-default", DUAL, default=True)
    await admin.ready("ovn-default")
    names = [f"p{number}" for number in range(500)]
    watch = asyncio.create_task(_watch(admin, len(names)))
    await asyncio.sleep(0)
    created: dict[str, float] = {}

    async def create(number: int) -> None:
        await admin.pod(names[number], f"n{number % 2}")
        created[names[number]] = monotonic()

    began = monotonic()
    await asyncio.gather(*map(create, range(500)))
    made = monotonic() - began
    allocated = await asyncio.wait_for(watch, 120)
    last = max(allocated.values()) - began
    seconds = [max(allocated[name] - created[name], 0.0) for name in names]
    print(
        f"500 pods: created in {made:.1f} s, all allocated after {last:.1f} s;"
        f" each {figures(seconds)}"
    )
    addresses = await admin.allocated(*names, within=30)
    every = [address for text in addresses.values() for address in text.split(",")]
    assert len(set(every)) == 1000, "no two pods share an address"
    ports = await admin.ports()
    wrong = [
        name
        for name in names
        if addresses[name].replace(",", " ") not in ports[f"{name}.default"]["addresses"]
    ]
    assert not wrong, "the ports are pinned to the annotated addresses"


async def test_the_share_of_ovn(admin: ClusterAdmin, replicas: Replicas) -> None:
    """Measure OVN alone with as many ports at once: the lower bound of the figures above."""
    await admin.nbctl("ls-add", "alone")
    config = ["other_config:subnet=10.99.0.0/16", "other_config:ipv6_prefix=fd00:99::"]
    await admin.nbctl("set", "logical_switch", "alone", *config)
    words: list[str] = []
    for number in range(500):
        words += [
            "--",
            "lsp-add",
            "alone",
            f"x{number}",
            "--",
            "lsp-set-addresses",
            f"x{number}",
            "dynamic",
        ]

    async def answered() -> bool:
        ports = await admin.ports()
        return sum(bool(port["dynamic_addresses"]) for port in ports.values()) == 500

    await admin.nbctl(*words[1:])
    seconds = await until(answered, 60, "OVN")
    print(f"OVN alone: 500 dynamic addresses in one transaction within {seconds * 1000:.0f} ms")


async def _watch(admin: ClusterAdmin, count: int) -> dict[str, float]:
    """Return when a watch first saw each pod allocated; it starts before any pod is created."""
    allocated: dict[str, float] = {}
    async with admin.stream(PODS) as lines:
        async for line in lines:
            body: dict[str, Any] = json.loads(line)["object"]
            every = body["metadata"].get("annotations") or {}
            if every.get(f"{OVN}/routed") == "true":
                allocated.setdefault(body["metadata"]["name"], monotonic())
            if len(allocated) == count:
                break
    return allocated
