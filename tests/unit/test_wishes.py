"""Addresses that pods ask for: no address is given twice, and losers are told who has theirs."""

import asyncio
from typing import Any

import pytest

from kit.cluster import Cluster, Term, until
from kit.strict_northbound import StrictNorthbound
from ovnlet.controller.wiring import TURNS

DUAL = "10.16.0.0/16,fd00:16::/64"
pytestmark = [pytest.mark.review2, pytest.mark.looptime]


@pytest.fixture
def cluster() -> Cluster:
    made = Cluster()
    made.subnet("shop", DUAL, default=True)
    return made


async def allocated(cluster: Cluster, count: int) -> None:
    """Wait until just so many pods are allocated."""
    await until(lambda: len(cluster.allocated()) == count)


MAC = "0a:00:00:00:00:77"


@pytest.mark.parametrize(
    "asked",
    [
        {"ip_address": "10.16.0.77,fd00:16::77", "mac_address": MAC},
        {"ip_address": "10.16.0.77"},
        {"mac_address": MAC},
        {"ip_pool": "10.16.0.77"},
    ],
)
async def test_two_pods_that_ask_for_the_same_at_once_e7(
    cluster: Cluster, asked: dict[str, str]
) -> None:
    async with Term(cluster):
        await until(lambda: cluster.database.strict.rows.get(("switch", "shop")))
        for name in "ab":
            cluster.pod(name, **asked)
        await until(lambda: cluster.allocated() and cluster.why("a") + cluster.why("b"))
        await asyncio.sleep(5)
        ((winner, text),) = cluster.allocated().items()
        assert "77" in text
        loser = "b" if winner == "default/a" else "a"
        reasons = cluster.why(loser)
        assert reasons
        assert {reason for reason, _ in reasons} == {"AddressTaken"}
        assert all(f"{winner[-1]}.default" in message for _, message in reasons)
        assert not cluster.why(winner[-1])
        cluster.delete("pods", winner[-1], "default")
        await until(lambda: f"default/{loser}" in cluster.allocated(), 90)


async def test_pods_that_wait_for_a_pool_write_nothing_meanwhile_e12(cluster: Cluster) -> None:
    cluster.pool("few", "shop", "10.16.0.50..10.16.0.51")
    async with Term(cluster) as term:
        await until(lambda: cluster.database.strict.rows.get(("switch", "shop")))
        before = cluster.database.transactions
        names = [f"p{number}" for number in range(7)]
        for name in names:
            cluster.pod(name, ip_pool="few")
        await asyncio.sleep(300)
        assert len(cluster.allocated()) == 2
        assert cluster.database.transactions - before <= 20
        assert term.northbound.connected


async def test_a_released_address_of_a_pool_wakes_one_that_waits_e12(cluster: Cluster) -> None:
    cluster.pool("few", "shop", "10.16.0.50..10.16.0.51")
    async with Term(cluster, cool_down=2):
        await until(lambda: cluster.database.strict.rows.get(("switch", "shop")))
        for number in range(7):
            cluster.pod(f"p{number}", ip_pool="few")
        for left in range(7, 0, -1):
            await allocated(cluster, min(2, left))
            cluster.delete("pods", sorted(cluster.allocated())[0].partition("/")[2], "default")
        assert cluster.database.transactions < 7 * 8 + 10


async def test_a_patch_that_fails_is_repeated_soon_e6(cluster: Cluster) -> None:
    async with Term(cluster):
        await until(lambda: cluster.database.strict.rows.get(("switch", "shop")))
        cluster.refuse = 3
        cluster.pod("a")
        await until(cluster.allocated, 2)
        patches = cluster.patches
        await asyncio.sleep(30)
        assert cluster.patches == patches, "nothing more is written"


async def test_after_an_outage_of_the_api_server_a_patch_is_not_late_e6(cluster: Cluster) -> None:
    async with Term(cluster):
        await until(lambda: cluster.database.strict.rows.get(("switch", "shop")))
        cluster.refuse = 10**6
        cluster.pod("a")
        await asyncio.sleep(50)
        cluster.refuse = 0
        await until(cluster.allocated, 6)


