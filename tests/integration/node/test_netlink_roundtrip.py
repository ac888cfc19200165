"""A pod's network is created, checked by iproute2 and pyroute2, applied again, and removed."""

import asyncio
import os
import socket
import subprocess
import threading
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest
from pyroute2 import AsyncIPRoute

from integration.node.spaces import DUAL, MAC, Bed, Listener, network
from ovnlet.core import ids
from ovnlet.core.plan import Step, Verb
from ovnlet.core.resources import ABSENT, Address, Network, Route, Sysctl, Veth
from ovnlet.drivers.links import removal as driver
from ovnlet.drivers.linux import ifreq

FAMILIES = {"IPv4": DUAL[:1], "IPv6": DUAL[1:], "dual": DUAL}


@pytest.fixture(params=list(FAMILIES.values()), ids=list(FAMILIES))
def desired(request: pytest.FixtureRequest) -> Network:
    return network(*request.param)


def _veth(desired: Network) -> Veth:
    return next(each for each in desired if isinstance(each, Veth))


async def test_what_iproute2_sees_is_what_was_desired(bed: Bed, desired: Network) -> None:
    await bed.converge(desired)
    host, pod = bed.node.link(bed.host), bed.pod.link("eth0")
    assert (host["mtu"], pod["mtu"], pod["address"]) == (1400, 1400, MAC)
    assert "UP" in host["flags"]
    assert "UP" in pod["flags"]
    assert {end[f"num_{way}_queues"] for end in (host, pod) for way in ("tx", "rx")} == {1}
    assert host["ifalias"] == pod["ifalias"] == _veth(desired).alias
    assert host["inet6_addr_gen_mode"] == "none"
    assert bed.node.addresses(bed.host) == {}
    wanted = {str(each.ip) for each in desired if isinstance(each, Address)}
    assert bed.pod.addresses().keys() == wanted
    routes = [each for each in desired if isinstance(each, Route)]
    seen = bed.pod.routes()
    assert len(seen) == len(routes)
    for route in routes:
        prefix = ":" if route.destination.version == 6 else ""
        name = "default" if route.destination.prefixlen == 0 else str(route.destination)
        entry = seen[prefix + name]
        assert entry["protocol"] == "157"
        assert entry["prefsrc"] == str(route.source)
        assert entry["gateway"] == ("" if route.via is None else str(route.via))
    for each in desired:
        if isinstance(each, Sysctl):
            assert bed.pod.setting(each.name) == each.value


async def test_an_ioctl_says_what_iproute2_does(bed: Bed) -> None:
    await bed.converge(network(*DUAL))
    with bed.pod.inside():
        pod = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    with pod:
        assert ifreq.index(pod, "eth0") == bed.pod.link("eth0")["ifindex"]
        assert ifreq.index(pod, "eth1") == 0
        assert not ifreq.is_up(pod, "eth1")
        for state in ("down", "up"):
            bed.pod.ip("link", "set", "lo", state)
            assert ifreq.is_up(pod, "lo") is (state == "up")


async def test_a_removal_looks_for_the_pair_alone(bed: Bed) -> None:
    """All else goes with the pair, so the kernel is not asked for it."""
    desired = network(*DUAL)
    await bed.converge(desired)
    assert bed.netlink.observe(bed.attachment, ABSENT) == {_veth(desired)}


async def test_pyroute2_sees_the_same(bed: Bed) -> None:
    await bed.converge(network(*DUAL))
    with bed.pod.inside():
        async with AsyncIPRoute() as foreign:
            (index,) = await foreign.link_lookup(ifname="eth0")
            addresses = [each async for each in await foreign.get_addr(index=index)]
            routes = [
                each async for each in await foreign.get_routes(oif=index) if each["proto"] == 157
            ]
    marked = [each for each in addresses if each.get_attr("IFA_PROTO") == 157]
    assert {f"{each.get_attr('IFA_ADDRESS')}/{each['prefixlen']}" for each in marked} == set(DUAL)
    assert {each.get_attr("IFA_BROADCAST") for each in marked} == {None}
    assert len(routes) == 4


async def test_a_second_run_writes_nothing(
    bed: Bed, desired: Network, listeners: tuple[Listener, Listener]
) -> None:
    bed.pod.set(
        "ipv6/conf/default/addr_gen_mode", "1"
    )  # else the kernel's own address is notified, too
    await bed.converge(desired)
    assert all(listener.message_types() for listener in listeners), "a listener receives nothing"
    # The kernel reports a carrier up to a second late.
    while {bed.node.link(bed.host)["operstate"], bed.pod.link("eth0")["operstate"]} != {"UP"}:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    while [kind for listener in listeners for kind in listener.message_types()]:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    for _ in range(3):
        assert await bed.converge(desired) == ()
    assert [listener.message_types() for listener in listeners] == [[], []]


