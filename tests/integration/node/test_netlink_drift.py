"""Foreign changes to a pod's network by iproute2.

One pass of the loop must repair them and leave foreign objects untouched.
"""

import asyncio
from collections.abc import Callable
from ipaddress import ip_interface

import pytest

from integration.node.spaces import DUAL, MAC, Bed, Space, network
from ovnlet.core.errors import Taken
from ovnlet.core.plan import Verb
from ovnlet.core.resources import ABSENT, Address, Veth
from ovnlet.drivers.links.pod import PodLinks

WANTED = network(*DUAL, routes=(("192.0.2.0/24", "10.16.0.9"),))
Disturb = Callable[[Bed], object]


def _script(place: str, *lines: str) -> Disturb:
    def disturb(bed: Bed) -> None:
        space: Space = getattr(bed, place)
        for line in lines:
            space.ip(*line.format(host=bed.host, node=bed.node.name, pod=bed.pod.name).split())

    return disturb


DISTURBANCES: dict[str, Disturb] = {
    "pod end down": _script("pod", "link set eth0 down"),
    "pod end down and up": _script("pod", "link set eth0 down", "link set eth0 up"),
    "host end down": _script("node", "link set {host} down"),
    "MTU of the pod's end": _script("pod", "link set eth0 mtu 1280"),
    "MTU of the host end": _script("node", "link set {host} mtu 1500"),
    "MAC": _script("pod", "link set eth0 address 00:00:00:53:00:99"),
    "alias inside": _script("pod", "link set eth0 alias mine"),
    "alias on the node": _script("node", "link set {host} alias mine"),
    "host end deleted": _script("node", "link del {host}"),
    "pod end deleted": _script("pod", "link del eth0"),
    "host end renamed": _script("node", "link set {host} down", "link set {host} name stray"),
    "pod end renamed": _script(
        "pod", "link set eth0 down", "link set eth0 name eth9", "link set eth9 up"
    ),
    "pod end renamed, its alias gone": _script(
        "pod", "link set eth0 down", "link set eth0 name eth9 alias x"
    ),
    "host end moved into the pod": _script("node", "link set {host} netns {pod}"),
    "pod end moved to the node": _script("pod", "link set eth0 netns {node}"),
    "IPv4 address deleted": _script("pod", "addr del 10.16.0.5/16 dev eth0"),
    "IPv6 address deleted": _script("pod", "addr del fd00::5/64 dev eth0"),
    "all flushed": _script("pod", "addr flush dev eth0", "route flush dev eth0"),
    "IPv4 prefix": _script(
        "pod", "addr del 10.16.0.5/16 dev eth0", "addr add 10.16.0.5/24 dev eth0"
    ),
    "IPv6 prefix": _script("pod", "addr del fd00::5/64 dev eth0", "addr add fd00::5/112 dev eth0"),
    "added again with a prefix route": _script(
        "pod", "addr del fd00::5/64 dev eth0", "addr add fd00::5/64 dev eth0"
    ),
    "connected route deleted": _script("pod", "route del 10.16.0.0/16 dev eth0"),
    "default route deleted": _script("pod", "route del default"),
    "default route replaced": _script("pod", "route replace default via 10.16.0.77"),
    "IPv6 default route of ours replaced": _script(
        "pod", "-6 route replace default via fd00::77 proto 157 metric 512"
    ),
    "IPv6 next hop joined to ours": _script(
        "pod", "-6 route append default via fd00::77 proto 157 metric 512"
    ),
    "next hop of ours changed": _script(
        "pod", "route replace 192.0.2.0/24 via 10.16.0.8 proto 157"
    ),
    "source of ours changed": _script(
        "pod",
        "addr add 10.16.0.6/16 dev eth0",
        "route replace 192.0.2.0/24 via 10.16.0.9 proto 157 src 10.16.0.6",
    ),
    "stale route of ours": _script("pod", "route add 198.51.100.0/24 via 10.16.0.1 proto 157"),
    "stale address of ours": _script("pod", "addr add 10.16.0.200/16 dev eth0 proto 157"),
    "IPv6 switched off": lambda bed: bed.pod.set("ipv6/conf/eth0/disable_ipv6", "1"),
    "router advertisements on": lambda bed: bed.pod.set("ipv6/conf/eth0/accept_ra", "1"),
    "F2: ARP switched off": _script("pod", "link set eth0 arp off"),
    "F3: loopback down": _script("pod", "link set lo down"),
}


