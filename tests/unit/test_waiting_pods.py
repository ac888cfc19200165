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