@pytest.mark.parametrize(
    "asked",
    [
        {"ip_address": "10.16.0.5"},
        {"ip_address": "fd00:16::5"},
        {"ip_pool": "10.16.0.5,10.16.0.6"},
        {"ip_pool": "few"},
    ],
)
async def test_an_excluded_address_is_refused_e13(cluster: Cluster, asked: dict[str, str]) -> None:
    cluster.subnet(
        "shop", DUAL, default=True, excludeIps=["10.16.0.2..10.16.0.9", "fd00:16::1..fd00:16::9"]
    )
    cluster.pool("few", "shop", "10.16.0.5..10.16.0.6")
    async with Term(cluster):
        cluster.pod("a", **asked)
        await until(lambda: cluster.why("a"))
        await asyncio.sleep(5)
        assert not cluster.allocated()
        assert any("excludeIps" in message for _, message in cluster.why("a"))


async def test_excluding_an_address_moves_no_running_pod_not_even_after_a_wipe_e13(
    cluster: Cluster,
) -> None:
    async with Term(cluster):
        cluster.pod("a", ip_address="10.16.0.5")
        await until(cluster.allocated)
        before = cluster.allocated()
        cluster.subnet("shop", DUAL, default=True, excludeIps=["10.16.0.5"])
        await asyncio.sleep(5)
    cluster.database.strict = StrictNorthbound()
    async with Term(cluster):
        await until(lambda: cluster.database.strict.port("a.default"))
        await asyncio.sleep(5)
        assert cluster.allocated() == before
        assert not cluster.why("a")


async def test_a_switch_without_its_subnet_is_removed_once_it_is_empty_e13(
    cluster: Cluster,
) -> None:
    async with Term(cluster, cool_down=1):
        cluster.pod("a")
        await until(cluster.allocated)
    cluster.delete("subnets", "shop")
    cluster.database.foreign.add("theirs")
    rows = cluster.database.strict.rows
    async with Term(cluster, cool_down=1):
        await asyncio.sleep(5)
        assert ("switch", "shop") in rows, "a pod has a port on it"
        cluster.delete("pods", "a", "default")
        await until(lambda: ("switch", "shop") not in rows, 10)
        assert ("router port", "ovn-cluster", "ovn-cluster-shop") not in rows
        assert ("switch", "join") in rows


async def test_an_ippool_says_how_much_of_it_is_used(cluster: Cluster) -> None:
    cluster.pool("few", "shop", "10.16.0.50..10.16.0.53", "fd00:16::/64")
    cluster.pool("lost", "nowhere", "10.16.0.60")

    def status(name: str) -> dict[str, Any]:
        found: dict[str, Any] = cluster.objects["ippools", "", name].get("status", {})
        return found

    async with Term(cluster):
        cluster.pod("a", ip_pool="few")
        await until(lambda: status("few").get("v4UsingIPs") == 1)
        assert (status("few")["v4AvailableIPs"], status("few")["v6AvailableIPs"]) == (3, 2**53)
        (ready,) = status("few")["conditions"]
        assert ready["status"] == "True"
        await until(lambda: status("lost").get("conditions"))
        (ready,) = status("lost")["conditions"]
        assert (ready["status"], "nowhere" in ready["message"]) == ("False", True)
        version = cluster.objects["ippools", "", "few"]["metadata"]["resourceVersion"]
        await asyncio.sleep(60)
        assert cluster.objects["ippools", "", "few"]["metadata"]["resourceVersion"] == version


async def test_a_restart_gives_away_no_address_of_a_pool_that_is_not_listed_yet(
    cluster: Cluster,
) -> None:
    """The switch excludes the addresses of pools: a leader that knows none would take that back."""
    cluster.pool("few", "shop", "10.16.0.50..10.16.0.51")
    rows, key = cluster.database.strict.rows, ("switch", "shop")
    async with Term(cluster):
        await until(lambda: key in rows and "10.16.0.50" in str(rows[key]))
    before = rows[key]
    async with Term(cluster) as term:
        term.controller.resynced[-1].asked.clear()
        term.store("ippools")._values.clear()
        await asyncio.sleep(5)
        assert rows[key] == before
        assert not term.northbound.writes


async def test_thousands_of_passes_do_not_keep_the_leader_from_its_lease(cluster: Cluster) -> None:
    """A restart makes a pass for every pod: between some of them the loop must answer others."""
    for number in range(1000):
        cluster.pod(f"p{number}")
    async with Term(cluster):
        await until(lambda: len(cluster.allocated()) == 1000, 60)
    most = passes = 0

    def passed(_: str) -> None:
        nonlocal passes
        passes += 1

    term = Term(cluster)
    term.controller.endpoints.passed = passed  # type: ignore[assignment,method-assign]
    async with term:
        while passes < 1000:
            before = passes
            await asyncio.sleep(0)
            most = max(most, passes - before)
    assert most <= TURNS
