"""The order of steps by which a port has its address and its routes at every moment."""

from ipaddress import ip_address, ip_interface, ip_network

import pytest

from ovnlet.core.plan import Step, Verb, diff
from ovnlet.core.resources import Address, CompetingRoute, Network, OvsPolicing, Route
from ovnlet.drivers.links.seamless import seamless

VETH = ("veth", "h", "eth0")
DESIRED: Network = frozenset(
    {
        OvsPolicing(("port", "br-int", "h", False), "h", 1000, 100),
        Address(VETH, "eth0", ip_interface("10.16.0.5/16")),
        Route(VETH, "eth0", ip_network("0.0.0.0/0"), ip_address("10.16.0.1"), None),
        Route(VETH, "eth0", ip_network("::/0"), ip_address("fd00::1"), None),
    }
)


def foreign(destination: str, via: str, metric: int) -> CompetingRoute:
    to = ip_network(destination)
    return CompetingRoute(VETH, "eth0", to, (ip_address(via),), None, 3, metric)


def test_what_packets_need_goes_after_what_replaces_it() -> None:
    kept = Address(VETH, "eth0", ip_interface("10.16.0.5/16"), noprefixroute=False)
    other = Address(VETH, "eth0", ip_interface("10.16.0.9/16"))
    stale = foreign("0.0.0.0/0", "10.16.0.99", 0)
    steps = seamless(diff(DESIRED, frozenset({kept, other, stale})))
    assert [(step.verb, type(step.resource).__name__) for step in steps] == [
        (Verb.REMOVE, "Address"),  # of another IP
        (Verb.ENSURE, "OvsPolicing"),
        (Verb.ENSURE, "Route"),
        (Verb.ENSURE, "Route"),
        (Verb.REMOVE, "CompetingRoute"),
        (Verb.ENSURE, "Address"),
    ]
    assert steps[0].resource == other
    assert steps[-1].was == kept


@pytest.mark.parametrize(("metric", "first"), [(100, False), (512, True)])
def test_a_route_that_ipv6_would_join_to_ours_goes_first(metric: int, first: bool) -> None:
    stale = foreign("::/0", "fd00::99", metric)
    steps = seamless(diff(DESIRED, frozenset({stale})))
    assert (steps[0] == Step(Verb.REMOVE, stale)) is first


def test_a_plan_without_them_stays_as_it_is() -> None:
    for plan in (diff(DESIRED, frozenset()), diff(frozenset(), DESIRED), ()):
        assert seamless(plan) == plan