@pytest.mark.review2
@pytest.mark.parametrize("disturb", list(DISTURBANCES.values()), ids=list(DISTURBANCES))
async def test_drift_is_repaired_in_one_pass(bed: Bed, disturb: Disturb) -> None:
    await bed.converge(WANTED)
    disturb(bed)
    assert await bed.converge(WANTED)
    assert bed.node.links() == {bed.host}
    assert bed.pod.links() == {"eth0"}
    pod = bed.pod.link("eth0")
    assert (pod["mtu"], pod["address"], pod["link_netnsid"] >= 0) == (1400, MAC, True)
    assert "NOARP" not in pod["flags"]
    assert "UP" in bed.pod.link("lo")["flags"]
    assert bed.node.link(bed.host)["mtu"] == 1400
    assert set(DUAL) <= bed.pod.addresses().keys() <= {*DUAL, "10.16.0.6/16"}
    routes = {name: (each["gateway"], each["prefsrc"]) for name, each in bed.pod.routes().items()}
    assert (
        routes.items()
        >= {
            "default": ("10.16.0.1", "10.16.0.5"),
            "10.16.0.0/16": ("", "10.16.0.5"),
            "192.0.2.0/24": ("10.16.0.9", "10.16.0.5"),
            ":default": ("fd00::1", "fd00::5"),
            ":fd00::/64": ("", "fd00::5"),
        }.items()
    )
    assert "198.51.100.0/24" not in routes


async def test_a_link_that_went_down_loses_just_what_the_kernel_flushes(bed: Bed) -> None:
    await bed.converge(WANTED)
    bed.pod.ip("link", "set", "eth0", "down")
    observed = bed.netlink.observe(bed.attachment, WANTED)
    assert {str(each.ip) for each in observed if isinstance(each, Address)} == {DUAL[0]}
    assert bed.pod.routes() == {}


async def test_a_host_end_in_a_third_namespace_is_removed_by_its_pod_end(bed: Bed) -> None:
    await bed.converge(WANTED)
    other = bed.another("other")
    bed.node.ip("link", "set", bed.host, "netns", other.name)
    (first, *_) = bed.plan(WANTED)
    assert first.verb is Verb.REMOVE
    assert isinstance(first.resource, Veth)
    assert first.resource.host.startswith("elsewhere:")
    await bed.converge(WANTED)
    assert other.links() == set()
    assert bed.pod.links() == {"eth0"}


async def test_a_pod_end_in_a_third_namespace_is_removed_by_its_host_end(bed: Bed) -> None:
    await bed.converge(WANTED)
    other = bed.another("other")
    bed.pod.ip("link", "set", "eth0", "netns", other.name)
    await bed.converge(WANTED)
    assert other.links() == set()
    assert bed.pod.links() == {"eth0"}


async def test_a_pair_whose_host_end_moved_after_it_was_observed_goes_by_its_other_end(
    bed: Bed,
) -> None:
    """Two faults at once: the pod's end is renamed, and then the node's end moves away."""
    await bed.converge(WANTED)
    bed.pod.ip("link", "set", "eth0", "down")
    bed.pod.ip("link", "set", "eth0", "name", "lan0")
    plan = bed.plan(WANTED)
    other = bed.another("other")
    bed.node.ip("link", "set", bed.host, "netns", other.name)
    await bed.netlink.apply(bed.attachment, plan)
    assert bed.pod.links() == {"eth0"}
    assert other.links() == set()
    assert not bed.plan(WANTED)


async def test_the_same_index_in_another_namespace_is_not_taken_for_the_peer(bed: Bed) -> None:
    """Small indices repeat in every namespace: only index and namespace identify an end."""
    other = bed.another("other")
    await bed.converge(WANTED)
    bed.node.ip("link", "set", bed.host, "netns", other.name)
    index = other.link(bed.host)["ifindex"]
    bed.node.ip(
        "link", "add", "bystander", "index", str(index), "type", "veth", "peer", "name", "by2"
    )
    bed.node.ip("link", "set", "by2", "netns", bed.pod.name)
    await bed.converge(WANTED)
    assert bed.node.links() == {bed.host, "bystander"}
    assert bed.pod.links() == {"eth0", "by2"}


async def test_foreign_things_stay(bed: Bed) -> None:
    await bed.converge(WANTED)
    bed.pod.ip("addr", "add", "10.16.0.66/16", "dev", "eth0", "noprefixroute")
    bed.pod.ip("addr", "add", "172.30.0.1/24", "dev", "eth0")
    bed.pod.ip("-6", "addr", "add", "fd77::1/64", "dev", "eth0", "nodad")
    bed.pod.ip("route", "add", "203.0.113.0/24", "via", "10.16.0.1")
    bed.pod.ip("route", "add", "203.0.113.0/24", "via", "10.16.0.1", "table", "99", "proto", "157")
    bed.pod.ip("-6", "route", "add", "2001:db8:77::/48", "via", "fd00::1")
    bed.pod.ip(
        "link", "add", "net1", "type", "veth", "peer", "name", "net1_h", "netns", bed.node.name
    )
    bed.pod.ip("addr", "add", "10.77.0.1/24", "dev", "net1")
    bed.pod.ip("link", "set", "net1", "up")
    bed.pod.ip("route", "add", "198.18.0.0/15", "dev", "net1", "proto", "157")

    def everything() -> tuple[object, ...]:
        tables = bed.pod.json("route", "show", "table", "99")
        return (
            bed.pod.addresses(),
            bed.pod.addresses("net1"),
            bed.pod.routes(),
            tables,
            bed.node.links(),
        )

    before = everything()
    assert bed.plan(WANTED) == ()
    changed = network(*DUAL, mtu=1350, routes=(("192.0.2.0/24", "10.16.0.8"),))
    await bed.converge(changed)
    await bed.converge(WANTED)
    assert everything() == before
    await bed.converge(ABSENT)
    assert bed.node.links() == {"net1_h"}
    assert bed.pod.links() == {"net1"}


