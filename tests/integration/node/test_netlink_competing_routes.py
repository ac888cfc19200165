"""Foreign routes to the destinations of ours: competing ones are removed, all others stay."""

from typing import Any

import pytest

from integration.node.spaces import DUAL, Bed, network
from ovnlet.core.plan import Plan, Verb
from ovnlet.core.resources import ABSENT, CompetingRoute

WANTED = network(*DUAL, routes=(("192.0.2.0/24", "10.16.0.9"), ("2001:db8::/32", "fd00::9")))
DEFAULT, CUSTOM = "10.16.0.1", "10.16.0.9"

COMPETING = {
    "default replaced": ("route replace default via 10.16.0.77",),
    "default replaced, named by its link": ("route replace default via 10.16.0.77 dev eth0",),
    "default appended": ("route append default via 10.16.0.77",),
    "default put before ours": ("route prepend default via 10.16.0.77",),
    "default without a gateway": ("route append default dev eth0",),
    "our gateway, without our source": ("route append default via 10.16.0.1 proto static",),
    "two defaults": (
        "route append default via 10.16.0.77",
        "route append default via 10.16.0.78 proto dhcp",
    ),
    "two next hops": (
        "route append default nexthop via 10.16.0.77 dev eth0"
        " nexthop via 10.16.0.78 dev eth0 weight 3",
    ),
    "custom route": ("route prepend 192.0.2.0/24 via 10.16.0.77",),
    "connected route": ("route prepend 10.16.0.0/16 dev eth0 proto static",),
    "connected route of a foreign address": (
        "addr add 10.16.9.9/16 dev eth0",
        "route prepend 10.16.0.0/16 dev eth0",
    ),
    "connected IPv6 route of a foreign address": ("addr add fd00::99/64 dev eth0 nodad",),
    "IPv6 default before ours": ("-6 route add default via fd00::77 metric 100",),
    "IPv6 default of our number before ours": (
        "-6 route add default via fd00::77 proto 157 metric 511",
    ),
    "IPv6 default joined to ours": ("-6 route append default via fd00::77 metric 512",),
    "IPv6 default in place of ours": (
        "-6 route del default proto 157",
        "-6 route add default via fd00::77 metric 512 proto static",
    ),
    "IPv6 default of router advertisements, at a low metric": (
        "-6 route add default via fd00::77 proto ra metric 64",
    ),
    "two IPv6 next hops": (
        "-6 route add default metric 100 nexthop via fd00::77 dev eth0"
        " nexthop via fd00::78 dev eth0",
    ),
    "IPv6 custom route": ("-6 route add 2001:db8::/32 via fd00::77 metric 1",),
}
BYSTANDERS = {
    "IPv4 default of a worse metric": "route add default via 10.16.0.77 metric 100",
    "IPv4 custom route of our number and a worse metric": (
        "route add 192.0.2.0/24 via 10.16.0.7 proto 157 metric 9"
    ),
    "another type of service": "route add 192.0.2.0/24 via 10.16.0.7 tos 0x10",
    "IPv6 default as `ip` adds it": "-6 route replace default via fd00::77",
    "IPv6 default of router advertisements": (
        "-6 route add default via fd00::77 proto ra metric 1024"
    ),
    "another destination": "route add 203.0.113.0/24 via 10.16.0.1",
    "a part of the destination": "route add 192.0.2.0/25 via 10.16.0.77",
    "half of everything": "route add 0.0.0.0/1 via 10.16.0.77",
    "another link": "route append default via 10.77.0.2 dev net1",
    "another link as well": (
        "route append default nexthop via 10.77.0.2 dev net1 nexthop via 10.16.0.77 dev eth0"
    ),
    "another table": "route add default via 10.16.0.77 table 99",
    "blackhole route": "route append blackhole 192.0.2.0/24",
}


def _second_link(bed: Bed) -> None:
    bed.pod.ip(
        "link", "add", "net1", "type", "veth", "peer", "name", "net1_h", "netns", bed.node.name
    )
    bed.pod.ip("addr", "add", "10.77.0.1/24", "dev", "net1")
    bed.pod.ip("link", "set", "net1", "up")


def _routes(bed: Bed) -> list[dict[str, Any]]:
    """Return the routes of all tables but the local one.

    The kernel fills the local table and adds link-local routes with a delay.
    """
    found = [
        *bed.pod.json("route", "show", "table", "all"),
        *bed.pod.json("-6", "route", "show", "table", "all"),
    ]
    late = ("fe80", "ff00", "multicast")
    kept = [
        each for each in found if each.get("table") != "local" and not each["dst"].startswith(late)
    ]
    return sorted(kept, key=str)


