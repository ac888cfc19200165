"""An interface with a MAC and no address of ours: what runs in the pod has its own."""

import asyncio
from dataclasses import replace
from ipaddress import ip_interface

import pytest

from kit.memory import COMPLETE, World, pod
from ovnlet.agent.cni_service import CniService
from ovnlet.core.annotations import parse, wait_reason
from ovnlet.core.errors import NotReady
from ovnlet.core.resources import Address, Port, Route, Veth
from ovnlet_cni.request import Attach

pytestmark = [pytest.mark.looptime]
N1 = "n1.default.ovn"
BARE = {
    f"{N1}.kubernetes.io/{name}": value
    for name, value in (
        ("mac_address", "0a:00:00:00:00:09"),
        ("allocated", "true"),
        ("routed", "true"),
        ("logical_switch", "plain"),
    )
}


def attach() -> Attach:
    words = ("1.0.0", "c1", "net1", "/run/netns/c1", "default", "web")
    return Attach(*words, provider=N1)


async def test_it_has_a_port_a_link_and_no_address() -> None:
    world = World()
    world.tell(pod({**COMPLETE, **BARE}))
    answer = await CniService(world.attaching, world.records, lambda: None).add(attach())
    assert answer.ips == ()
    assert answer.interfaces[0].mac == "0a:00:00:00:00:09"
    there = world.host.networks["c1", "net1"]
    assert not [each for each in there if isinstance(each, Address | Route)]
    (port,) = [each for each in there if isinstance(each, Port)]
    assert port.ids["iface-id"] == f"web.default.{N1}"


async def test_its_link_is_repaired_and_addresses_of_others_stay() -> None:
    world = World()
    world.tell(pod({**COMPLETE, **BARE}))
    await CniService(world.attaching, world.records, lambda: None).add(attach())
    there = world.host.networks["c1", "net1"]
    changed = {replace(e, mtu=1280) if isinstance(e, Veth) else e for e in there}
    world.host.networks["c1", "net1"] = frozenset(changed)
    world.hint(("c1", "net1"))
    await asyncio.sleep(2)
    assert world.host.networks["c1", "net1"] == there


def test_without_allocated_it_is_only_not_ready() -> None:
    """The control: an address may still come."""
    early = {name: value for name, value in BARE.items() if not name.endswith("/allocated")}
    assert "no address yet" in str(wait_reason(early, N1))
    with pytest.raises(NotReady):
        parse(early, N1, "net1")
    assert wait_reason(BARE, N1) is None


def test_the_first_interface_always_has_an_address() -> None:
    first = {name.replace(N1, "ovn"): value for name, value in BARE.items()}
    assert "no address yet" in str(wait_reason(first, "ovn"))


def test_an_address_is_used_where_there_is_one() -> None:
    with_one = {
        **BARE,
        f"{N1}.kubernetes.io/ip_address": "10.16.0.5",
        f"{N1}.kubernetes.io/cidr": "10.16.0.0/16",
    }
    assert parse(with_one, N1, "net1").addresses == (ip_interface("10.16.0.5/16"),)
    assert parse(BARE, N1, "net1").addresses == ()
