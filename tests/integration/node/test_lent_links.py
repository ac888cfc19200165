"""The pod's end of a link that was given to a virtual machine, as KubeVirt changes it."""

from dataclasses import replace

import pytest

from integration.node.spaces import DUAL, Bed, network
from ovnlet.core.errors import NodeFault, Taken
from ovnlet.core.plan import Verb
from ovnlet.core.resources import Address, Network, Offload, Veth

WANTED = network(*DUAL)
BINDING = (
    "link set eth0 down",
    "addr flush dev eth0 scope global",
    "link set eth0 name eth0-nic address 02:00:00:00:00:99",
    "link add k6t-eth0 type bridge",
    "link set eth0-nic master k6t-eth0",
    "link add eth0 type bridge",
    "addr add 10.16.0.5/16 dev eth0",
)


async def bound(bed: Bed) -> None:
    """Attach, then do what a bridge binding does; the end stays down for a moment."""
    await bed.converge(WANTED)
    for line in BINDING:
        bed.pod.ip(*line.split())


def lent(bed: Bed) -> Network:
    """Return what is desired of the end by its present name and MAC."""
    found = bed.netlink.pod_end(bed.attachment)
    assert found is not None
    name, mac = found
    (veth,) = [each for each in WANTED if isinstance(each, Veth)]
    veth = replace(veth, pod=name, mac=mac, lent=True)
    offloads = {replace(e, veth=veth.key, pod=name) for e in WANTED if isinstance(e, Offload)}
    return frozenset({veth, *offloads})


async def test_the_present_name_and_mac_are_found(bed: Bed) -> None:
    await bound(bed)
    assert bed.netlink.pod_end(bed.attachment) == ("eth0-nic", "02:00:00:00:00:99")


async def test_nothing_of_it_is_drift(bed: Bed) -> None:
    await bound(bed)
    assert bed.plan(lent(bed)) == ()
    owned = frozenset(each.ip for each in WANTED if isinstance(each, Address))
    assert bed.plan(lent(bed), owned) == ()


async def test_without_being_lent_the_same_is_taken_for_a_foreign_link(bed: Bed) -> None:
    """The control: an agent that knows no virtual machines."""
    await bound(bed)
    with pytest.raises(Taken, match="eth0"):
        bed.plan(WANTED)


async def test_mtu_and_the_nodes_end_are_repaired(bed: Bed) -> None:
    await bound(bed)
    bed.node.ip("link", "set", bed.host, "mtu", "1280", "down")
    bed.pod.ip("link", "set", "eth0-nic", "mtu", "1280")
    await bed.converge(lent(bed))
    node, pod = bed.node.link(bed.host), bed.pod.link("eth0-nic")
    assert (node["mtu"], pod["mtu"], "UP" in node["flags"]) == (1400, 1400, True)
    assert (pod["address"], pod["master"]) == ("02:00:00:00:00:99", "k6t-eth0")
    assert "UP" not in pod["flags"], "KubeVirt sets it up when it is done"
    assert set(bed.pod.addresses("eth0")) == {"10.16.0.5/16"}


async def test_a_rename_since_the_name_was_found_removes_nothing(bed: Bed) -> None:
    """A setting by the former name fails the pass, and the next one has the new name."""
    await bed.converge(WANTED)
    before = lent(bed)
    for line in ("link set eth0 down", "link set eth0 name eth0-nic"):
        bed.pod.ip(*line.split())
    with pytest.raises(NodeFault, match="ENODEV"):
        bed.plan(before)
    link_alone = frozenset(each for each in before if isinstance(each, Veth))
    assert not [step for step in bed.plan(link_alone) if step.verb is Verb.REMOVE]
    assert bed.plan(lent(bed)) == ()
