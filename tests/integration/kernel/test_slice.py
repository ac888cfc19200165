"""A stock kernel's slice of every run: boot, agent, two pods with limits, what arrives, and nothing left."""

from integration.kernel import limits
from integration.kernel.limits import Pair
from integration.kernel.node import GuestNode

MBIT, MILLISECONDS = 5, 50


async def test_limits_of_a_pod_on_a_stock_kernel(node: GuestNode) -> None:
    """A rate in each direction and netem, together; of the kernel's datapath, with its checksums left on."""
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
    # The least one: a busy machine only adds to what netem does.
    assert MILLISECONDS * 0.9 <= trips[0] <= MILLISECONDS * 1.1, trips
    # The egress shows the shaper, which counts UDP in whole frames, and the ingress HTB with netem as its leaf.
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
