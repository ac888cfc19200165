"""A leader is killed, or the database is wiped.

The end state is the same: nothing is lost, and no address is given twice.
"""

import asyncio
import signal
from pathlib import Path
from time import monotonic

import pytest

from integration.controller.admin import MERGE, ClusterAdmin, until
from integration.controller.gap import Gap
from integration.controller.replicas import Replicas

DUAL = "10.16.0.0/16,fd00:10:16::/64"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/ovnlet-system/leases/ovnlet-controller"
NAMES = [f"p{number}" for number in range(120)]
# A controller whose transactions do not check the term.
UNFENCED = """
from ovnlet.drivers.northbound import fence
fence._check = lambda _: {"op": "comment", "comment": ""}
from ovnlet.__main__ import main
main()
"""


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


async def terms(admin: ClusterAdmin, prefix: str) -> tuple[str, int]:
    """Return the term that the database has, and how many ports begin with ``prefix``."""
    term = await admin.nbctl("--if-exists", "get", "NB_Global", ".", "external_ids:ovnlet-term")
    return term.strip().strip('"'), sum(name.startswith(prefix) for name in await admin.ports())


async def asleep(
    admin: ClusterAdmin, replicas: Replicas, program: str = ""
) -> tuple[dict[str, str], int]:
    """Wake a leader that still believes in its Lease, and stop its successor at that moment.

    Return the addresses before, and how many ports the former leader wrote. It renews a Lease of
    60 s every 12 s. An administrator shortens the Lease meanwhile, so that another leads within
    these 12 s.
    """
    replicas.start("a", program, lease_seconds=60)
    await admin.subnet("ovn-default", DUAL, default=True)
    await admin.ready("ovn-default")
    replicas.start("b", lease_seconds=10)
    renewed = (await admin.do("GET", LEASE))["spec"]["renewTime"]

    async def renews() -> bool:
        return bool((await admin.do("GET", LEASE))["spec"]["renewTime"] != renewed)

    await until(renews, 20, "the Lease is renewed")
    replicas.send("a", signal.SIGSTOP)
    await admin.do("PATCH", LEASE, json={"spec": {"leaseDurationSeconds": 1}}, headers=MERGE)
    await admin.pods(NAMES[:20])
    before = await settled(admin, NAMES[:20])
    successor, _ = await terms(admin, "late-")
    replicas.send("b", signal.SIGSTOP)
    await admin.pods([f"late-{number}" for number in range(10)])
    replicas.send("a", signal.SIGCONT)
    wrote, ends = 0, monotonic() + 3
    while monotonic() < ends:
        number, ports = await terms(admin, "late-")
        if number == successor:
            wrote = ports
    replicas.send("b", signal.SIGCONT)
    return before, wrote


@pytest.mark.review2
async def test_e5_a_leader_that_was_asleep_writes_nothing_more(
    admin: ClusterAdmin, replicas: Replicas
) -> None:
    before, wrote = await asleep(admin, replicas)
    assert not wrote, "a deposed leader wrote"
    await admin.allocated(*(f"late-{number}" for number in range(10)), within=60)
    known = await admin.all_annotations()
    assert all(known[name]["ip_address"] == address for name, address in before.items())
    every = [a for pod in known.values() for a in pod["ip_address"].split(",")]
    assert len(set(every)) == len(every) == 60


async def test_without_the_fence_it_would_write(admin: ClusterAdmin, replicas: Replicas) -> None:
    """The control: the same leader, which writes without the check of its term."""
    _, wrote = await asleep(admin, replicas, program=UNFENCED)
    assert wrote, "nothing was written without the fence either: the test shows nothing"


async def test_a_lease_that_was_deleted_does_not_end_the_fence(
    admin: ClusterAdmin, replicas: Replicas
) -> None:
    """Its number begins again; the next term in the database is still a greater one."""
    replicas.start("a")
    await admin.subnet("ovn-default", DUAL, default=True)
    await admin.ready("ovn-default")
    for _ in range(2):
        before, _ = await terms(admin, "")
        await admin.do("DELETE", LEASE)

        async def next_term(before: str = before) -> bool:
            return int((await terms(admin, ""))[0]) > int(before)

        await until(next_term, 20, "a term after the Lease was deleted")
    await admin.pods(NAMES[:3])
    await settled(admin, NAMES[:3])


@pytest.mark.review2
async def test_e10_a_leader_without_the_database_gives_the_lease_back(
    admin: ClusterAdmin, replicas: Replicas, tmp_path: Path
) -> None:
    """Another replica reaches the database and leads; the former leader does not ask again."""
    async with Gap(tmp_path / "nb.sock", replicas.database) as gap:
        replicas.start("a", ovn_nb=f"unix:{gap.path}")
        await admin.subnet("ovn-default", DUAL, default=True)
        await admin.ready("ovn-default")
        await gap.open()
        replicas.start("b")

        async def taken_over() -> bool:
            return bool((await admin.do("GET", LEASE))["spec"]["holderIdentity"] == "b")

        seconds = await until(taken_over, 20, "another leader")
        await admin.pods(NAMES[:10])
        await settled(admin, NAMES[:10])
        await asyncio.sleep(5)
        assert await taken_over()
        print(f"the leader's database was away: another led {seconds:.1f} s later")


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
