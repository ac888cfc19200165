"""Pods that launch a virtual machine: one logical port by its name, whichever pod launches it."""

import asyncio
from dataclasses import replace

import pytest

from kit.memory import COMPLETE, UID, World
from ovnlet.agent.cni_service import CniService
from ovnlet.core import fixed
from ovnlet.core.identity import Pod
from ovnlet.core.resources import (
    Address,
    Loopback,
    Network,
    Offload,
    OvsQos,
    Port,
    Resource,
    Route,
    Sysctl,
    Veth,
)
from ovnlet.drivers.sandbox_host import attachment_of
from ovnlet_cni.errors import CniError
from ovnlet_cni.request import Attach, Detach

pytestmark = [pytest.mark.looptime]
VM = {"ovn.kubernetes.io/virtualmachine": "db", "kubevirt.io/domain": "db"}
OLD, NEW = "virt-launcher-db-aaaaa", "virt-launcher-db-bbbbb"
UIDS = {OLD: UID, NEW: UID.replace("1", "2")}


def launcher(name: str, **more: str) -> Pod:
    return Pod("default", name, UIDS[name], {**COMPLETE, **VM, **more}, UIDS[name])


def attach(name: str) -> Attach:
    words = ("1.0.0", f"c-{name}", "eth0", f"/run/netns/{name}", "default", name, UIDS[name])
    return Attach(*words)


@pytest.fixture
async def world() -> World:
    return World()


def service(world: World) -> CniService:
    return CniService(world.attaching, world.records, lambda: None)


def port_of(world: World, name: str) -> Port | None:
    there = world.host.networks.get((f"c-{name}", "eth0"), frozenset())
    return next((each for each in there if isinstance(each, Port)), None)


async def test_port_and_limits_are_named_by_the_machine(world: World) -> None:
    world.tell(launcher(OLD, **{"ovn.kubernetes.io/ingress_rate": "5"}))
    await service(world).add(attach(OLD))
    port = port_of(world, OLD)
    assert port is not None
    assert (port.ids["iface-id"], port.ids["pod_name"]) == ("db.default", "db")
    (qos,) = [e for e in world.host.networks[f"c-{OLD}", "eth0"] if isinstance(e, OvsQos)]
    assert dict(qos.labels)["pod"] == "default/db"


async def test_a_lost_record_is_made_again_for_the_pod_that_launches_it(world: World) -> None:
    world.tell(launcher(OLD))
    await service(world).add(attach(OLD))
    (record,) = world.records
    port = port_of(world, OLD)
    assert port is not None
    found = attachment_of(port.name, port.ids["ovnlet"], port.ids)
    assert found is not None
    assert found.owner == ("default", OLD)
    assert (found.provider, found.machine, found.mark) == ("ovn", "db", record.attachment.mark)
    decoded = fixed.decode(port.ids[fixed.KEY])
    assert decoded is not None
    assert decoded.pod == OLD


async def test_of_two_launchers_on_a_node_the_newest_sandbox_has_the_port(world: World) -> None:
    serving = service(world)
    world.tell(launcher(OLD))
    await serving.add(attach(OLD))
    world.tell(launcher(NEW))
    await serving.add(attach(NEW))
    await asyncio.sleep(1)
    assert (port_of(world, OLD), port_of(world, NEW) is not None) == (None, True)
    world.hint((f"c-{OLD}", "eth0"))
    await asyncio.sleep(1)
    assert port_of(world, OLD) is None, "no later look gives it back"
    await serving.delete(Detach("1.0.0", f"c-{OLD}", "eth0"))
    world.gone(("default", OLD))
    await asyncio.sleep(1)
    assert port_of(world, NEW) is not None, "the end of the old launcher takes nothing"
    await serving.delete(Detach("1.0.0", f"c-{NEW}", "eth0"))
    assert world.nothing_left()


async def test_a_launcher_that_fails_to_start_leaves_the_port_to_the_running_one(
    world: World,
) -> None:
    serving = service(world)
    world.tell(launcher(OLD))
    await serving.add(attach(OLD))
    world.tell(launcher(NEW))
    await serving.add(attach(NEW))
    await serving.delete(Detach("1.0.0", f"c-{NEW}", "eth0"))
    await asyncio.sleep(1)
    assert port_of(world, OLD) is not None


