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


def _wanted(attachment: Attachment, default: bool | None = None) -> Network:
    addresses = tuple(map(ip_interface, ADDRESSES[attachment.ifname]))
    mac = f"00:00:00:53:00:{addresses[0].ip.packed[-1]:02x}"
    gateways = tuple(each.network[1] for each in addresses)
    default = attachment.ifname == "eth0" if default is None else default
    allocation = Allocation(addresses, mac, "s", gateways, default)
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


async def test_two_default_routes_stay_two_and_the_first_is_in_front(bed: Bed) -> None:
    """IPv6 joins routes of one destination and metric into one with several next hops."""
    wanted = {name: _wanted(_attachment(bed, name), default=True) for name in ADDRESSES}
    for _ in range(2):
        for name, each in wanted.items():
            attachment = _attachment(bed, name)
            await bed.netlink.apply(attachment, diff(each, bed.netlink.observe(attachment, each)))
        for name, each in wanted.items():
            assert bed.netlink.observe(_attachment(bed, name), each) == each
        bed.pod.ip("route", "flush", "dev", "eth0")
        bed.pod.ip("-6", "route", "flush", "dev", "eth0", "proto", "157")
    for name, default in (("eth0", True), ("net1", False)):
        attachment = _attachment(bed, "eth0")
        each = _wanted(attachment, default=default)
        await bed.netlink.apply(attachment, diff(each, bed.netlink.observe(attachment, each)))
        for target in ("203.0.113.1", "2001:db8::1"):
            (route,) = bed.pod.json("route", "get", target)
            assert route["dev"] == name
