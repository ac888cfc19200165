"""Second networks beside Kube-OVN: addresses alone, types, providers, one network twice."""

import asyncio
from dataclasses import replace

import pytest

from kit.memory import COMPLETE, World, pod
from ovnlet.agent.cni_service import CniService
from ovnlet.core.identity import Attachment
from ovnlet.core.resources import Veth
from ovnlet_cni.errors import CniError, Code, UnknownProvider
from ovnlet_cni.request import Attach, Detach

pytestmark = [pytest.mark.looptime, pytest.mark.review2]
VLAN, N1 = "vlan.default", "n1.default.ovn"


def annotated(provider: str, *without: str) -> dict[str, str]:
    """Return complete annotations of a second network, without some."""
    names = {key.partition("/")[2]: value for key, value in COMPLETE.items()}
    return {
        f"{provider}.kubernetes.io/{name}": value
        for name, value in names.items()
        if name not in without
    }


def attach(
    provider: str, ifname: str = "net1", *, ipam_only: bool = False, kind: str = ""
) -> Attach:
    """Return the ADD of a second network."""
    kind = kind or ("macvlan" if ipam_only else "kube-ovn")
    return Attach(
        version="1.0.0",
        container_id="c1",
        ifname=ifname,
        netns="/run/netns/c1",
        namespace="default",
        pod="web",
        provider=provider,
        ipam_only=ipam_only,
        config={"type": kind},
    )


def service(world: World, *providers: str, beside: bool = True) -> CniService:
    """Return a service in a cluster whose Subnets have these providers, all without any."""
    serves = providers.__contains__ if providers else lambda _: True
    return CniService(world.attaching, world.records, lambda: None, serves, beside_kube_ovn=beside)


@pytest.fixture
async def world() -> World:
    return World()


async def test_addresses_alone_come_from_annotations_and_touch_nothing(world: World) -> None:
    """The controller sets no `routed` for such a network, and the interface is another plugin's."""
    loop = asyncio.get_running_loop()
    world.tell(pod({}))
    loop.call_later(3, world.tell, pod(annotated(VLAN, "routed")))
    answer = await service(world).allocate(attach(VLAN, ipam_only=True))
    assert loop.time() == pytest.approx(3, abs=0.05)
    assert [str(ip.address) for ip in answer.ips] == ["10.16.0.5/16"]
    assert [ip.gateway for ip in answer.ips] == [None], "no default route by net1"
    assert answer.interfaces[0].mac == "0a:00:00:00:00:05"
    assert world.nothing_left()
    assert world.outcomes == []


async def test_a_default_route_by_addresses_alone_has_its_gateway(world: World) -> None:
    world.tell(pod({**annotated(VLAN), f"{VLAN}.kubernetes.io/default_route": "true"}))
    answer = await service(world).allocate(attach(VLAN, ipam_only=True))
    assert [str(ip.gateway) for ip in answer.ips] == ["10.16.0.1"]


async def test_addresses_alone_are_given_once_in_a_pod_k6(world: World) -> None:
    """K6: the controller allocates once for a network that a pod names twice."""
    world.tell(pod(annotated(VLAN)))
    serving = service(world)
    await serving.allocate(attach(VLAN, ipam_only=True))
    await serving.allocate(attach(VLAN, ipam_only=True))  # repeated by the runtime
    with pytest.raises(CniError, match="net1 of this pod has its addresses"):
        await serving.allocate(attach(VLAN, "net2", ipam_only=True))
    await serving.release(Detach("1.0.0", "c1", "net1", None, True))
    await serving.allocate(attach(VLAN, "net2", ipam_only=True))


async def test_a_network_twice_in_a_pod_is_refused_in_words_k6(world: World) -> None:
    """K6: both interfaces got one address and one MAC."""
    world.tell(pod(annotated(N1)))
    serving = service(world)
    await serving.add(attach(N1))
    with pytest.raises(CniError, match="net1 of default/web has the logical switch port"):
        await serving.add(attach(N1, "net2"))
    macs = [
        each.mac
        for network in world.host.networks.values()
        for each in network
        if isinstance(each, Veth)
    ]
    assert len(macs) == 1


async def test_a_network_twice_in_a_pod_with_names_has_two_addresses(world: World) -> None:
    """Kube-OVN 1.16 and later give each named interface annotations and a port of its own."""
    first, second = annotated(f"{N1}.net1"), annotated(f"{N1}.net2")
    second[f"{N1}.net2.kubernetes.io/ip_address"] = "10.16.0.6"
    second[f"{N1}.net2.kubernetes.io/mac_address"] = "0a:00:00:00:00:06"
    world.tell(pod({}))
    asyncio.get_running_loop().call_later(2, world.tell, pod({**first, **second}))
    serving = service(world)
    answers = [await serving.add(attach(N1, name)) for name in ("net1", "net2")]
    assert [str(each.ips[0].address) for each in answers] == ["10.16.0.5/16", "10.16.0.6/16"]
    found = {record.attachment.ifname: record.attachment.iface_id for record in world.records}
    assert found == {name: f"web.default.{N1}.{name}" for name in ("net1", "net2")}
    await serving.delete(Detach("1.0.0", "c1", "net1"))
    await serving.delete(Detach("1.0.0", "c1", "net2"))
    assert world.nothing_left()


