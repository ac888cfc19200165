"""A true reboot: the node loses its power, and another kernel boots from the same disks."""

import pytest

from integration.cni.agent.pods import Sandbox
from integration.kernel import conftest, limits
from integration.kernel.limits import Pair
from integration.kernel.node import GuestNode
from testbed import guest
from testbed.guest import Booted

pytestmark = pytest.mark.whole

MBIT = 5
ROWS = (
    "for t in QoS Queue; do ovs-vsctl --bare --columns=_uuid list $t; done; "
    "ovs-vsctl list-ports br-int"
)
TRACES = f"{ROWS}; ls /run/ovnlet/sandboxes /run/netns || :; ip -br link show type veth"


async def test_nothing_is_left_and_limits_hold_from_the_first_packet(
    node: GuestNode, serving: list[GuestNode], booted: Booted
) -> None:
    bed, wanted = node.bed, {"ingress_rate": str(MBIT), "egress_rate": str(MBIT), "latency": "20"}
    first = await Pair.make(node, "first", **wanted)
    boot_id = await node.run("cat", "/proc/sys/kernel/random/boot_id")
    rows = (await node.sh(ROWS)).split()
    assert {first.limited.link, first.peer.link} <= set(rows)
    node.agent = None

    bed.reboot()  # kills QEMU with its space: no program in the guest gets a signal
    conftest.record_boot("reboot", guest.boot_node(bed, booted.of, booted.accelerator))
    serving[0] = again = GuestNode.of(bed)
    assert await again.run("cat", "/proc/sys/kernel/random/boot_id") != boot_id
    assert (await again.sh(ROWS)).split() == rows, "the rows of the first boot are gone"
    assert (
        await again.sh(
            "ls -A /run/netns; ls -d /run/ovnlet 2>/dev/null || :; ip -br link show type veth"
        )
        == ""
    )

    again.start()
    await again.until_run(
        ["sh", "-c", ROWS],
        lambda text: not text.split(),
        "the removal of the ended sandboxes' rows",
        within=120,
    )
    before = await again.look()
    made = await again.make_sandboxes([first.limited.pod, first.peer.pod])
    again.pods += node.pods
    pair = Pair(again, *made)
    for sandbox in (pair.peer, pair.limited):
        await again.add(sandbox)
    await _in_force(again, pair.limited)
    early = await pair.rate("ingress", f"--udp={MBIT * 3}M", "--spent=0", "--seconds=5")
    print(f"first five seconds after the reboot's ADD: {early.mbit:.2f} Mbit/s, {early.conditions}")
    assert early.mbit <= MBIT * 1.1
    limits.keep(
        [
            await pair.row(direction, "udp", MBIT, label=" after a reboot")
            for direction in ("ingress", "egress")
        ]
    )
    for sandbox in made:
        await again.delete(sandbox)
    await again.end_sandboxes(made)
    traces = await again.sh(TRACES)
    assert not [
        each.container_id
        for each in (*made, first.limited, first.peer)
        if each.container_id[:12] in traces
    ]
    await again.same(before, within=60)


async def _in_force(node: GuestNode, sandbox: Sandbox) -> None:
    """Check that the limits are in force as soon as the plugin returns."""
    shown = await node.sh(f"tc class show dev {sandbox.link}; tc qdisc show dev {sandbox.link}")
    assert f"ceil {MBIT}Mbit" in shown
    assert "delay 20ms" in shown
    assert "tbf 157: root" in await node.inside(sandbox, "tc", "qdisc", "show", "dev", "eth0")
