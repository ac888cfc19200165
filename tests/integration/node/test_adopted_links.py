"""The links of kube-ovn-cni on a real kernel: adopted under the names that they have."""

from dataclasses import replace
from ipaddress import ip_interface

import pytest

from integration.node.monitor import monitored
from integration.node.spaces import DUAL, Bed, network
from ovnlet.core import desired, ids
from ovnlet.core.allocation import Allocation
from ovnlet.core.identity import Attachment, Life, Node
from ovnlet.core.plan import diff
from ovnlet.core.resources import ABSENT, CompetingRoute, Port
from ovnlet.drivers.links.seamless import seamless
from ovnlet.drivers.sandbox_host import interface_of

pytestmark = pytest.mark.review2
NAME = "c0ffee5b_net1_h"


@pytest.fixture
def adopted(bed: Bed) -> Attachment:
    """Make a second interface as kube-ovn-cni does, and return what its labels tell."""
    bed.node.ip("link", "add", NAME, "type", "veth", "peer", "name", "c0ffee5b_net1_c")
    bed.node.ip("link", "set", NAME, "up", "alias", "theirs")
    bed.node.ip("link", "set", "c0ffee5b_net1_c", "netns", bed.pod.name, "name", "net1")
    return replace(
        bed.attachment, container_id="c0ffee5b", ifname="net1", host_link=NAME, iface_id=""
    )


async def test_l14_a_second_interface_is_adopted_under_its_own_name(
    bed: Bed, adopted: Attachment
) -> None:
    """L14: the host end was looked for by a hash, and the pod's end was `Taken` for ever."""
    allocation = Allocation(
        (ip_interface("10.99.0.7/24"),), "00:00:00:53:00:77", "s", (), default_route=False
    )
    wanted = desired.network(adopted, allocation, Node("br-int", 1400, userspace=True))
    wanted = frozenset(each for each in wanted if not isinstance(each, Port))
    index = bed.node.link(NAME)["ifindex"]
    plan = diff(wanted, bed.netlink.observe(adopted, wanted))
    await bed.netlink.apply(adopted, plan)
    assert bed.netlink.observe(adopted, wanted) == wanted
    assert bed.node.link(NAME)["ifindex"] == index, "the pair was made again"
    assert "10.99.0.7/24" in bed.pod.addresses("net1")
    assert ids.host_link(*adopted.key) not in bed.node.links()


async def test_l14_the_name_proves_whether_its_sandbox_lives(bed: Bed, adopted: Attachment) -> None:
    """L14: by the hash's absence a sandbox that cannot be seen counted as dead."""
    hidden = replace(adopted, netns="/run/netns/never")
    assert bed.netlink.life(hidden) is Life.HIDDEN
    await bed.netlink.apply(adopted, diff(ABSENT, bed.netlink.observe(adopted, ABSENT)))
    assert NAME not in bed.node.links()
    assert bed.netlink.life(hidden) is Life.DEAD


@pytest.mark.parametrize("inside", ["pod37a8eec1ce1", "37a8eec1ce1-nic"])
async def test_an_interface_of_kubevirts_is_known_by_its_name_in_the_pod(
    bed: Bed, inside: str
) -> None:
    """kube-ovn-cni's host name has seven characters of eleven; a bridge binding renames the end."""
    name = "c0ffe_37a8eec_h"
    bed.node.ip("link", "add", name, "type", "veth", "peer", "name", "c0ffe_37a8eec_c")
    bed.node.ip("link", "set", "c0ffe_37a8eec_c", "netns", bed.pod.name, "name", inside)
    named = replace(bed.attachment, container_id="c0ffe", ifname="37a8eec", host_link=name)
    found = bed.netlink.pod_end(named)
    assert found is not None
    assert interface_of("37a8eec", found[0]) == "pod37a8eec1ce1"


# What kube-ovn-cni leaves in a pod: addresses with the kernel's routes, and routes of no protocol.
AS_KUBE_OVN_CNI = (
    "address flush dev eth0 scope global",
    "route flush dev eth0",
    "-6 route flush dev eth0 proto 157",
    "address add 10.16.0.5/16 dev eth0",
    "address add fd00::5/64 dev eth0 nodad",
    "route replace default via 10.16.0.1 dev eth0",
    "-6 route replace default via fd00::1 dev eth0 metric 100",
)


async def test_a_pod_has_its_address_and_a_default_route_at_every_moment_of_a_take_over(
    bed: Bed,
) -> None:
    """Addresses and routes went first and came back after a transaction of OVSDB: pings were lost.

    Linux does not change the flag of an IPv4 address, so its routes must outlive it.
    """
    wanted = network(*DUAL)
    await bed.converge(wanted)
    for line in AS_KUBE_OVN_CNI:
        bed.pod.ip(*line.split())
    plan = bed.plan(wanted)
    assert any(isinstance(step.resource, CompetingRoute) for step in plan)
    with monitored(bed.pod) as seen:
        await bed.netlink.apply(bed.attachment, seamless(plan))
    print(*seen.lines, sep="\n")
    assert bed.plan(wanted) == ()
    assert seen.came("10.16.0.5/32") < seen.went("10.16.0.5/16") < seen.went("10.16.0.5/32")
    assert seen.came("default via 10.16.0.1") < seen.went("default via 10.16.0.1")
    assert seen.came("10.16.0.0/16 dev eth0 proto 157") < seen.went("10.16.0.0/16 dev eth0")
    assert seen.came("default via fd00::1") < seen.went("default via fd00::1")
    assert not any("fd00::5/64" in line and "Deleted" in line for line in seen.lines)
    assert set(bed.pod.addresses()) == set(DUAL)
