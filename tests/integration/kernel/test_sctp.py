"""A Service of SCTP by real sockets: Debian's kernel has SCTP, and OVN's datapath is the kernel's.

The e2e floor sends crafted packets, because the machine's own kernel may have no SCTP.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest

from integration.cni.agent.node import until
from integration.cni.agent.pods import Sandbox
from integration.kernel.node import GuestNode
from kit import recorded
from ovnlet.core import services
from ovnlet.core.resources.northbound import LoadBalancer
from ovnlet.kube.services import endpoint_slice, service
from testbed import guest
from testbed.assign import SWITCH
from testbed.virtual_node import VirtualNode

pytestmark = [pytest.mark.whole, pytest.mark.review2]

PORT, COUNT = 7000, 50
VIPS = ("10.96.0.77", "fd00:10:96::77")
PROGRAM = [sys.executable, "-m", "integration.kernel.associations"]
CODE = {"PYTHONPATH": guest.PYTHONPATH}


def balancer(*servers: Sandbox) -> LoadBalancer:
    """Return the load balancer that the controller makes of a Service with these endpoints."""
    named = {"name": "sctp", "protocol": "SCTP", "port": PORT}
    body = service(recorded.service(named, clusterIPs=list(VIPS)))
    slices = [
        recorded.endpoint_slice(
            *(recorded.endpoint(each) for each in addresses), ports=[named], family=family
        )
        for family, addresses in (
            ("IPv4", [each.pod.v4 for each in servers]),
            ("IPv6", [each.pod.v6 for each in servers]),
        )
    ]
    assert body is not None
    read = [each for each in map(endpoint_slice, slices) if each is not None]
    (row,) = (r for r in services.balancers(body, read) if isinstance(r, LoadBalancer))
    return row


def columns(row: LoadBalancer) -> list[str]:
    """Return a load balancer's columns in the form of ovn-nbctl."""
    vips = [f'vips:"{vip}"="{endpoints}"' for vip, endpoints in sorted(row.vips)]
    options = [f"options:{key}={value}" for key, value in sorted(row.options)]
    return [f"name={row.name}", f"protocol={row.protocol}", *options, *vips]


@contextmanager
def balanced(node: GuestNode, row: LoadBalancer) -> Iterator[None]:
    """Have a load balancer on the pods' switch."""
    made = ["--id=@lb", "create", "Load_Balancer", *columns(row)]
    node.bed.nbctl(*made, "--", "add", "Logical_Switch", SWITCH, "load_balancer", "@lb")
    try:
        yield
    finally:
        node.bed.nbctl("lb-del", row.name)


@asynccontextmanager
async def serving(node: GuestNode, *servers: Sandbox) -> AsyncIterator[None]:
    """Answer associations in these pods."""
    started = [
        VirtualNode.of(node.space).spawn(
            f"sctp-{each.pod.name}",
            ["ip", "netns", "exec", each.container_id, *PROGRAM, "serve", each.pod.name, str(PORT)],
            env=CODE,
        )
        for each in servers
    ]
    try:
        yield
    finally:
        for each in started:
            each.stop()


async def ask(node: GuestNode, client: Sandbox, host: str, count: int = COUNT) -> dict[str, int]:
    """Open so many associations from a pod, and return how often each answer came."""
    words = ["env", *(f"{key}={value}" for key, value in CODE.items()), *PROGRAM]
    answer = await node.inside(client, *words, "ask", host, str(PORT), str(count))
    return dict(json.loads(answer))


async def until_asked(node: GuestNode, client: Sandbox, host: str, start: str) -> None:
    """Wait until an association ends with an answer, or an error, that begins so."""

    async def look() -> bool:
        return all(each.startswith(start) for each in await ask(node, client, host, 1))

    await until(look, f"{host}: {start}", 120)


async def test_a_service_of_sctp_by_the_kernels_sockets_e1(node: GuestNode) -> None:
    """E1: both families, both endpoints, and the client's own address; none fails.

    Without our load balancer no association comes about; without endpoints it is refused.
    """
    await node.run("modprobe", "sctp")
    pods = [node.pod(name) for name in ("sctp-client", "sctp-a", "sctp-b")]
    client, *servers = await node.make_sandboxes(pods)
    for each in (client, *servers):
        await node.add(each)
    async with serving(node, *servers):
        for each in servers:
            for address in (each.pod.v4, each.pod.v6):
                await until_asked(node, client, address, each.pod.name)
        without = await ask(node, client, VIPS[0], 2)
        assert all(each.startswith("error") for each in without), without
        with balanced(node, balancer(*servers)):
            for vip, own in zip(VIPS, (client.pod.v4, client.pod.v6), strict=True):
                await until_asked(node, client, vip, "sctp-")
                seen = await ask(node, client, vip)
                print(f"\nSCTP to {vip}, {COUNT} associations: {seen}", end="", flush=True)
                assert set(seen) == {f"{each.pod.name} {own}" for each in servers}
                assert sum(seen.values()) == COUNT
            first = servers[0].pod
            itself = await ask(node, servers[0], VIPS[0])
            assert set(itself) == {f"{first.name} {VIPS[0]}", f"{servers[1].pod.name} {first.v4}"}
        with balanced(node, balancer()):
            await until_asked(node, client, VIPS[0], "error: ConnectionRefusedError")
