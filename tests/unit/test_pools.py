"""IPPools: what their entries mean, and which address a pod gets that names one."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from ovnlet.core import topology
from ovnlet.core.ipam import decide, pools, subnets
from ovnlet.core.ipam.address_requests import named_pool
from ovnlet.core.ipam.decide import Decision
from ovnlet.core.ipam.pools import IpPool
from ovnlet.core.plan import diff
from unit.test_decide import DUAL, World, pod


def pool(*ips: str, subnet: str = "shop") -> IpPool:
    return pools.read("few", "u", {"subnet": subnet, "ips": list(ips)})


class Pooled(World):
    """A world with IPPools."""

    def __init__(self, *known: IpPool) -> None:
        super().__init__()
        self.pools = {each.name: each for each in known}

    def decide(self, claim: object) -> Decision:
        seen = self.database.port(claim.port)  # type: ignore[attr-defined]
        return decide.decide(claim, seen, self.subnet, self.database.holder, self.pools.get)  # type: ignore[arg-type]


def given(decision: Decision) -> list[str]:
    assert decision.binding is not None, decision.event
    return [str(address) for address in decision.binding.addresses]


@pytest.mark.parametrize(
    ("annotations", "name"),
    [
        ({"ip_pool": "few"}, "few"),
        ({"ip_pool": " few.of-them "}, "few.of-them"),
        ({"ip_pool": "10.16.0.5"}, ""),
        ({"ip_pool": "10.16.0.5,10.16.0.6"}, ""),
        ({"ip_pool": "10.16.0.5;fd00:16::5"}, ""),
        ({"ip_pool": "few", "ip_address": "10.16.0.5"}, ""),
        ({}, ""),
    ],
)
def test_what_is_a_name(annotations: dict[str, str], name: str) -> None:
    assert named_pool(pod(**annotations)) == name


@pytest.mark.parametrize(
    ("ips", "inside", "outside"),
    [
        (["10.16.0.50"], ["10.16.0.50"], ["10.16.0.51", "fd00:16::50"]),
        (["10.16.0.50..10.16.0.52"], ["10.16.0.50", "10.16.0.52"], ["10.16.0.49", "10.16.0.53"]),
        (
            ["10.16.0.64/30", "fd00:16::a"],
            ["10.16.0.64", "10.16.0.67", "fd00:16::a"],
            ["10.16.0.68", "fd00:16::b"],
        ),
    ],
)
def test_what_an_entry_means(ips: list[str], inside: list[str], outside: list[str]) -> None:
    read = pool(*ips)
    assert not read.wrong
    assert all(read.holds(ip_address(each)) for each in inside)
    assert not any(read.holds(ip_address(each)) for each in outside)


@pytest.mark.parametrize(
    "entry", ["", "nonsense", "10.16.0.9..10.16.0.1", "10.16.0.1..fd00::1", "10.16.0.0/33"]
)
def test_an_invalid_entry_is_reported_to_the_pod(entry: str) -> None:
    decision = Pooled(pool("10.16.0.50", entry)).settle(pod(ip_pool="few"))
    assert decision.waits
    assert decision.event is not None
    assert decision.event[0] == "InvalidAnnotation"
    assert repr(entry) in decision.event[1]


def test_pods_get_free_addresses_of_a_pool_and_ovn_chooses_the_other_family() -> None:
    world = Pooled(pool("10.16.0.50..10.16.0.51"))
    first, second = (given(world.settle(pod(name, name, ip_pool="few"))) for name in "ab")
    assert (first[0], second[0]) == ("10.16.0.50", "10.16.0.51")
    assert first[1].startswith("fd00:16::")
    third = world.settle(pod("c", "c", ip_pool="few"))
    assert (third.waits, third.event) == (
        True,
        ("AddressTaken", "every address of IPPool few is taken"),
    )
    assert world.database.port("c.default") is None


def test_a_pool_may_have_both_families() -> None:
    world = Pooled(pool("10.16.0.50", "fd00:16::a..fd00:16::b"))
    decision = world.settle(pod(ip_pool="few", mac_address="0a:00:00:00:00:01"))
    assert given(decision) == ["10.16.0.50", "fd00:16::a"]


def test_the_gateway_is_never_given() -> None:
    assert given(Pooled(pool("10.16.0.0/29")).settle(pod(ip_pool="few")))[0] == "10.16.0.2"


@pytest.mark.parametrize(
    ("known", "why"),
    [
        ([], "no IPPool has that name"),
        ([pool("10.16.0.50", subnet="other")], "belongs to subnet other"),
        (
            [pool("10.16.0.50", "fd99::/64")],
            "fd99::..fd99::ffff:ffff:ffff:ffff, which is not inside",
        ),
        ([pool("10.0.0.0/8")], "which is not inside"),
        ([pool()], "it has no addresses"),
    ],
)
def test_an_unusable_pool_is_reported(known: list[IpPool], why: str) -> None:
    decision = Pooled(*known).settle(pod(ip_pool="few"))
    assert decision.waits
    assert decision.event is not None
    assert why in decision.event[1]


def test_a_pod_keeps_its_address_when_the_pool_changes() -> None:
    world = Pooled(pool("10.16.0.50"))
    before = given(world.settle(pod(ip_pool="few")))
    world.pools["few"] = pool("10.16.0.60")
    assert given(world.settle(pod(ip_pool="few"))) == before
    assert given(world.settle(pod(uid="u2", ip_pool="few")))[0] == "10.16.0.60", (
        "another pod of that name"
    )


def test_the_switch_excludes_the_addresses_of_the_pool() -> None:
    subnet = replace(DUAL, reserved=pool("10.16.0.50..10.16.0.51", "fd00:16::a").ranges())
    steps = diff(topology.subnet(subnet, "r"), topology.subnet(DUAL, "r"))
    assert [str(step) for step in steps] == [
        "~ Switch shop: exclude_ips 10.16.0.1 -> 10.16.0.1 10.16.0.50..10.16.0.51"
    ]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("free", [True, False])
def test_a_pool_of_a_whole_ipv6_prefix_is_searched_in_no_time(free: bool) -> None:
    found = pool("fd00:16::/64").choose(DUAL, lambda _: free, ())
    assert found == ((ip_address("fd00:16::2"),) if free else None)


@pytest.mark.parametrize(
    ("ips", "capacity"),
    [
        (["10.16.0.50"], (1, 0)),
        (["10.16.0.50..10.16.0.59", "10.16.0.55..10.16.0.64"], (15, 0)),
        (["10.16.0.0/29"], (6, 0)),
        (["10.16.0.2..10.16.0.9"], (4, 0)),
        (["fd00:16::/126", "10.16.0.50"], (1, 2)),
    ],
)
def test_how_many_pods_a_pool_serves(ips: list[str], capacity: tuple[int, int]) -> None:
    """Neither the network's address nor the gateway's counts, nor what the Subnet excludes."""
    excluded = ["10.16.0.6..10.16.0.9"] if ips == ["10.16.0.2..10.16.0.9"] else []
    spec = {"cidrBlock": "10.16.0.0/24,fd00:16::/64", "excludeIps": excluded}
    subnet = subnets.read("shop", spec)
    read = pool(*ips)
    assert (read.capacity(subnet, 4), read.capacity(subnet, 6)) == capacity
    four = [a for a in map(ip_address, range(0x0A100000, 0x0A100100)) if read.holds(a)]
    assert sum(map(subnet.grants, four)) == capacity[0]
