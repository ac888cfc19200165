"""What a pod may ask for, who is told when it cannot be, and what a tenant cannot change."""

from integration.controller.hands import Hands, until
from integration.controller.replicas import Replicas

DUAL = "10.16.0.0/16,fd00:10:16::/64"


async def test_two_pods_ask_for_one_address(hands: Hands, replicas: Replicas) -> None:
    replicas.start()
    await hands.subnet("ovn-default", DUAL, default=True)
    await hands.ready("ovn-default")
    await hands.pod("one", ip_address="10.16.0.77")
    assert (await hands.allocated("one"))["one"].startswith("10.16.0.77,")
    await hands.pod("two", ip_address="10.16.0.77")
    await hands.event("two", "AddressTaken", "10.16.0.77", "one.default")
    assert "routed" not in await hands.told("two")
    await hands.delete("one")
    assert (await hands.allocated("two", within=15))["two"].startswith("10.16.0.77,"), (
        "once it is free"
    )


async def test_a_full_subnet_says_so_and_goes_on_when_an_address_is_free(
    hands: Hands, replicas: Replicas
) -> None:
    replicas.start(cool_down=0)
    await hands.subnet("tiny", "10.17.0.0/29,fd00:17::/64", default=True)
    await hands.ready("tiny")
    names = [f"t{number}" for number in range(5)]
    for name in names:
        await hands.pod(name)
    await hands.allocated(*names)
    took = []
    for number, name in enumerate(
        names[:3]
    ):  # the machine may be busy with something else for a while
        late = f"late{number}"
        await hands.pod(late)
        await hands.event(late, "SubnetFull", "tiny", "IPv4")
        assert "routed" not in await hands.told(late)
        await hands.delete(name)

        async def told(pod: str = late) -> bool:
            return (await hands.told(pod)).get("routed") == "true"

        took.append(await until(told, 20, "an address that was freed"))
    print(f"told {', '.join(f'{seconds:.2f}' for seconds in took)} s after an address was free")
    assert min(took) < 2


async def test_a_tenants_edit_is_undone_and_told(hands: Hands, replicas: Replicas) -> None:
    replicas.start()
    await hands.subnet("ovn-default", DUAL, default=True)
    await hands.pod("victim")
    before = (await hands.allocated("victim"), await hands.told("victim"), await hands.ports())
    await hands.annotate("victim", ip_address="10.16.0.200", mac_address="0a:00:00:00:00:01")
    await hands.event("victim", "AnnotationRestored", "10.16.0.200")

    async def restored() -> bool:
        return await hands.told("victim") == before[1]

    await until(restored, 10, "the annotations as they were")
    assert await hands.ports() == before[2]
    await hands.annotate("victim", ip_address=None, allocated=None)
    await until(restored, 10, "the annotations that were taken away")


async def test_a_wish_that_cannot_be_is_told(hands: Hands, replicas: Replicas) -> None:
    replicas.start()
    await hands.subnet("ovn-default", DUAL, default=True)
    await hands.pod("wrong", ip_address="10.99.0.1")
    await hands.event("wrong", "InvalidAnnotation", "10.99.0.1", "10.16.0.0/16")
    await hands.pod("lost", logical_switch="nowhere")
    await hands.event("lost", "NoSubnet")


async def test_pods_of_a_pool_and_of_a_stateful_set(hands: Hands, replicas: Replicas) -> None:
    replicas.start(cool_down=0)
    await hands.subnet("ovn-default", DUAL, default=True)
    await hands.pod("one", ip_pool="10.16.0.50,10.16.0.51")
    await hands.allocated("one")
    await hands.pod("two", ip_pool="10.16.0.50,10.16.0.51")
    got = await hands.allocated("one", "two")
    assert [got[name].partition(",")[0] for name in ("one", "two")] == ["10.16.0.50", "10.16.0.51"]
    owner = await hands.stateful_set("db", 2)
    await hands.pod("db-1", owner=owner)
    before = (await hands.allocated("db-1"))["db-1"]
    await hands.delete("db-1")
    await hands.pod("other")
    await hands.allocated("other")
    assert "db-1.default" in await hands.ports(), "kept, though no pod has it"
    await hands.pod("db-1", "n1", owner=owner)
    assert (await hands.allocated("db-1"))["db-1"] == before
    assert (await hands.ports())["db-1.default"]["options"]["requested-chassis"] == "n1"
    await hands.delete("db-1")
    await hands.scale("db", 1)

    async def given_up() -> bool:
        return "db-1.default" not in await hands.ports()

    await until(given_up, 10, "the address of a pod that is wanted no more")


async def test_pods_of_a_named_pool_get_its_addresses_and_no_others_do(
    hands: Hands, replicas: Replicas
) -> None:
    replicas.start(cool_down=0)
    await hands.subnet("ovn-default", DUAL, default=True)
    await hands.ready("ovn-default")
    await hands.pod("early", ip_pool="few")
    await hands.event("early", "InvalidAnnotation", "few", "IPPool")
    await hands.pool("few", "ovn-default", "10.16.0.2..10.16.0.3")
    early = (await hands.allocated("early"))["early"].split(",")
    assert early[0] == "10.16.0.2"
    assert early[1].startswith("fd00:10:16:"), "of the family that the pool lacks, OVN's choice"
    others = [f"other{number}" for number in range(5)]
    await hands.pods(others)
    taken = {each.partition(",")[0] for each in (await hands.allocated(*others)).values()}
    assert not taken & {"10.16.0.2", "10.16.0.3"}
    await hands.pod("second", ip_pool="few")
    assert (await hands.allocated("second"))["second"].startswith("10.16.0.3,")
    await hands.pod("third", ip_pool="few")
    await hands.event("third", "AddressTaken", "every address of IPPool few")
    await hands.edit_pool("few", "10.16.0.2..10.16.0.3", "10.16.9.9")
    assert (await hands.allocated("third"))["third"].startswith("10.16.9.9,")
    await hands.edit_pool("few", "10.16.9.9")
    assert await hands.allocated("early", "second") == {
        "early": ",".join(early),
        "second": (await hands.told("second"))["ip_address"],
    }
