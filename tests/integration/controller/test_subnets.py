"""Subnets that are invalid, that change under running pods, and that are deleted."""

import pytest

from integration.controller.admin import MERGE, SUBNETS, ClusterAdmin, until
from integration.controller.replicas import Replicas
from ovnlet.controller.subnets import FINALIZER
from ovnlet.kube import objects
from ovnlet.kube.session import Access
from ovnlet.kube.writer import Writer
from testbed.bed import Bed

DUAL = "10.16.0.0/16,fd00:10:16::/64"


async def test_what_a_schema_cannot_say_is_a_condition_and_an_event(
    admin: ClusterAdmin, replicas: Replicas
) -> None:
    replicas.start()
    await admin.subnet("good", DUAL, default=True)
    await admin.ready("good")
    for name, cidr, words in (
        ("overlap", "10.16.4.0/24", "of subnet good"),
        ("short", "fd00:77::/112", "/64 only"),
        ("hosts", "10.20.0.1/16", "host bits"),
        ("nodes", "100.64.8.0/24", "of subnet join"),
    ):
        await admin.subnet(name, cidr)
        await admin.event(name, "SubnetInvalid", words)
        condition = await admin.condition(name, "Validated")
        assert (condition["status"], words in condition["message"]) == ("False", True)
    await admin.pod("still")
    await admin.allocated("still")


@pytest.mark.parametrize(
    "cidr", ["10.16.0.0", "10.16.0.0/33", "x", "10.16.0.0/16,10.17.0.0/16,fd00::/64", ""]
)
async def test_what_a_schema_can_say_is_refused(admin: ClusterAdmin, cidr: str) -> None:
    with pytest.raises(AssertionError, match="Invalid"):
        await admin.subnet("bad", cidr)


async def test_edits_of_a_subnet_move_no_pod(admin: ClusterAdmin, replicas: Replicas) -> None:
    replicas.start()
    await admin.subnet("ovn-default", DUAL, default=True)
    names = [f"p{number}" for number in range(20)]
    await admin.ready("ovn-default")
    await admin.pods(names)
    before = await admin.allocated(*names)
    used = sorted(text.partition(",")[0] for text in before.values())
    await admin.edit_subnet(
        "ovn-default", excludeIps=used, mtu=1300, gateway="10.16.0.254,fd00:10:16::254"
    )

    async def taken_in() -> bool:
        config = await admin.nbctl(
            "get", "logical_switch", "ovn-default", "other_config:exclude_ips"
        )
        gateways = {pod["gateway"] for pod in (await admin.all_annotations()).values()}
        return used[-1] in config and gateways == {"10.16.0.254,fd00:10:16::254"}

    await until(taken_in, 15, "the edit")
    await admin.nbctl("--wait=sb", "sync")
    assert await admin.allocated(*names) == before
    ports = await admin.ports()
    assert all(
        before[name].replace(",", " ") in ports[f"{name}.default"]["addresses"] for name in names
    )


async def test_a_subnet_in_use_waits_and_names_its_pod(
    admin: ClusterAdmin, replicas: Replicas
) -> None:
    replicas.start(cool_down=0)
    await admin.subnet("old", "10.18.0.0/24")
    await admin.pod("user", logical_switch="old")
    await admin.allocated("user")
    await admin.do("DELETE", f"{SUBNETS}/old")
    await admin.event("old", "SubnetInUse", "default/user")
    await admin.pod("later", logical_switch="old")
    await admin.event("later", "NoSubnet")
    await admin.delete("user")

    async def gone() -> bool:
        there = {each["metadata"]["name"] for each in (await admin.do("GET", SUBNETS))["items"]}
        return "old" not in there and "old" not in await admin.nbctl("ls-list")

    await until(gone, 15, "the Subnet gone")


async def test_a_finalizer_that_came_meanwhile_stays(bed: Bed, admin: ClusterAdmin) -> None:
    """A list of finalizers is replaced as a whole, so only in the version that was read."""
    read = objects.subnet(await admin.subnet("held", "10.77.0.0/24"))
    foreign = {"metadata": {"finalizers": ["other.io/hold"]}}
    changed = await admin.do("PATCH", f"{SUBNETS}/held", json=foreign, headers=MERGE)
    writer = Writer(Access(str(bed.kubeconfig)))
    await writer.finalizers(read, [FINALIZER])  # the pass that the foreign change asks for repeats
    kept = await admin.do("GET", f"{SUBNETS}/held")
    assert kept["metadata"]["finalizers"] == ["other.io/hold"]
    read = objects.subnet(changed)
    await writer.finalizers(read, [*read.finalizers, FINALIZER])
    await writer.close()
    both = await admin.do("GET", f"{SUBNETS}/held")
    assert both["metadata"]["finalizers"] == ["other.io/hold", FINALIZER]
