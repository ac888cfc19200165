"""Two interfaces of one pod in one subnet: the connected route of the first is in front."""

from dataclasses import replace
from ipaddress import ip_interface

import pytest

from kit.pods import ATTACHMENT
from kit.strict_node import StrictNode
from ovnlet.core import desired
from ovnlet.core.allocation import Allocation
from ovnlet.core.identity import Attachment, Node
from ovnlet.core.plan import diff
from ovnlet.core.resources import Network, Route

pytestmark = pytest.mark.review2
NODE = Node("br-int", 1400, userspace=False)


def network(ifname: str, *addresses: str, default_route: bool = False) -> Network:
    attachment: Attachment = replace(ATTACHMENT, ifname=ifname, host_link="", iface_id="")
    interfaces = tuple(map(ip_interface, addresses))
    gateways = tuple(each.network[1] for each in interfaces)
    allocation = Allocation(interfaces, "00:00:00:53:00:01", "s", gateways, default_route)
    return desired.network(attachment, allocation, NODE)


def later(network: Network) -> set[int]:
    return {each.later for each in network if isinstance(each, Route) and each.via is None}


def test_l9_the_connected_routes_are_in_the_order_of_the_interfaces() -> None:
    """L9: the last one made was in front, so replies of eth0 left by net1."""
    dual = ("10.16.0.5/16", "fd00::5/64")
    order = [later(network(ifname, *dual)) for ifname in ("eth0", "net1", "net2", "net10")]
    assert all(len(each) == 1 for each in order)
    found = [number for each in order for number in each]
    assert found[0] == 0
    assert found == sorted(set(found))
    assert len(later(network("storage", *dual)) | {0}) == 2


def test_a_default_route_that_is_asked_for_has_a_metric_of_its_own() -> None:
    """Two interfaces may ask for one: IPv6 joins default routes of one metric."""
    metrics = []
    for ifname in ("eth0", "net1", "net2"):
        found = network(ifname, "10.16.0.5/16", default_route=True)
        (default,) = [each for each in found if isinstance(each, Route) and each.via]
        assert str(default.source) == "10.16.0.5"
        metrics.append(default.later)
    assert metrics == sorted(set(metrics))
    assert metrics[0] == 0


def test_l9_a_route_of_an_earlier_release_is_replaced() -> None:
    """L9: the running pods of an upgraded agent get the right order too."""
    attachment = replace(ATTACHMENT, ifname="net1", host_link="", iface_id="")
    wanted = network("net1", "10.99.0.7/24")
    node = StrictNode(attachment)
    before = frozenset(replace(e, later=0) if isinstance(e, Route) else e for e in wanted)
    for step in diff(before, node.observe(before)):
        node.apply(step)
    assert node.observe(before) == before
    plan = diff(wanted, node.observe(wanted))
    assert [str(step) for step in plan] == [
        "- Route net1 10.99.0.0/24",
        "+ Route net1 10.99.0.0/24 later 101 source 10.99.0.7",
    ]
    for step in plan:
        node.apply(step)
    assert node.observe(wanted) == wanted
