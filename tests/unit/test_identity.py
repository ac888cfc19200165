"""One attachment, one identity: what was fixed at ADD stays, and nobody takes another's port."""

import asyncio
from dataclasses import replace

import pytest

from kit.memory import COMPLETE, UID, World, pod
from ovnlet.core.errors import Invalid
from ovnlet.core.identity import Attachment, Pod, Record
from ovnlet.core.resources import Network, Port, Route, Veth

pytestmark = [pytest.mark.looptime, pytest.mark.review2]
OVN = "ovn.kubernetes.io"
OTHER_UID = "8a3b2f64-0000-4000-8000-00000000ffff"


@pytest.fixture
async def world() -> World:
    return World()


def another(attachment: Attachment, **changes: str) -> Attachment:
    """Return an attachment with other names, its own ones derived anew."""
    return replace(attachment, **{"host_link": "", "iface_id": "", **changes})  # type: ignore[arg-type]


def mtu(network: Network) -> int:
    return next(each.mtu for each in network if isinstance(each, Veth))


def gateway(network: Network) -> str:
    (found,) = (
        each.via for each in network if isinstance(each, Route) and not each.destination.prefixlen
    )
    return str(found)


async def test_l7_an_edited_switch_takes_nothing_of_the_other_subnet(world: World) -> None:
    """L7: an edited `logical_switch` took the MTU and the gateway of the Subnet that it named."""
    world.subnets["ovn-default"] = {"Subnet mtu": "1400", "Subnet gateway": "10.16.0.1"}
    world.subnets["other"] = {"Subnet mtu": "1300", "Subnet gateway": "10.16.0.9"}
    world.tell(pod())
    attachment = world.attachment()
    await world.attaching.add(attachment)
    world.tell(pod({**COMPLETE, f"{OVN}/logical_switch": "other"}))
    await asyncio.sleep(1)
    after = world.host.networks[attachment.key]
    assert (mtu(after), gateway(after)) == (1400, "10.16.0.1")
    assert ("Warning", "InvalidAnnotation") in [event[:2] for event in world.status.events]
    assert any(f"{OVN}/logical_switch" in text for _, _, text in world.status.events)
    world.subnets["ovn-default"] = {"Subnet mtu": "1350", "Subnet gateway": "10.16.0.2"}
    world.scope.subnet_changed("ovn-default")
    await asyncio.sleep(1)
    edited = world.host.networks[attachment.key]
    assert (mtu(edited), gateway(edited)) == (1350, "10.16.0.2"), "its own Subnet is followed"


async def test_l8_a_second_interface_of_the_pod_with_the_same_provider_is_refused(
    world: World,
) -> None:
    """L8: two attachments of one pod with one provider stole the `iface-id` from each other."""
    world.tell(pod())
    first = world.attachment()
    await world.attaching.add(first)
    before = world.host.networks[first.key]
    second = another(first, ifname="net1")
    with pytest.raises(Invalid, match=r"eth0 of default/web has the logical switch port web\.defa"):
        await world.attaching.add(second)
    assert world.host.networks[first.key] == before
    assert world.records.get(second.key) is None


async def test_l8_another_pod_of_the_same_port_name_is_refused(world: World) -> None:
    """L8: pod `web.default` in `a`, and `web` in `default` with provider `a` share a port name."""
    for each in (pod(), Pod("a", "web.default", OTHER_UID, COMPLETE, OTHER_UID)):
        world.tell(each)
    first = another(world.attachment(), provider="a")
    world.scope.remember(Record(first, COMPLETE))
    thief = another(
        world.attachment("c2"), namespace="a", pod="web.default", uid=OTHER_UID, provider="ovn"
    )
    assert first.iface_id == thief.iface_id
    with pytest.raises(Invalid, match="eth0 of default/web"):
        await world.attaching.add(thief)
    assert world.records.get(thief.key) is None


@pytest.mark.parametrize("labelled", [True, False])
async def test_l8_a_port_that_no_record_tells_of_keeps_its_iface_id(
    world: World, labelled: bool
) -> None:
    """L8: the `iface-id` of a live port of somebody else was taken away from it."""
    world.tell(pod())
    attachment = world.attachment()
    holder = another(world.attachment("c9"), pod="vm-1", ifname="net1") if labelled else None
    world.host.holders_of[attachment.iface_id] = [("tap7", holder)]
    with pytest.raises(Invalid, match="tap7") as refused:
        await world.attaching.add(attachment)
    assert ("default/vm-1" in str(refused.value)) is labelled
    assert world.nothing_left()


async def test_l8_the_newest_sandbox_takes_over_from_one_that_still_lives(world: World) -> None:
    """L8: newest wins, recorded or not: the older sandbox of that interface gives way."""
    world.tell(pod())
    old, new = world.attachment("old"), world.attachment("new")
    await world.attaching.add(old)
    world.host.holders_of[new.iface_id] = [
        (old.host_link, old),
        ("0123456789ab_h", world.attachment("0123456789ab")),
    ]
    await world.attaching.add(new)
    await asyncio.sleep(1)
    assert not world.host.networks[old.key]
    assert any(isinstance(each, Port) for each in world.host.networks[new.key])


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ({f"{OVN}/gateway": "192.0.2.1"}, True),
        ({f"{OVN}/gateway": "10.16.0.5"}, True),
        ({f"{OVN}/gateway": "nonsense"}, True),
        ({f"{OVN}/gateway": ""}, False),
        ({f"{OVN}/gateway": "nonsense", f"{OVN}/default_route": "false"}, False),
        ({f"{OVN}/gateway": "nonsense", f"{OVN}/routes": '[{"gw": "10.16.0.9"}]'}, False),
    ],
)
async def test_l18_the_first_add_with_an_unusable_gateway_fails(
    world: World, text: dict[str, str], refused: bool
) -> None:
    """L18: it succeeded, and the pod had no default route."""
    world.tell(pod({**COMPLETE, **text}))
    if refused:
        with pytest.raises(Invalid, match=f"{OVN}/gateway"):
            await world.attaching.add(world.attachment())
        assert world.nothing_left()
        assert ("Warning", "InvalidAnnotation") in [event[:2] for event in world.status.events]
    else:
        await world.attaching.add(world.attachment())


async def test_l18_a_gateway_that_goes_bad_later_keeps_the_last_good_one(world: World) -> None:
    """L18: only the first ADD fails; a repeated one and a running pod keep what they have."""
    world.tell(pod())
    attachment = world.attachment()
    await world.attaching.add(attachment)
    world.tell(pod({**COMPLETE, f"{OVN}/gateway": "nonsense"}))
    await world.attaching.add(attachment)
    assert gateway(world.host.networks[attachment.key]) == "10.16.0.1"
    assert attachment.uid == UID


@pytest.mark.parametrize(
    ("labels", "adopted"),
    [
        ({"vendor": "kube-ovn", "pod_name": "web", "pod_namespace": "shop"}, True),
        ({"pod_name": "web", "pod_namespace": "shop"}, False),
        ({"vendor": "kube-ovn", "iface-id": "node-n0"}, False),
    ],
)
def test_a_del_removes_kube_ovn_cnis_port_of_its_sandbox(
    labels: dict[str, str], adopted: bool
) -> None:
    """A DEL names no pod: after a restart half-way through a take-over such ports stayed for ever.

    Only the port that is named by the container ID is asked about.
    """
    assert Attachment.of_deletion("c" * 64, "eth0", "boot").adopts(labels, ()) is adopted