async def test_another_pod_cannot_take_the_port_without_being_a_launcher(world: World) -> None:
    """The control: the same port, wanted by a pod whose name is the machine's."""
    serving = service(world)
    world.tell(launcher(OLD))
    await serving.add(attach(OLD))
    uid = UID.replace("1", "3")
    world.tell(Pod("default", "db", uid, COMPLETE, uid))
    with pytest.raises(CniError, match=r"logical switch port db\.default"):
        await serving.add(replace(attach(OLD), pod="db", uid=uid, container_id="c-db"))


def bound(network: Network) -> Network:
    """Return what KubeVirt's bridge binding makes of a network: another name and MAC, no address.

    A dummy link with the old name has the address.
    """
    (veth,) = [each for each in network if isinstance(each, Veth)]
    veth = replace(veth, pod="eth0-nic", mac="02:00:00:00:00:99")
    found: set[Resource] = {veth}
    for each in network:
        if isinstance(each, Offload):
            found.add(replace(each, veth=veth.key, pod=veth.pod))
        elif not isinstance(each, Address | Route | Sysctl | Loopback | Veth):
            found.add(each)
    return frozenset(found)


@pytest.mark.parametrize("machine", [True, False])
async def test_what_a_bridge_binding_did_in_the_pod_is_untouched(
    world: World, machine: bool
) -> None:
    """Without the annotation, the control: the same difference is drift and is repaired."""
    annotations = launcher(OLD).annotations if machine else COMPLETE
    world.tell(replace(launcher(OLD), annotations=annotations))
    await service(world).add(attach(OLD))
    key = (f"c-{OLD}", "eth0")
    world.host.networks[key] = there = bound(world.host.networks[key])
    outcomes = len(world.outcomes)
    world.hint(key)
    await asyncio.sleep(2)
    steps = [step for each in world.outcomes[outcomes:] for step in each.steps]
    assert (steps == []) is machine
    assert (world.host.networks[key] == there) is machine


async def test_mtu_and_port_of_a_bound_interface_are_repaired(world: World) -> None:
    world.tell(launcher(OLD))
    await service(world).add(attach(OLD))
    key = (f"c-{OLD}", "eth0")
    whole = bound(world.host.networks[key])
    broken = [
        replace(e, mtu=1280, host_up=False) if isinstance(e, Veth) else e
        for e in whole
        if not isinstance(e, Port)
    ]
    world.host.networks[key] = frozenset(broken)
    world.hint(key)
    await asyncio.sleep(2)
    (veth,) = [each for each in world.host.networks[key] if isinstance(each, Veth)]
    assert (veth.pod, veth.mtu, veth.host_up) == ("eth0-nic", 1400, True)
    assert port_of(world, OLD) is not None
    assert not world.host.announced[1:], "a machine that runs is not announced again"


async def test_a_rename_during_a_pass_never_makes_another_pair(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pod's end is renamed after the pass has asked for its name."""
    world.tell(launcher(OLD))
    await service(world).add(attach(OLD))
    key = (f"c-{OLD}", "eth0")
    monkeypatch.setattr(world.host, "pod_end", lambda _: ("eth0", "0a:00:00:00:00:05"))
    world.host.networks[key] = bound(world.host.networks[key])
    outcomes = len(world.outcomes)
    world.hint(key)
    await asyncio.sleep(2)
    assert [step for each in world.outcomes[outcomes:] for step in each.steps] == []


async def test_an_interface_that_is_set_down_to_be_renamed_is_not_set_up_again(
    world: World,
) -> None:
    world.tell(launcher(OLD))
    await service(world).add(attach(OLD))
    key = (f"c-{OLD}", "eth0")
    down = frozenset(
        replace(each, pod_up=False) if isinstance(each, Veth) else each
        for each in bound(world.host.networks[key])
    )
    world.host.networks[key] = down
    world.hint(key)
    await asyncio.sleep(2)
    assert world.host.networks[key] == down
