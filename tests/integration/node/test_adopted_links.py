"""The links of kube-ovn-cni on a real kernel: adopted under the names that they have."""

from dataclasses import replace
from ipaddress import ip_interface

import pytest

from integration.node.spaces import Bed
from ovnlet.core import desired, ids
from ovnlet.core.allocation import Allocation
from ovnlet.core.identity import Attachment, Life, Node
from ovnlet.core.plan import diff
from ovnlet.core.resources import ABSENT, Port

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
