"""Wishes that collide, on a real API server and a real northbound: E7, E12."""

import asyncio
import random
from collections import Counter

import pytest

from integration.controller.admin import ClusterAdmin, until
from integration.controller.replicas import Replicas

pytestmark = [pytest.mark.review2, pytest.mark.uncovered]
DUAL = "10.16.0.0/16,fd00:10:16::/64"
PODS, POOLS, WISHES = 1000, 5, 40


def asked(number: int, chance: random.Random) -> dict[str, str]:
    """Return what a pod asks for: a third of the pods wish for what others wish for as well."""
    if number % 3:
        return {}
    wish = chance.randrange(WISHES)
    address, mac = f"10.16.9.{wish + 1}", f"0a:ff:00:00:00:{wish:02x}"
    return chance.choice(
        [
            {"ip_address": address},
            {"ip_address": f"{address},fd00:10:16::9:{wish:x}", "mac_address": mac},
            {"mac_address": mac},
            {"ip_pool": f"pool{chance.randrange(POOLS)}"},
        ]
    )


async def test_no_address_is_given_twice_to_a_thousand_pods_e7(
    admin: ClusterAdmin, replicas: Replicas
) -> None:
    """The leader is killed in the middle. Both the rows and the annotations are counted."""
    chance = random.Random(7)
    # The API server and both databases are busy: a shorter Lease would be lost meanwhile.
    replicas.start("a", lease_seconds=10)
    await admin.subnet("ovn-default", DUAL, default=True)
    for pool in range(POOLS):
        await admin.pool(
            f"pool{pool}", "ovn-default", f"10.16.8.{pool * 32}..10.16.8.{pool * 32 + 19}"
        )
    await admin.ready("ovn-default")
    wishes = {f"p{number}": asked(number, chance) for number in range(PODS)}
    creating = asyncio.gather(
        *(admin.pod(name, "n0", None, **wish) for name, wish in wishes.items())
    )

    async def given() -> dict[str, str]:
        every = await admin.all_annotations()
        return {
            name: f"{text['mac_address']} {text['ip_address'].replace(',', ' ')}"
            for name, text in every.items()
            if text.get("routed") == "true"
        }

    async def some() -> bool:
        return len(await given()) > 150

    await until(some, 30, "some pods allocated", every=0.2)
    replicas.kill("a")
    replicas.start("b", lease_seconds=10)
    await creating

    async def settled() -> bool:
        """Return whether every port is pinned, and nothing changed for 3 s."""
        before = await given()
        await asyncio.sleep(3)
        rows = (await admin.ports()).items()
        asking = [name for name, row in rows if "dynamic" in str(row["addresses"])]
        unserved = [name for name, wish in wishes.items() if not wish and name not in before]
        changed = before.items() ^ (await given()).items()
        print(f"asking {asking[:5]}, not served {unserved[:5]}, changed {sorted(changed)[:5]}")
        return not (asking or unserved or changed)

    await until(settled, 90, "every pod allocated or waiting")
    known = await given()
    ports = await admin.ports()
    unpinned = {name: row for name, row in ports.items() if "dynamic" in str(row["addresses"])}
    for name, row in list(unpinned.items())[:5]:
        pod = name.partition(".")[0]
        print(name, row, wishes.get(pod), await admin.events(pod), pod in known)
    rows = [str(row["addresses"]).removeprefix("dynamic") for row in ports.values()]
    for texts in (rows, list(known.values())):
        words = Counter(word for text in texts for word in text.split())
        assert [word for word, times in words.items() if times > 1] == []
    assert not unpinned, "a pod waits for an answer of OVN that does not come"
    waiting = sorted(wishes.keys() - known)
    assert waiting
    for name in waiting[:5]:
        await admin.event(name, "AddressTaken")
    print(f"{PODS} pods: {len(known)} allocated, {len(waiting)} wait for what others have")
