"""Pods that wait, and what they may not keep from others, with a database in memory."""

import asyncio

import pytest

from kit.cluster import Cluster, Term, until

pytestmark = [pytest.mark.review2, pytest.mark.looptime]


async def test_copied_annotations_of_an_unscheduled_pod_stop_no_allocation() -> None:
    cluster = Cluster()
    cluster.subnet("shop", "10.16.0.0/16", default=True)
    copied = {"allocated": "true", "ip_address": "10.16.0.9", "mac_address": "0a:00:00:00:00:77"}
    async with Term(cluster):
        await until(lambda: cluster.database.strict.rows.get(("switch", "shop")))
        cluster.pod("copy", node="", **copied)
        await asyncio.sleep(1)
        cluster.pod("next")
        await until(lambda: "default/next" in cluster.allocated(), 5)
        cluster.pod("copy", **copied)
        await until(lambda: "default/copy" in cluster.allocated(), 5)


@pytest.mark.parametrize("cidr", ["10.17.0.0/29", "10.17.0.0/29,fd00:17::/64"])
async def test_pods_that_wait_for_a_full_subnet_write_nothing_meanwhile(cidr: str) -> None:
    cluster = Cluster()
    cluster.subnet("tiny", cidr, default=True)
    async with Term(cluster, cool_down=1):
        await until(lambda: cluster.database.strict.rows.get(("switch", "tiny")))
        for number in range(8):
            cluster.pod(f"p{number}")
        await asyncio.sleep(5)
        waiting = [f"p{number}" for number in range(8) if cluster.why(f"p{number}")]
        assert (len(cluster.allocated()), len(waiting)) == (5, 3)
        assert {reason for name in waiting for reason, _ in cluster.why(name)} == {"SubnetFull"}
        before = cluster.database.transactions
        await asyncio.sleep(60)
        assert cluster.database.transactions == before
        for left in range(7, 4, -1):
            cluster.delete("pods", sorted(cluster.allocated())[0].partition("/")[2], "default")
            await until(lambda: len(cluster.allocated()) == 5, 5)
            assert len([key for key in cluster.objects if key[0] == "pods"]) == left


@pytest.mark.parametrize("asked", [{}, {"ip_pool": "few"}])
async def test_addresses_that_are_released_together_are_given_away_together(
    asked: dict[str, str],
) -> None:
    cluster = Cluster()
    cluster.subnet("tiny", "10.17.0.0/28", default=True)
    if asked:
        cluster.pool("few", "tiny", "10.17.0.2..10.17.0.14")
    async with Term(cluster, cool_down=1):
        await until(lambda: cluster.database.strict.rows.get(("switch", "tiny")))
        for number in range(20):
            cluster.pod(f"p{number}", **asked)
        await asyncio.sleep(5)
        for each in sorted(cluster.allocated())[:6]:
            cluster.delete("pods", each.partition("/")[2], "default")
        await until(lambda: len(cluster.allocated()) == 13, 5)


async def test_a_pod_that_waits_gets_an_address_that_an_edit_of_its_subnet_frees() -> None:
    cluster = Cluster()
    cluster.subnet("tiny", "10.17.0.0/29", default=True, excludeIps=["10.17.0.6"])
    async with Term(cluster):
        await until(lambda: cluster.database.strict.rows.get(("switch", "tiny")))
        for number in range(5):
            cluster.pod(f"p{number}")
        await asyncio.sleep(5)
        assert len(cluster.allocated()) == 4
        cluster.subnet("tiny", "10.17.0.0/29", default=True)
        await until(lambda: len(cluster.allocated()) == 5, 5)


@pytest.mark.parametrize(
    "asked",
    [{"ip_address": "10.16.0.9"}, {"ip_address": "10.16.0.9,fd00::9"}, {"ip_pool": "few"}],
)
async def test_ovn_is_not_asked_for_an_ipv4_address_by_name(asked: dict[str, str]) -> None:
    """ovn-northd takes back an address that `exclude_ips` has, in its next run."""
    cluster = Cluster()
    cluster.subnet("shop", "10.16.0.0/16,fd00::/64", default=True)
    cluster.pool("few", "shop", "10.16.0.9")
    async with Term(cluster):
        await until(lambda: cluster.database.strict.rows.get(("switch", "shop")))
        answered: list[str] = []
        northd = cluster.database.strict.northd
        cluster.database.strict.northd = lambda: answered.extend(northd()) or answered  # type: ignore[method-assign,func-returns-value]
        cluster.pod("a", **asked)
        await until(lambda: "default/a" in cluster.allocated(), 5)
        assert "10.16.0.9" in cluster.allocated()["default/a"]
        assert answered == []


async def test_a_pod_in_the_place_of_one_that_waited_gets_an_event_of_its_own() -> None:
    """The old one's wait is that of its name: the new pod asked for nothing yet."""
    cluster = Cluster()
    cluster.subnet("tiny", "10.17.0.0/29", default=True)
    async with Term(cluster):
        await until(lambda: cluster.database.strict.rows.get(("switch", "tiny")))
        for number in range(6):
            cluster.pod(f"p{number}")
        await until(lambda: any(cluster.why(f"p{number}") for number in range(6)), 5)
        (name,) = [f"p{number}" for number in range(6) if cluster.why(f"p{number}")]
        before = len(cluster.why(name))
        cluster.delete("pods", name, "default")
        cluster.pod(name)
        await until(lambda: len(cluster.why(name)) > before, 5)