def _route_get(bed: Bed, to: str) -> str:
    (found,) = bed.pod.json("route", "get", to)
    return f"{found.get('gateway', '')} {found['prefsrc']}"


def _competing_steps(plan: Plan) -> list[Verb]:
    return [step.verb for step in plan if isinstance(step.resource, CompetingRoute)]


@pytest.mark.parametrize("lines", list(COMPETING.values()), ids=list(COMPETING))
async def test_a_competing_route_is_removed_in_one_pass(bed: Bed, lines: tuple[str, ...]) -> None:
    await bed.converge(WANTED)
    before = _routes(bed)
    for line in lines:
        bed.pod.ip(*line.split())
    assert await bed.converge(WANTED)
    foreign = {"10.16.9.9", "fd00::99"}
    assert [each for each in _routes(bed) if each["dst"] not in foreign] == before
    assert _route_get(bed, "198.51.100.1") == f"{DEFAULT} 10.16.0.5"
    assert _route_get(bed, "192.0.2.1") == f"{CUSTOM} 10.16.0.5"
    assert _route_get(bed, "10.16.200.1") == " 10.16.0.5"
    assert _route_get(bed, "2001:db8:7::1") == "fd00::9 fd00::5"
    assert _route_get(bed, "2001:db9::1") == "fd00::1 fd00::5"


@pytest.mark.parametrize("line", list(BYSTANDERS.values()), ids=list(BYSTANDERS))
async def test_what_does_not_compete_stays(bed: Bed, line: str) -> None:
    _second_link(bed)
    await bed.converge(WANTED)
    bed.pod.ip(*line.split())
    before = _routes(bed)
    assert bed.plan(WANTED) == ()
    bed.pod.ip("route", "append", "default", "via", "10.16.0.66")
    assert _competing_steps(await bed.converge(WANTED)) == [Verb.REMOVE]
    assert _routes(bed) == before


async def test_a_foreign_default_does_not_compete_where_none_is_desired(bed: Bed) -> None:
    wanted = frozenset(
        each
        for each in WANTED
        if str(getattr(each, "destination", "")) not in ("0.0.0.0/0", "::/0")
    )
    await bed.converge(wanted)
    bed.pod.ip("route", "add", "default", "via", "10.16.0.77")
    before = _routes(bed)
    assert bed.plan(wanted) == ()
    await bed.converge(ABSENT)
    await bed.converge(wanted)
    assert len(_routes(bed)) == len(before) - 1, "the kernel removes it with its link"


async def test_the_kernels_route_of_a_foreign_address_does_not_come_back(bed: Bed) -> None:
    await bed.converge(WANTED)
    bed.pod.ip("addr", "add", "10.16.9.9/16", "dev", "eth0")
    bed.pod.ip("addr", "add", "fd00::99/64", "dev", "eth0", "nodad")
    await bed.converge(WANTED)
    assert {"10.16.9.9/16", "fd00::99/64"} <= bed.pod.addresses().keys()
    assert bed.plan(WANTED) == ()


async def test_the_kernels_route_of_an_address_of_ours_goes_with_the_address(bed: Bed) -> None:
    await bed.converge(WANTED)
    for address in DUAL:
        bed.pod.ip("addr", "del", address, "dev", "eth0")
        bed.pod.ip("addr", "add", address, "dev", "eth0")
    assert _competing_steps(bed.plan(WANTED)) == []
    await bed.converge(WANTED)
    assert {each["protocol"] for each in bed.pod.routes().values()} == {"157"}


def _set_neighbours(bed: Bed, ours: str, theirs: str) -> None:
    for gateway, state in (("10.16.0.1", ours), ("10.16.0.77", theirs)):
        words = (
            "neigh",
            "replace",
            gateway,
            "lladdr",
            "02:00:00:00:00:77",
            "dev",
            "eth0",
            "nud",
            state,
        )
        bed.pod.ip(*words)


async def test_a_stale_gateway_wins_over_a_reachable_competing_one(bed: Bed) -> None:
    """Of default routes with one metric Linux uses the one whose gateway it deems reachable."""
    await bed.converge(WANTED)
    _set_neighbours(bed, "failed", "permanent")
    bed.pod.ip("route", "append", "default", "via", "10.16.0.77")
    assert _route_get(bed, "198.51.100.1").startswith("10.16.0.77 "), (
        "the competing route is not used, so the test shows nothing"
    )
    await bed.converge(WANTED)
    assert _route_get(bed, "198.51.100.1") == "10.16.0.1 10.16.0.5"
    _set_neighbours(bed, "stale", "permanent")
    bed.pod.ip("route", "replace", "default", "via", "10.16.0.77", "dev", "eth0")
    await bed.converge(WANTED)
    assert _route_get(bed, "198.51.100.1") == "10.16.0.1 10.16.0.5"