async def test_a_network_twice_with_names_and_without_addresses_has_two_macs(world: World) -> None:
    """An allocation of a MAC alone, for one interface, is known by `allocated`."""
    without = ("ip_address", "cidr", "gateway")
    notes = annotated(f"{N1}.net2", *without)
    world.tell(pod(notes))
    async with asyncio.timeout(60):
        await service(world).add(attach(N1, "net2"))
    (record,) = world.records
    assert record.attachment.provider == f"{N1}.net2"


async def test_a_network_added_a_second_time_waits_for_an_allocation_of_its_own(
    world: World,
) -> None:
    """Hot plug: the ADD comes before the controller has written the second interface's."""
    world.tell(pod(annotated(N1)))
    serving = service(world)
    await serving.add(attach(N1))
    second = annotated(f"{N1}.net2")
    second[f"{N1}.net2.kubernetes.io/ip_address"] = "10.16.0.6"
    loop = asyncio.get_running_loop()
    loop.call_later(3, world.tell, pod({**annotated(N1), **second}))
    answer = await serving.add(attach(N1, "net2"))
    assert loop.time() == pytest.approx(3, abs=0.1)
    assert [str(ip.address) for ip in answer.ips] == ["10.16.0.6/16"]
    found = {record.attachment.ifname: record.attachment.provider for record in world.records}
    assert found == {"net1": N1, "net2": f"{N1}.net2"}


async def test_a_del_ends_the_wait_for_an_allocation_of_its_own(world: World) -> None:
    world.tell(pod(annotated(N1)))
    serving = service(world)
    await serving.add(attach(N1))
    waiting = asyncio.create_task(serving.add(attach(N1, "net2")))
    await asyncio.sleep(1)
    await serving.delete(Detach("1.0.0", "c1", "net2"))
    assert asyncio.get_running_loop().time() < 1.5
    with pytest.raises(CniError) as caught:
        await waiting
    assert caught.value.code == Code.UNKNOWN_CONTAINER


async def test_type_ovnlet_beside_kube_ovn_fails_at_once_and_says_so_k5(world: World) -> None:
    """K5: its controller never gives that network addresses, and the ADD waited 110 s."""
    loop = asyncio.get_running_loop()
    world.tell(pod())
    loop.call_later(200, world.gone)
    with pytest.raises(CniError, match="type ovnlet") as caught:
        await service(world).add(attach(N1, kind="ovnlet"))
    assert caught.value.code == Code.INVALID_CONFIG
    assert "kube-ovn" in caught.value.details
    assert loop.time() < 1
    assert world.nothing_left()


async def test_type_ovnlet_with_annotations_of_somebody_else_is_attached_k5(world: World) -> None:
    """K5: somebody else may give the addresses."""
    world.tell(pod(annotated(N1)))
    assert (await service(world).add(attach(N1, kind="ovnlet"))).ips


async def test_type_ovnlet_without_kube_ovn_waits_as_ever_k5(world: World) -> None:
    """K5: ovnlet's own controller is not Kube-OVN's."""
    world.tell(pod())
    asyncio.get_running_loop().call_later(5, world.tell, pod(annotated(N1)))
    assert (await service(world, beside=False).add(attach(N1, kind="ovnlet"))).ips


@pytest.mark.parametrize("ipam_only", [True, False])
async def test_a_provider_without_a_subnet_is_unknown(world: World, ipam_only: bool) -> None:
    world.tell(pod())
    serving = service(world, N1)
    call = serving.allocate if ipam_only else serving.add
    with pytest.raises(UnknownProvider, match=r"no Subnet has provider n9\.default"):
        await call(attach("n9.default", ipam_only=ipam_only))
    assert asyncio.get_running_loop().time() < 1


async def test_a_del_ends_a_wait_for_addresses_alone(world: World) -> None:
    world.tell(pod({}))
    serving = service(world)
    waiting = asyncio.create_task(serving.allocate(attach(VLAN, ipam_only=True)))
    await asyncio.sleep(1)
    await serving.release(Detach("1.0.0", "c1", "net1", None, True))
    with pytest.raises(CniError) as caught:
        await waiting
    assert caught.value.code == Code.UNKNOWN_CONTAINER


async def test_a_pod_that_goes_frees_its_addresses(world: World) -> None:
    """A DEL may be lost, for example while no agent runs."""
    world.tell(pod(annotated(VLAN)))
    serving = service(world)
    await serving.allocate(attach(VLAN, ipam_only=True))
    world.gone()
    world.tell(pod(annotated(VLAN)))
    await serving.allocate(attach(VLAN, "net2", ipam_only=True))


async def test_the_mtu_of_a_network_configuration_is_the_interfaces(world: World) -> None:
    world.tell(pod(annotated(N1)))
    await service(world).add(replace(attach(N1), mtu=1300))
    (attachment,) = [record.attachment for record in world.records]
    assert isinstance(attachment, Attachment)
    veths = [r for r in world.host.networks[attachment.key] if isinstance(r, Veth)]
    assert [veth.mtu for veth in veths] == [1300]
