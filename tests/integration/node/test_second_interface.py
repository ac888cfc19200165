"""Two interfaces of one pod in one subnet, on a real kernel."""

from dataclasses import replace
from ipaddress import ip_interface

import pytest

from integration.node.spaces import Bed
from ovnlet.core import desired
from ovnlet.core.allocation import Allocation
from ovnlet.core.identity import Attachment, Node
from ovnlet.core.plan import diff
from ovnlet.core.resources import Network, Port, Route

NODE = Node("br-int", 1400, userspace=True)
ADDRESSES = {"eth0": ("10.16.0.5/16", "fd00::5/64"), "net1": ("10.16.0.6/16", "fd00::6/64")}


def _attachment(bed: Bed, ifname: str) -> Attachment:
    return replace(bed.attachment, ifname=ifname, host_link="", iface_id="")


def _wanted(attachment: Attachment) -> Network:
    addresses = tuple(map(ip_interface, ADDRESSES[attachment.ifname]))
    mac = f"00:00:00:53:00:{addresses[0].ip.packed[-1]:02x}"
    gateways = tuple(each.network[1] for each in addresses)
    allocation = Allocation(addresses, mac, "s", gateways, attachment.ifname == "eth0")
    network = desired.network(attachment, allocation, NODE)
    return frozenset(each for each in network if not isinstance(each, Port))


@pytest.mark.review2
@pytest.mark.parametrize("order", [("eth0", "net1"), ("net1", "eth0")], ids=str)
async def test_l9_the_subnet_is_reached_by_the_first_interface(
    bed: Bed, order: tuple[str, ...]
) -> None:
    """L9: by whichever was made last, so that replies of eth0 left by net1."""
    for _ in range(2):
        for ifname in order:
            attachment = _attachment(bed, ifname)
            wanted = _wanted(attachment)
            await bed.netlink.apply(
                attachment, diff(wanted, bed.netlink.observe(attachment, wanted))
            )
            assert bed.netlink.observe(attachment, wanted) == wanted
        bed.pod.ip("route", "flush", "dev", order[0])
    for ifname in order:
        attachment = _attachment(bed, ifname)
        wanted = _wanted(attachment)
        await bed.netlink.apply(attachment, diff(wanted, bed.netlink.observe(attachment, wanted)))
    for target, source in (("10.16.0.99", "10.16.0.5"), ("fd00::99", "fd00::5")):
        (route,) = bed.pod.json("route", "get", target)
        assert (route["dev"], route["prefsrc"]) == ("eth0", source)


@pytest.mark.review2
async def test_l9_a_route_of_an_earlier_release_is_replaced(bed: Bed) -> None:
    """L9: the connected route of a running pod's second interface had the metric of the first's."""
    attachment = _attachment(bed, "net1")
    wanted = _wanted(attachment)
    before = frozenset(replace(e, later=0) if isinstance(e, Route) else e for e in wanted)
    await bed.netlink.apply(attachment, diff(before, bed.netlink.observe(attachment, before)))
    plan = diff(wanted, bed.netlink.observe(attachment, wanted))
    assert sorted({str(step)[0] for step in plan}) == ["+", "-"]
    await bed.netlink.apply(attachment, plan)
    assert bed.netlink.observe(attachment, wanted) == wanted
    metrics = {each["metric"] for each in bed.pod.json("route") if each["dst"] == "10.16.0.0/16"}
    assert metrics == {101}
