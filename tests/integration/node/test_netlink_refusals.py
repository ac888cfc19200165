"""What the kernel refuses.

The error names the step, the errno and the kernel's message, and nothing is left half done.
"""

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from integration.node.spaces import DUAL, Bed, network
from ovnlet.core.errors import NodeFault, Taken
from ovnlet.core.plan import Step, Verb
from ovnlet.core.resources import Address, Port, Resource, Route, Sysctl, Veth
from ovnlet.drivers.links.pod import PodLinks
from ovnlet.drivers.linux import sysctl

WANTED = network(*DUAL)
VETH = next(each for each in WANTED if isinstance(each, Veth))


async def _ensure(bed: Bed, resource: Resource) -> None:
    await bed.netlink.apply(bed.attachment, [Step(Verb.ENSURE, resource)])


async def test_a_name_taken_since_the_look(bed: Bed) -> None:
    bed.pod.ip("link", "add", "eth0", "type", "bridge")
    with pytest.raises(Taken, match="eth0 exists in the pod"):
        await _ensure(bed, VETH)
    assert bed.node.links() == set()
    bed.pod.ip("link", "del", "eth0")
    bed.node.ip("link", "add", VETH.host, "type", "bridge")
    with pytest.raises(Taken, match="exists on the node"):
        await _ensure(bed, VETH)
    assert bed.pod.links() == set()


async def test_a_name_taken_by_an_alternative_one(bed: Bed) -> None:
    bed.node.ip("link", "add", "innocent", "type", "bridge")
    bed.node.ip("link", "property", "add", "dev", "innocent", "altname", VETH.host)
    with pytest.raises(Taken):
        bed.plan(WANTED)
    with pytest.raises(Taken):
        await _ensure(bed, VETH)
    assert bed.node.links() == {"innocent"}


async def test_a_gateway_out_of_reach(bed: Bed) -> None:
    await bed.converge(WANTED)
    route = Route(
        VETH.key,
        "eth0",
        ip_network("192.0.2.0/24"),
        ip_address("198.51.100.1"),
        ip_address("10.16.0.5"),
    )
    with pytest.raises(
        NodeFault,
        match=r"^\+ Route eth0 192.0.2.0/24 .*: ENETUNREACH: Nexthop has invalid gateway$",
    ):
        await _ensure(bed, route)


async def test_one_refused_in_the_middle_is_named_and_the_others_are_done(bed: Bed) -> None:
    await bed.converge(WANTED)
    ways = ("10.16.0.9", "198.51.100.1", "10.16.0.9")
    routes = [
        Route(
            VETH.key,
            "eth0",
            ip_network(f"192.0.{each}.0/24"),
            ip_address(via),
            ip_address("10.16.0.5"),
        )
        for each, via in enumerate(ways)
    ]
    with pytest.raises(NodeFault, match=r"192\.0\.1\.0/24"):
        await bed.netlink.apply(bed.attachment, [Step(Verb.ENSURE, each) for each in routes])
    assert {"192.0.0.0/24", "192.0.2.0/24"} <= bed.pod.routes().keys()
    assert "192.0.1.0/24" not in bed.pod.routes()


async def test_a_source_that_is_not_there(bed: Bed) -> None:
    await bed.converge(WANTED)
    route = Route(
        VETH.key,
        "eth0",
        ip_network("192.0.2.0/24"),
        ip_address("10.16.0.1"),
        ip_address("10.16.9.9"),
    )
    with pytest.raises(NodeFault, match="EINVAL"):
        await _ensure(bed, route)


async def test_an_address_on_a_link_that_is_not_there(bed: Bed) -> None:
    with pytest.raises(NodeFault, match=r"\+ Address eth0 10.16.0.5/16: ENODEV"):
        await _ensure(bed, Address(VETH.key, "eth0", ip_interface(DUAL[0])))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mtu": 70000}, "EINVAL"),
        ({"mac": "01:00:00:00:00:01"}, "EADDRNOTAVAIL"),
        ({"host": "much-too-long-for-a-link"}, "ERANGE"),
        ({"pod": "a/b"}, "EINVAL"),
    ],
)
async def test_a_veth_the_kernel_cannot_make(
    bed: Bed, change: dict[str, object], words: str
) -> None:
    with pytest.raises(NodeFault, match=rf"^\+ Veth .*: {words}"):
        await _ensure(bed, replace(VETH, **change))  # type: ignore[arg-type]
    assert bed.node.links() == bed.pod.links() == set()


async def test_a_setting_the_kernel_does_not_have(bed: Bed) -> None:
    await bed.converge(WANTED)
    with pytest.raises(NodeFault, match=r"the kernel has no setting .*ipv6/conf/eth0/nonsense"):
        await _ensure(bed, Sysctl(VETH.key, "ipv6/conf/eth0/nonsense", "1"))
    with pytest.raises(NodeFault, match=r"cannot set .*accept_ra to much: EINVAL"):
        await _ensure(bed, Sysctl(VETH.key, "ipv6/conf/eth0/accept_ra", "much"))


async def test_settings_are_read_where_they_are_mounted(bed: Bed, tmp_path: object) -> None:
    """A directory that is not the kernel's has no settings, and no file is created in it."""
    elsewhere = PodLinks(str(tmp_path))
    await bed.converge(WANTED)
    assert not any(isinstance(each, Sysctl) for each in elsewhere.observe(bed.attachment, WANTED))
    with pytest.raises(NodeFault, match="has no setting"):
        sysctl.write(str(tmp_path), "accept_ra", "0")
    assert sysctl.read(str(tmp_path), "accept_ra") is None


async def test_without_ipv6_on_the_link_an_ipv4_pod_still_starts(bed: Bed) -> None:
    """Below an MTU of 1280 the kernel removes IPv6 from a link: it has no IPv6 settings then."""
    wanted = network(DUAL[0], mtu=1000)
    await bed.converge(wanted)
    with pytest.raises(NodeFault, match="has no setting"):
        await bed.converge(network(*DUAL, mtu=1000))


async def test_a_thing_that_is_not_netlinks(bed: Bed) -> None:
    for verb in Verb:
        with pytest.raises(NodeFault, match="not for netlink"):
            await bed.netlink.apply(bed.attachment, [Step(verb, Port("br-int", "x", frozenset()))])