async def test_each_step_twice_is_as_good_as_once(bed: Bed, desired: Network) -> None:
    plan = bed.plan(desired)
    for step in plan:
        await bed.netlink.apply(bed.attachment, [step])
        await bed.netlink.apply(bed.attachment, [step])
    assert bed.plan(desired) == ()


async def test_steps_are_carried_out_in_their_order(bed: Bed) -> None:
    """Messages are batched, but no batch crosses a step that is not a netlink message."""
    desired = network(DUAL[1])
    await bed.netlink.apply(bed.attachment, bed.plan(desired))
    (address,) = (each for each in desired if isinstance(each, Address))
    off = Sysctl(address.within, "ipv6/conf/eth0/disable_ipv6", "1")
    await bed.netlink.apply(bed.attachment, [Step(Verb.REMOVE, address)])
    await bed.netlink.apply(bed.attachment, [Step(Verb.ENSURE, address), Step(Verb.ENSURE, off)])
    assert bed.pod.addresses() == {}  # added, then flushed; the other way round it would be refused


async def test_a_link_made_within_a_run_is_known_to_its_next_step(bed: Bed) -> None:
    desired = network(*DUAL)
    (stale, *_) = (each for each in desired if isinstance(each, Address))
    await bed.netlink.apply(bed.attachment, [Step(Verb.REMOVE, stale), *bed.plan(desired)])
    assert bed.plan(desired) == ()


async def test_stopped_after_any_step_it_arrives(bed: Bed, desired: Network) -> None:
    plan = bed.plan(desired)
    for end in range(len(plan)):
        await bed.netlink.apply(bed.attachment, plan[:end])
        await bed.converge(desired)
        await bed.converge(ABSENT)
    assert bed.node.links() == set()


async def test_removed_it_leaves_nothing(bed: Bed, desired: Network) -> None:
    await bed.converge(desired)
    plan = await bed.converge(ABSENT)
    assert [str(step) for step in plan] == [f"- Veth {bed.host} eth0"]
    assert bed.node.links() == bed.pod.links() == set()
    assert bed.netlink.observe(bed.attachment, ABSENT) == ABSENT


async def test_removing_what_is_not_there_is_success(bed: Bed, desired: Network) -> None:
    gone = [Step(Verb.REMOVE, resource) for resource in desired]
    await bed.netlink.apply(bed.attachment, gone)
    await bed.converge(desired)
    singly = [Step(Verb.REMOVE, each) for each in desired if isinstance(each, Address | Route)]
    await bed.netlink.apply(bed.attachment, singly)
    await bed.netlink.apply(bed.attachment, singly)
    assert bed.pod.addresses() == bed.pod.routes() == {}


async def test_an_ipv6_address_is_usable_at_once(bed: Bed) -> None:
    """Without IFA_F_NODAD it would be tentative for a second or more, and bind would fail."""
    await bed.netlink.apply(bed.attachment, bed.plan(network(*DUAL[1:])))
    with bed.pod.inside(), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as bound:
        bound.bind(("fd00::5", 0))
    assert "tentative" not in bed.pod.addresses()[DUAL[1]]


async def test_the_kernel_adds_no_connected_route_of_its_own(bed: Bed) -> None:
    desired = network(*DUAL)
    plan = [step for step in bed.plan(desired) if not isinstance(step.resource, Route)]
    await bed.netlink.apply(bed.attachment, plan)
    assert bed.pod.addresses().keys() == set(DUAL)
    assert bed.pod.routes() == {}