async def test_addresses_that_the_record_names_are_ours_without_a_mark(bed: Bed) -> None:
    await bed.converge(WANTED)
    bed.pod.ip("addr", "add", "10.16.0.44/16", "dev", "eth0")
    assert bed.plan(WANTED) == ()
    (step,) = bed.plan(WANTED, owned=frozenset({ip_interface("10.16.0.44/16")}))
    assert (step.verb, getattr(step.resource, "ip", None)) == (
        Verb.REMOVE,
        ip_interface("10.16.0.44/16"),
    )


async def test_a_pair_of_kube_ovn_is_adopted_in_place(bed: Bed) -> None:
    """It has kube-ovn's names, no alias of ours, and the kernel's connected routes.

    The pod keeps its link.
    """
    bed.node.ip(
        "link", "add", bed.host, "mtu", "1400", "type", "veth", "peer", "name", "c0ffee5b1e55_c"
    )
    bed.node.ip("link", "set", "c0ffee5b1e55_c", "alias", "c0ffee5b1e55_c")
    bed.node.ip("link", "set", "c0ffee5b1e55_c", "netns", bed.pod.name)
    bed.node.ip("link", "set", bed.host, "up")
    bed.pod.ip("link", "set", "c0ffee5b1e55_c", "name", "eth0", "address", MAC, "up")
    bed.pod.ip("addr", "add", DUAL[0], "dev", "eth0")
    bed.pod.ip("addr", "add", DUAL[1], "dev", "eth0", "nodad")
    bed.pod.ip("route", "add", "default", "via", "10.16.0.1")
    index = bed.pod.link("eth0")["ifindex"]
    await bed.converge(WANTED)
    assert bed.pod.link("eth0")["ifindex"] == index
    assert bed.pod.link("eth0")["ifalias"] == bed.node.link(bed.host)["ifalias"]
    assert bed.pod.routes()["default"]["protocol"] == "157"


async def test_a_foreign_link_of_that_name_in_the_pod_is_left_alone(bed: Bed) -> None:
    bed.pod.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth0_p")
    with pytest.raises(Taken, match="eth0 exists in the pod"):
        bed.plan(WANTED)
    assert bed.netlink.observe(bed.attachment, ABSENT) == ABSENT
    assert bed.pod.links() == {"eth0", "eth0_p"}


@pytest.mark.parametrize("kind", ["veth", "bridge"])
async def test_a_foreign_link_of_that_name_on_the_node_is_left_alone(bed: Bed, kind: str) -> None:
    bed.node.ip("link", "add", bed.host, "type", kind)
    before = bed.node.links()
    with pytest.raises(Taken, match=f"{bed.host} exists on the node"):
        bed.plan(WANTED)
    assert bed.netlink.observe(bed.attachment, ABSENT) == ABSENT
    assert bed.node.links() == before


async def test_our_alias_on_a_link_of_another_kind_makes_it_not_ours(bed: Bed) -> None:
    """A pod may set any alias; an alias alone must not make us remove the link."""
    bed.node.ip("link", "add", "uplink", "type", "veth", "peer", "name", "wire")
    bed.node.ip("link", "add", "mv0", "link", "uplink", "netns", bed.pod.name, "type", "macvlan")
    (alias,) = {each.alias for each in WANTED if isinstance(each, Veth)}
    bed.pod.ip("link", "set", "mv0", "alias", alias)
    assert bed.netlink.observe(bed.attachment, ABSENT) == ABSENT
    await bed.converge(WANTED)
    await bed.converge(ABSENT)
    assert bed.node.links() == {"uplink", "wire"}
    assert bed.pod.links() == {"mv0"}


@pytest.mark.review2
async def test_a_loopback_that_is_down_for_a_moment_is_the_runtimes_f3(bed: Bed) -> None:
    """A runtime sets `lo` down moments before it calls DEL; nothing may set it up again then."""
    await bed.converge(WANTED)
    bed.netlink = PodLinks(loopback_down=0.3)
    bed.pod.ip("link", "set", "lo", "down")
    assert bed.plan(WANTED) == ()
    await asyncio.sleep(0.3)
    assert [str(step) for step in bed.plan(WANTED)] == ["~ Loopback lo: up False -> True"]
    bed.pod.ip("link", "set", "lo", "up")
    assert bed.plan(WANTED) == ()
    bed.pod.ip("link", "set", "lo", "down")
    assert bed.plan(WANTED) == ()
