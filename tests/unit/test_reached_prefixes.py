"""Which prefixes the node routes: those of the cluster's router, and none of its own LAN."""

from dataclasses import dataclass, field
from ipaddress import ip_interface, ip_network
from typing import Any

import pytest

from kit.memory import NoWatch, Recorded
from ovnlet.core.identity import Node, NodeInterface
from ovnlet.core.ipam.subnets import SubnetObject
from ovnlet.core.node_network import HostPrefix, Reach
from ovnlet.core.plan import Plan
from ovnlet.core.resources import ABSENT, Network, Route
from ovnlet.kube.objects import subnet
from ovnlet.kube.subnets import reach
from ovnlet.reconcile.loop import Loop
from ovnlet.reconcile.outcome import Target
from ovnlet.reconcile.owners import OwnerIndex
from ovnlet.reconcile.scopes.node import NodeScope

pytestmark = pytest.mark.review2

OVN = "ovn.kubernetes.io"
TEXT = {
    f"{OVN}/ip_address": "100.64.0.2",
    f"{OVN}/cidr": "100.64.0.0/16",
    f"{OVN}/gateway": "100.64.0.1",
    f"{OVN}/mac_address": "0a:00:00:02:00:02",
}
BOTH = {
    f"{OVN}/ip_address": "100.64.0.2,fd00:100:64::2",
    f"{OVN}/cidr": "100.64.0.0/16,fd00:100:64::/64",
    f"{OVN}/gateway": "100.64.0.1,fd00:100:64::1",
}
PODS, LAN = ip_network("10.16.0.0/16"), ip_network("192.168.50.0/24")
PODS6 = ip_network("fd00:10:16::/64")


def of(**spec: Any) -> SubnetObject:
    return subnet(
        {"metadata": {"name": "one", "uid": "u"}, "spec": {"cidrBlock": str(LAN), **spec}}
    )


@pytest.mark.parametrize(
    ("spec", "reached"),
    [
        ({}, True),
        ({"vpc": ""}, True),
        ({"provider": "ovn"}, True),
        ({"vpc": "ovn-cluster", "provider": "net1.default.ovn"}, True),
        ({"provider": "lan.default"}, False),
        ({"vpc": "", "provider": "ovn-vpc-external-network.kube-system"}, False),
        ({"provider": "net1.default.ovn"}, True),
        ({"provider": "net1.default.ovn", "vlan": "v1"}, False),
        ({"provider": "net1.default.ovn", "vpc": "tenant"}, False),
        ({"provider": "a.net1.default.ovn"}, False),
        ({"vpc": "tenant"}, False),
        ({"vpc": "ovn-cluster2"}, False),
        ({"vlan": "v1"}, False),
        ({"vlan": "v1", "logicalGateway": True}, True),
        ({"vlan": "v1", "u2oInterconnection": True}, True),
        ({"vlan": "v1", "u2oInterconnection": True, "enableLb": True}, False),
        ({"vlan": "v1", "u2oInterconnection": True, "vpc": "tenant"}, False),
    ],
)
def test_l1_only_subnets_of_the_clusters_router_are_reached(
    spec: dict[str, Any], reached: bool
) -> None:
    """L1: an empty `spec.vpc` counted as the cluster's router whatever the provider was."""
    found = reach([of(**spec)], "ovn-cluster")
    assert (LAN in found.clusters | found.underlays) is reached


def test_l1_another_name_of_the_clusters_router() -> None:
    """L1: the router's name is compared, not a constant."""
    assert reach([of(vpc="core")], "core").clusters == {LAN}
    assert not reach([of(vpc="ovn-cluster")], "core").clusters


def test_l1_an_underlay_that_the_router_reaches_is_routed_and_never_masqueraded() -> None:
    """L1: underlays with `u2oInterconnection` were left out. Kube-OVN routes them, and no more."""
    underlay = of(vlan="v1", u2oInterconnection=True, natOutgoing=True)
    found = reach([underlay], "ovn-cluster")
    assert found == Reach(underlays=frozenset({LAN}))


@dataclass
class Host:
    """A node with a LAN."""

    prefixes: frozenset[HostPrefix] = frozenset()
    node: Node = field(default_factory=lambda: Node("br-int", 1400, userspace=False))

    async def ready(self) -> None:
        return

    async def observe(self, _: NodeInterface, __: Network) -> Network:
        return ABSENT

    async def apply(self, _: NodeInterface, __: Plan) -> None:
        return

    async def installed(self, _: NodeInterface) -> None:
        return


class Inputs(dict[str, str]):
    """A node.json."""

    def read(self) -> dict[str, str]:
        return dict(self)

    def write(self, values: Any) -> None:
        self.clear()
        self.update(values)


