"""A leader is killed, or the database is wiped.

The end state is the same: nothing is lost, and no address is given twice.
"""

import asyncio
import signal

import pytest

from integration.controller.admin import ClusterAdmin, until
from integration.controller.replicas import Replicas

DUAL = "10.16.0.0/16,fd00:10:16::/64"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/ovnlet-system/leases/ovnlet-controller"
NAMES = [f"p{number}" for number in range(120)]


async def settled(admin: ClusterAdmin, names: list[str]) -> dict[str, str]:
    """Wait until all pods are allocated; check that addresses are unique and the ports match."""
    addresses = await admin.allocated(*names, within=60)
    every = [address for text in addresses.values() for address in text.split(",")]
    assert len(set(every)) == 2 * len(names)
    ports = await admin.ports()
    assert all(
        addresses[name].replace(",", " ") in ports[f"{name}.default"]["addresses"] for name in names
    )
    assert set(ports) == {f"{name}.default" for name in names}
    return addresses


async def test_the_leader_is_killed_in_the_middle(admin: ClusterAdmin, replicas: Replicas) -> None:
    replicas.start("a", lease_seconds=10)
    await admin.subnet("ovn-default", DUAL, default=True)
    await admin.ready("ovn-default")
    replicas.start("b", lease_seconds=10)
    creating = asyncio.create_task(admin.pods(NAMES))

    async def begun() -> bool:
        pods = (await admin.all_annotations()).values()
        return sum(pod.get("routed") == "true" for pod in pods) > 10

    await until(begun, 20, "some pods allocated")
    replicas.kill("a")

    async def taken_over() -> bool:
        return bool((await admin.do("GET", LEASE))["spec"]["holderIdentity"] == "b")

    seconds = await until(taken_over, 20, "another leader")
    await creating
    await settled(admin, NAMES)
    print(f"leader killed during the allocation: another led {seconds:.1f} s later")


async def test_a_leader_that_was_asleep_writes_nothing_more(
    admin: ClusterAdmin, replicas: Replicas
) -> None:
    """It believes that it leads until it checks; another replica has the OVSDB lock by then."""
    replicas.start("a", lease_seconds=3)
    await admin.subnet("ovn-default", DUAL, default=True)
    await admin.ready("ovn-default")
    replicas.send("a", signal.SIGSTOP)
    replicas.start("b", lease_seconds=3)
    await admin.pods(NAMES[:20])
    before = await settled(admin, NAMES[:20])
    replicas.send("a", signal.SIGCONT)
    await admin.pods(NAMES[20:40])
    after = await settled(admin, NAMES[:40])
    assert before.items() <= after.items()


async def test_the_northbound_is_wiped_in_the_middle(
    admin: ClusterAdmin, replicas: Replicas
) -> None:
    replicas.start()
    await admin.subnet("ovn-default", DUAL, default=True)
    await admin.ready("ovn-default")
    await admin.pods(NAMES[:60])
    before = await admin.allocated(*NAMES[:60])
    creating = asyncio.create_task(admin.pods(NAMES[60:]))
    await admin.wipe()
    await creating
    after = await settled(admin, NAMES)
    assert before.items() <= after.items(), "a running pod keeps its addresses"


@pytest.mark.long
async def test_300_jobs_pass_through_a_small_subnet(
    admin: ClusterAdmin, replicas: Replicas
) -> None:
    cool_down = 5.0
    replicas.start(cool_down=cool_down)
    await admin.subnet("small", "10.19.0.0/26,fd00:19::/64", default=True)
    await admin.ready("small")
    loop = asyncio.get_running_loop()
    freed: dict[str, float] = {}
    seen: set[str] = set()

    async def job(number: int) -> None:
        name = f"job-{number}"
        await admin.pod(name, f"n{number % 2}")
        address = (await admin.allocated(name, within=300))[name].partition(",")[0]
        seen.add(address)
        if address in freed:
            assert loop.time() - freed[address] > cool_down - 1.5, f"{address} came back too soon"
        freed[address] = loop.time()
        await admin.finish(name)

    began = loop.time()
    waiting = asyncio.Semaphore(80)

    async def in_turn(number: int) -> None:
        async with waiting:
            await job(number)

    await asyncio.gather(*(in_turn(number) for number in range(300)))
    print(f"300 Jobs through {len(seen)} addresses in {loop.time() - began:.0f} s")
    assert len(seen) <= 61
