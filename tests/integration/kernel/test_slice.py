"""The part of the floor that every run includes: boot, agent, two limited pods, and removal."""

from integration.kernel import limits
from integration.kernel.limits import Pair
from integration.kernel.node import GuestNode

MBIT, MILLISECONDS = 5, 50


async def test_limits_of_a_pod_on_a_stock_kernel(node: GuestNode) -> None:
    """A rate each way and netem together, on the kernel's datapath with checksum offload."""
    before = await node.look()
    pair = await Pair.make(
        node, "slice", ingress_rate=str(MBIT), egress_rate=str(MBIT), latency=str(MILLISECONDS)
    )
    assert "system@ovs-system" in await node.run("ovs-appctl", "dpif/show")
    link = pair.limited.link
    assert link in await node.run("ovs-dpctl", "show"), "not a port of the kernel's datapath"
    assert "rate 5Mbit" in await node.run("tc", "filter", "show", "dev", link, "ingress")
    assert "netem" in await node.run("tc", "qdisc", "show", "dev", link)
    assert "ceil 5Mbit" in await node.run("tc", "class", "show", "dev", link)
    assert "tbf 157: root" in await node.inside(pair.limited, "tc", "qdisc", "show", "dev", "eth0")
    for words in (
        await node.run("ethtool", "-k", link),
        await node.inside(pair.limited, "ethtool", "-k", "eth0"),
    ):
        assert "tx-checksumming: on" in words
    trips = await pair.round_trips(20)
    # The shortest one: a busy machine only adds to netem's delay.
    assert MILLISECONDS * 0.9 <= trips[0] <= MILLISECONDS * 1.1, trips
    # Egress goes through the shaper, which counts UDP in whole frames; ingress through HTB with
    # netem as its leaf.
    limits.keep(
        [
            await pair.row("egress", "udp", MBIT),
            await pair.row("ingress", "tcp", MBIT, label=" with netem"),
        ]
    )
    for sandbox in (pair.limited, pair.peer):
        await node.delete(sandbox)
    await node.end_sandboxes(node.sandboxes)
    await node.same(before, within=60)
