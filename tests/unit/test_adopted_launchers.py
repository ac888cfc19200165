"""Interfaces of virtual machines that no record has: kube-ovn-cni's, and those of a lost record."""

import asyncio
from collections.abc import Iterable

import pytest

from kit.memory import COMPLETE, UID, World
from ovnlet.core import ids
from ovnlet.core.annotations import FIRST
from ovnlet.core.fixed import Found
from ovnlet.core.identity import Attachment, Pod, Record
from ovnlet.core.resources import Port
from ovnlet.drivers.sandbox_host import attachment_of, interface_of
from ovnlet.reconcile.sweep import Sweep

pytestmark = [pytest.mark.looptime]
VM = {"ovn.kubernetes.io/virtualmachine": "db", "kubevirt.io/domain": "db"}
LAUNCHER, OTHER = "virt-launcher-db-aaaaa", "virt-launcher-db-bbbbb"
NAME = "0123456789ab_h"
# As kube-ovn-cni writes them: the machine in the place of the pod.
LABELS = {
    "vendor": "kube-ovn",
    "pod_name": "db",
    "pod_namespace": "default",
    "pod_netns": "/run/netns/db",
    "iface-id": "db.default",
}


class Marks:
    """What the labels on the node tell of."""

    def __init__(self, *found: Found) -> None:
        self.all = list(found)

    def found(self) -> Iterable[Found]:
        return self.all


def launcher(name: str, uid: str = UID, **more: str) -> Pod:
    return Pod("default", name, uid, {**COMPLETE, **VM, **more}, uid)


def theirs(name: str = NAME) -> Found:
    found = attachment_of(name, None, LABELS)
    assert found is not None
    return Found(found, ours=False)


def sweep(world: World, *found: Found) -> Sweep:
    return Sweep(
        marked=Marks(*found),
        scope=world.scope,
        passes=world.passes,
        state=world.state,
        records=world.records,
        refresh=world.refresh,
    )


async def test_a_port_of_a_machine_is_adopted_for_the_pod_that_launches_it() -> None:
    world = World()
    world.tell(launcher(LAUNCHER))
    await sweep(world, theirs()).round()
    await asyncio.sleep(2)
    (record,) = world.records
    found = record.attachment
    assert (found.pod, found.machine, found.uid) == (LAUNCHER, "db", UID)
    assert (found.host_link, found.iface_id) == (NAME, "db.default")
    assert record.good is not None, "what is inside the pod is KubeVirt's from the first look on"
    there = world.host.networks[found.key]
    (port,) = [each for each in there if isinstance(each, Port)]
    assert (port.name, port.ids["pod_name"]) == (NAME, "db")
    assert world.host.announced == []


async def test_of_two_launchers_neither_is_guessed_until_one_is_gone() -> None:
    world = World()
    world.tell(launcher(LAUNCHER))
    world.tell(launcher(OTHER, UID.replace("1", "2")))
    sweeping = sweep(world, theirs())
    await sweeping.round()
    assert list(world.records) == []
    world.gone(("default", LAUNCHER))
    await sweeping.round()
    (record,) = world.records
    assert record.attachment.pod == OTHER


async def test_of_two_ports_of_a_machine_neither_is_guessed() -> None:
    world = World()
    world.tell(launcher(LAUNCHER))
    await sweep(world, theirs(), theirs("ba9876543210_h")).round()
    assert list(world.records) == []


@pytest.mark.parametrize("machine", [True, False])
async def test_a_pod_that_has_its_interface_adopts_no_other_one(machine: bool) -> None:
    """It would be the newer sandbox of the two, and take the port from the one that works."""
    world = World()
    world.tell(launcher(LAUNCHER) if machine else Pod("default", "db", UID, COMPLETE, UID))
    name, iface_id = (LAUNCHER if machine else "db"), "db.default"
    own = Attachment(
        "c1", "eth0", "/run/netns/c1", "default", name, UID, FIRST, "", 1, iface_id=iface_id
    )
    await world.attaching.add(own)
    await sweep(world, theirs()).round()
    assert [record.attachment.container_id for record in world.records] == ["c1"]


async def test_a_pod_that_launches_nothing_adopts_no_machines_port() -> None:
    """The control: without the annotation nothing says whose the port is."""
    world = World()
    world.tell(Pod("default", LAUNCHER, UID, COMPLETE, UID))
    await sweep(world, theirs()).round()
    assert list(world.records) == []


async def test_a_record_of_a_launcher_that_is_made_again_has_good_annotations() -> None:
    """Without them the first pass would take the guest's changes for drift."""
    world = World()
    world.tell(launcher(LAUNCHER))
    attachment = Attachment(
        "c1", "eth0", "/run/netns/c1", "default", LAUNCHER, UID, FIRST, "", 7, iface_id="db.default"
    )
    await sweep(world, Found(attachment, ours=True)).round()
    (record,) = world.records
    assert isinstance(record, Record)
    assert record.good is not None


@pytest.mark.parametrize(
    ("short", "inside", "whole"),
    [
        ("37a8eec", "pod37a8eec1ce1", "pod37a8eec1ce1"),  # masquerade leaves the name
        ("37a8eec", "37a8eec1ce1-nic", "pod37a8eec1ce1"),  # a bridge binding
        ("37a8eec", "other", "37a8eec"),
        ("37a8eec", "pod0000000000a", "37a8eec"),
        ("net1", "net1", "net1"),
        ("net1", "eth0-nic", "net1"),
    ],
)
def test_the_interface_of_a_host_name_that_has_a_part_of_it(
    short: str, inside: str, whole: str
) -> None:
    """kube-ovn-cni puts seven characters of KubeVirt's eleven into the name of the node's end."""
    assert interface_of(short, inside) == whole


def test_such_a_host_name_is_that_of_its_interface() -> None:
    assert ids.is_host_link("01234_37a8eec_h", "01234", "pod37a8eec1ce1")
    assert not ids.is_host_link("01234_37a8eec_h", "01234", "pod37a8eed1ce1")
    assert ids.is_host_link("01234567_net1_h", "01234567", "net1")