class Reports:
    """A condition that nobody reads."""

    def up(self, _: str, *, partly: bool = False) -> None:
        del partly

    def down(self, _: str) -> None:
        return


def scope(inputs: Inputs, *prefixes: tuple[str, str]) -> NodeScope:
    loop = Loop()
    own = frozenset(
        HostPrefix(ip_interface(text).network, link, ip_interface(text).ip)
        for text, link in prefixes
    )
    return NodeScope(
        Host(own),
        inputs,
        NodeInterface("n0"),
        loop.passes("node"),
        Recorded("node"),
        owners=OwnerIndex(loop.queue.hint),
        watch=NoWatch(),
        condition=Reports(),
    )


def routed(target: Target | None) -> set[str]:
    assert target is not None
    return {str(each.destination) for each in target.desired if isinstance(each, Route)}


async def test_l1_no_route_overlaps_a_prefix_of_the_host() -> None:
    """L1: a Subnet with the LAN's prefix got a route by ovn0, in front of the LAN's own."""
    own = scope(Inputs(), (str(LAN), "eth1"))
    own.put(TEXT)
    overlapping = map(ip_network, (str(LAN), "192.168.0.0/16", "192.168.50.128/25"))
    own.reach(Reach(frozenset({PODS, *overlapping})))
    target = own.target("ovn0")
    assert routed(target) == {"100.64.0.0/16", str(PODS)}
    assert target is not None
    notices = [notice for notice in target.notices if notice.reason == "RouteNotSet"]
    assert len(notices) == 3
    assert all(str(LAN) in notice.text and "eth1" in notice.text for notice in notices)
    assert any("192.168.50.128/25" in notice.text for notice in notices)


async def test_l1_a_remembered_prefix_of_the_lan_is_not_brought_back() -> None:
    """L1: node.json of an earlier agent named the LAN, and its route came back at start."""
    inputs = Inputs({**TEXT, "prefixes": f"{PODS},{LAN}"})
    assert routed(scope(inputs, (str(LAN), "eth1")).target("ovn0")) == {"100.64.0.0/16", str(PODS)}


async def test_l1_a_join_network_inside_the_lan_is_not_routed_either() -> None:
    """L1: its connected route would be in front of the LAN's, unless that is more specific."""
    inside = scope(Inputs(TEXT), ("100.64.0.0/10", "eth1")).target("ovn0")
    assert routed(inside) == set()
    assert inside is not None
    assert [notice.reason for notice in inside.notices] == ["RouteNotSet"]
    around = scope(Inputs(TEXT), ("100.64.7.7/32", "vpn0")).target("ovn0")
    assert routed(around) == {"100.64.0.0/16"}


async def test_l1_underlays_are_remembered() -> None:
    """L1: what the router reaches on an underlay is routed after a restart too."""
    inputs = Inputs()
    first = scope(inputs)
    first.put(TEXT)
    first.reach(Reach(frozenset({PODS}), frozenset({LAN})))
    target = scope(inputs).target("ovn0")
    assert routed(target) == {"100.64.0.0/16", str(PODS), str(LAN)}


def speaking(*addresses: str) -> Target:
    """Return the target of a node with a LAN whose InternalIPs are these."""
    inputs, lan = Inputs(), (("192.0.2.7/24", "eth0"), ("2001:db8::7/64", "eth0"))
    own = scope(inputs, *lan)
    own.put(TEXT | BOTH, addresses)
    own.reach(Reach(frozenset({PODS, PODS6})))
    target = scope(inputs, *lan).target("ovn0")
    assert target is not None
    return target


def sources(target: Target) -> dict[str, str]:
    return {
        str(each.destination): str(each.source)
        for each in target.desired
        if isinstance(each, Route)
    }


async def test_k1_pods_see_the_nodes_internal_address() -> None:
    """K1: routes had the join address as source. Kept over a restart; each family by itself."""
    join = {"100.64.0.0/16": "100.64.0.2", "fd00:100:64::/64": "fd00:100:64::2"}
    both = {str(PODS): "192.0.2.7", str(PODS6): "2001:db8::7"}
    assert sources(speaking("192.0.2.7", "2001:db8::7")) == join | both
    assert sources(speaking("192.0.2.7")) == join | both | {str(PODS6): "fd00:100:64::2"}
    assert sources(speaking()) == join | {str(PODS): "100.64.0.2", str(PODS6): "fd00:100:64::2"}


async def test_k1_an_internal_address_that_no_link_has_is_reported_and_not_used() -> None:
    """K1: the kernel refuses such a source, and the whole interface would not come up."""
    target = speaking("203.0.113.9", "not an address")
    assert sources(target)[str(PODS)] == "100.64.0.2"
    (notice,) = [each for each in target.notices if each.reason == "InternalIpNotLocal"]
    assert "203.0.113.9" in notice.text