async def test_two_pods_reach_each_other_over_ipv6_and_ipv4(bed: Bed) -> None:
    """The host end has the gateway's address; the pod's datagram arrives with its own source."""
    await bed.converge(network(*DUAL))
    bed.node.ip("addr", "add", "10.16.0.1/16", "dev", bed.host)
    bed.node.ip("addr", "add", "fd00::1/64", "dev", bed.host, "nodad")
    for family, gateway in ((socket.AF_INET, "10.16.0.1"), (socket.AF_INET6, "fd00::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as node:
            node.bind((gateway, 5300))
            node.settimeout(3)
            with bed.pod.inside():
                sender = socket.socket(family, socket.SOCK_DGRAM)
            with sender:
                sender.sendto(b"hello", (gateway, 5300))
                assert node.recvfrom(9)[1][0] in ("10.16.0.5", "fd00::5")


async def test_custom_routes_come_and_change_and_go_while_the_pod_runs(bed: Bed) -> None:
    first = (("192.0.2.0/24", "10.16.0.9"), ("2001:db8::/32", "fd00::9"))
    second = (("192.0.2.0/24", "10.16.0.8"), ("198.51.100.0/24", "10.16.0.9"))
    await bed.converge(network(*DUAL, routes=first))
    assert bed.pod.routes()["192.0.2.0/24"]["gateway"] == "10.16.0.9"
    assert bed.pod.routes()[":2001:db8::/32"]["gateway"] == "fd00::9"
    plan = await bed.converge(network(*DUAL, routes=second))
    assert len(plan) == 3
    assert bed.pod.routes()["192.0.2.0/24"]["gateway"] == "10.16.0.8"
    assert ":2001:db8::/32" not in bed.pod.routes()
    await bed.converge(network(*DUAL))
    assert len(bed.pod.routes()) == 4


async def test_hundreds_of_routes_go_out_in_one_run(bed: Bed) -> None:
    routes = tuple(
        (f"100.{64 + each // 250}.{each % 250}.0/24", "10.16.0.9") for each in range(250)
    )
    await bed.converge(network(*DUAL, routes=routes))
    assert len(bed.pod.routes()) == 254
    await bed.converge(network(*DUAL))
    assert len(bed.pod.routes()) == 4


async def test_the_mtu_changes_at_both_ends_and_nothing_else_does(bed: Bed) -> None:
    await bed.converge(network(*DUAL))
    index = bed.pod.link("eth0")["ifindex"]
    plan = await bed.converge(network(*DUAL, mtu=1300))
    assert [str(step) for step in plan] == [f"~ Veth {bed.host} eth0: mtu 1400 -> 1300"]
    assert bed.node.link(bed.host)["mtu"] == bed.pod.link("eth0")["mtu"] == 1300
    assert bed.pod.link("eth0")["ifindex"] == index
    assert len(bed.pod.routes()) == 4


async def test_transmit_checksums_are_off_and_only_where_desired(bed: Bed) -> None:
    def checksum() -> str:
        with bed.pod.inside():
            shown = subprocess.run(
                ["ethtool", "-k", "eth0"], check=True, capture_output=True, text=True
            ).stdout
        return next(
            line.split()[1] for line in shown.splitlines() if line.startswith("tx-checksumming")
        )

    everything = network(*DUAL)
    kernel = frozenset(each for each in everything if type(each).__name__ != "Offload")
    await bed.converge(kernel)
    assert checksum() == "on"
    assert len(await bed.converge(everything)) == 1
    assert checksum() == "off"
    assert await bed.converge(kernel) == ()


async def test_deleting_a_veth_does_not_hold_up_the_loop(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bed.converge(network(*DUAL))
    threads = []
    real = driver._delete

    def spy(*words: object) -> object:
        threads.append(threading.current_thread())
        return real(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(driver, "_delete", spy)
    await bed.converge(ABSENT)
    assert threads
    assert threading.main_thread() not in threads
    assert os.stat("/proc/thread-self/ns/net").st_ino == os.stat(bed.node.path).st_ino


async def test_an_interface_that_is_not_eth0(bed: Bed) -> None:
    attachment = replace(bed.attachment, ifname="net-storage1", host_link="")
    key = attachment.key
    veth = Veth(ids.host_link(*key), "net-storage1", "00:00:00:53:00:77", 9000, ids.alias(*key))
    desired: Network = frozenset(
        {
            veth,
            Address(veth.key, veth.pod, ip_interface("10.99.0.7/24")),
            Route(veth.key, veth.pod, ip_network("10.99.0.0/24"), None, ip_address("10.99.0.7")),
        }
    )
    await bed.converge(network(*DUAL))
    await bed.netlink.apply(
        attachment, [Step(Verb.ENSURE, each) for each in sorted(desired, key=_rank)]
    )
    assert bed.netlink.observe(attachment, desired) == desired
    assert bed.plan(network(*DUAL)) == ()
    await bed.netlink.apply(attachment, [Step(Verb.REMOVE, veth)])
    assert bed.pod.links() == {"eth0"}


def _rank(resource: object) -> int:
    return [Veth, Address, Route].index(type(resource))
