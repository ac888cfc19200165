"""What is not ours and may stop traffic is named, on a real kernel, and left alone (F5, F9)."""

import pytest

from integration.node.spaces import DUAL, Bed, network
from ovnlet.drivers.links import interference

pytestmark = pytest.mark.review2
WANTED = network(*DUAL, routes=(("192.0.2.0/24", "10.16.0.9"),))
# What somebody does in the pod, what is named of it, and whether it surely stops traffic.
CASES = {
    "neigh replace 10.16.0.1 lladdr 02:00:00:00:00:66 dev eth0 nud permanent": (
        "neighbour 10.16.0.1 is permanent with MAC 02:00:00:00:00:66",
        False,
    ),
    "route add blackhole 10.16.3.0/24": ("route blackhole 10.16.3.0/24", True),
    "route add unreachable 198.51.100.0/24": ("route unreachable 198.51.100.0/24", True),
    "-6 route add prohibit 2001:db8::/32": ("route prohibit 2001:db8::/32", True),
    "route add 192.0.2.128/25 via 10.16.0.99": ("route 192.0.2.128/25", False),
    "rule add pref 100 to 10.16.0.0/16 blackhole": (
        "ip rule 100: to 10.16.0.0/16 blackhole, before the main table",
        True,
    ),
    "rule add pref 7 fwmark 0x10 lookup 1000": ("ip rule 7: fwmark 0x10 lookup 1000", False),
    "-6 rule add pref 9 from all prohibit": ("ip -6 rule 9: from all prohibit", True),
    "rule del pref 32766": ("ip rule: there is no rule `from all lookup main`", True),
}


@pytest.mark.parametrize("command", CASES)
async def test_it_is_named_in_a_pod_and_not_changed_f5(bed: Bed, command: str) -> None:
    await bed.converge(WANTED)
    assert interference.observe(bed.pod.path, "eth0") == []
    bed.pod.ip(*command.split())
    (found,) = interference.observe(bed.pod.path, "eth0")
    what, stops = CASES[command]
    assert found.what.startswith(what)
    assert found.stops == stops
    assert bed.plan(WANTED) == ()


async def test_what_has_room_beside_ours_is_not_named_f5(bed: Bed) -> None:
    """A second interface with its networks, as Multus makes it."""
    await bed.converge(WANTED)
    for line in (
        "link add net1 type bridge",
        "link set net1 up",
        "address add 172.16.0.2/24 dev net1",
        "route add 172.17.0.0/16 via 172.16.0.1",
        "route add 10.16.0.0/16 via 10.16.0.99 metric 50",
        "neigh replace 172.16.0.1 lladdr 02:00:00:00:00:66 dev net1 nud permanent",
        "neigh replace 10.16.0.1 lladdr 02:00:00:00:00:66 dev eth0 nud reachable",
    ):
        bed.pod.ip(*line.split())
    assert interference.observe(bed.pod.path, "eth0") == []


async def test_it_is_named_on_the_node_f9(bed: Bed) -> None:
    for line in (
        "link add ovn0 type bridge",
        "link set ovn0 up",
        "address add 100.64.0.2/16 dev ovn0",
        "route add 10.16.0.0/16 via 100.64.0.1 dev ovn0 proto 157",
        "route add blackhole 198.18.0.0/15",
    ):
        bed.node.ip(*line.split())
    assert interference.observe("", "ovn0") == []
    bed.node.ip("rule", "add", "pref", "50", "to", "10.16.0.0/16", "blackhole")
    bed.node.ip("route", "add", "10.16.7.0/24", "dev", "ovn0")
    rule, route = interference.observe("", "ovn0")
    assert rule.what.startswith("ip rule 50: to 10.16.0.0/16 blackhole")
    assert rule.stops
    assert route.what.startswith("route 10.16.7.0/24")


async def test_an_interface_that_is_not_there_has_nothing_beside_it(bed: Bed) -> None:
    assert interference.observe(bed.pod.path, "eth0") == []
