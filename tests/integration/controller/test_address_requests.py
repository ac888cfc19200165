"""What a pod may request, which Event reports a failed request, what a tenant cannot change."""

from integration.controller.admin import ClusterAdmin, until
from integration.controller.replicas import Replicas

DUAL = "10.16.0.0/16,fd00:10:16::/64"


async def test_two_pods_ask_for_one_address(admin: ClusterAdmin, replicas: Replicas) -> None:
    replicas.start()
    await admin.subnet("ovn-default", DUAL, default=True)
    await admin.ready("ovn-default")
    await admin.pod("one", ip_address="10.16.0.77")
    assert (await admin.allocated("one"))["one"].startswith("10.16.0.77,")
    await admin.pod("two", ip_address="10.16.0.77")
    await admin.event("two", "AddressTaken", "10.16.0.77", "one.default")
    assert "routed" not in await admin.annotations("two")
    await admin.delete("one")
    assert (await admin.allocated("two", within=15))["two"].startswith("10.16.0.77,"), (
        "not allocated once it was free"
    )


async def test_a_full_subnet_is_reported_and_allocates_once_an_address_is_free(
    admin: ClusterAdmin, replicas: Replicas
) -> None:
    replicas.start(cool_down=0)
    await admin.subnet("tiny", "10.17.0.0/29,fd00:17::/64", default=True)
    await admin.ready("tiny")
    names = [f"t{number}" for number in range(5)]
    for name in names:
        await admin.pod(name)
    await admin.allocated(*names)
    waits = []
    for number, name in enumerate(
        names[:3]
    ):  # three tries: the machine may be busy with other work
        late = f"late{number}"
        await admin.pod(late)
        await admin.event(late, "SubnetFull", "tiny", "IPv4")
        assert "routed" not in await admin.annotations(late)
        await admin.delete(name)

        async def allocated(pod: str = late) -> bool:
            return (await admin.annotations(pod)).get("routed") == "true"

        waits.append(await until(allocated, 20, "an address that was freed"))
    print(f"allocated {', '.join(f'{wait:.2f}' for wait in waits)} s after an address was free")
    assert min(waits) < 2


async def test_a_tenants_edit_is_undone_and_reported(
    admin: ClusterAdmin, replicas: Replicas
) -> None:
    replicas.start()
    await admin.subnet("ovn-default", DUAL, default=True)
    await admin.pod("victim")
    before = (
        await admin.allocated("victim"),
        await admin.annotations("victim"),
        await admin.ports(),
    )
    await admin.annotate("victim", ip_address="10.16.0.200", mac_address="0a:00:00:00:00:01")
    await admin.event("victim", "AnnotationRestored", "10.16.0.200")

    async def restored() -> bool:
        return await admin.annotations("victim") == before[1]

    await until(restored, 10, "the annotations as they were")
    assert await admin.ports() == before[2]
    await admin.annotate("victim", ip_address=None, allocated=None)
    await until(restored, 10, "the annotations that were removed")


async def test_an_impossible_request_is_reported(admin: ClusterAdmin, replicas: Replicas) -> None:
    replicas.start()
    await admin.subnet("ovn-default", DUAL, default=True)
    await admin.pod("wrong", ip_address="10.99.0.1")
    await admin.event("wrong", "InvalidAnnotation", "10.99.0.1", "10.16.0.0/16")
    await admin.pod("lost", logical_switch="nowhere")
    await admin.event("lost", "NoSubnet")


async def test_pods_of_a_pool_and_of_a_stateful_set(
    admin: ClusterAdmin, replicas: Replicas
) -> None:
    replicas.start(cool_down=0)
    await admin.subnet("ovn-default", DUAL, default=True)
    await admin.pod("one", ip_pool="10.16.0.50,10.16.0.51")
    await admin.allocated("one")
    await admin.pod("two", ip_pool="10.16.0.50,10.16.0.51")
    got = await admin.allocated("one", "two")
    assert [got[name].partition(",")[0] for name in ("one", "two")] == ["10.16.0.50", "10.16.0.51"]
    owner = await admin.stateful_set("db", 2)
    await admin.pod("db-1", owner=owner)
    before = (await admin.allocated("db-1"))["db-1"]
    await admin.delete("db-1")
    await admin.pod("other")
    await admin.allocated("other")
    assert "db-1.default" in await admin.ports(), "not kept while no pod has it"
    await admin.pod("db-1", "n1", owner=owner)
    assert (await admin.allocated("db-1"))["db-1"] == before
    assert (await admin.ports())["db-1.default"]["options"]["requested-chassis"] == "n1"
    await admin.delete("db-1")
    await admin.scale("db", 1)

    async def given_up() -> bool:
        return "db-1.default" not in await admin.ports()

    await until(given_up, 10, "the removal of the port after the scale-down")


async def test_pods_of_a_named_pool_get_its_addresses_and_no_others_do(
    admin: ClusterAdmin, replicas: Replicas
) -> None:
    replicas.start(cool_down=0)
    await admin.subnet("ovn-default", DUAL, default=True)
    await admin.ready("ovn-default")
    await admin.pod("early", ip_pool="few")
    await admin.event("early", "InvalidAnnotation", "few", "IPPool")
    await admin.pool("few", "ovn-default", "10.16.0.2..10.16.0.3")
    early = (await admin.allocated("early"))["early"].split(",")
    assert early[0] == "10.16.0.2"
    assert early[1].startswith("fd00:10:16:"), (
        "OVN chooses an address of a family that the pool lacks"
    )
    others = [f"other{number}" for number in range(5)]
    await admin.pods(others)
    taken = {each.partition(",")[0] for each in (await admin.allocated(*others)).values()}
    assert not taken & {"10.16.0.2", "10.16.0.3"}
    await admin.pod("second", ip_pool="few")
    assert (await admin.allocated("second"))["second"].startswith("10.16.0.3,")
    await admin.pod("third", ip_pool="few")
    await admin.event("third", "AddressTaken", "every address of IPPool few")
    await admin.edit_pool("few", "10.16.0.2..10.16.0.3", "10.16.9.9")
    assert (await admin.allocated("third"))["third"].startswith("10.16.9.9,")
    await admin.edit_pool("few", "10.16.9.9")
    assert await admin.allocated("early", "second") == {
        "early": ",".join(early),
        "second": (await admin.annotations("second"))["ip_address"],
    }
