"""A thousand pods at once, with wishes that collide, pools, restarts and mistakes of OVN.

E7: no address and no MAC is given twice, at no moment: neither by the rows of the database nor by
the annotations of the pods.
"""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field

import looptime
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from kit.cluster import Cluster, Term, until
from kit.memory_northbound import MemoryDatabase
from kit.strict_northbound import StrictNorthbound
from ovnlet.core.ipam.claims import bound

pytestmark = [pytest.mark.review2, pytest.mark.uncovered]
PODS, POOLS, PER_POOL, WISHES = 1000, 5, 20, 40


@dataclass(frozen=True)
class Story:
    """What happens: ms between kills of the controller, patches that fail, and chance.

    ``wipe`` is whether the database is empty after each kill.
    """

    seed: int
    kills: list[int]
    refused: int
    wipe: bool = False


@dataclass
class Audit:
    """The pinned ports at each moment, and each address that two of them ever had."""

    cluster: Cluster
    twice: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    _given: dict[str, str] = field(default_factory=dict)

    def look(self) -> None:
        """Count the words of all pinned ports, and of all annotations; compare with before."""
        ports = self.cluster.database.strict.every_port()
        pinned = [port.addresses for port in ports if bound(port.addresses)]
        given_to = self.cluster.allocated()
        self.moved += [pod for pod, text in given_to.items() if self._given.get(pod, text) != text]
        self._given |= given_to
        for texts in (pinned, list(given_to.values())):
            words = Counter(word for text in texts for word in text.split())
            self.twice += [word for word, times in words.items() if times > 1]


def asked(number: int, chance: random.Random) -> dict[str, str]:
    """Return what a pod asks for: a third of the pods wish for what others wish for as well."""
    if number % 3:
        return {}
    wish = chance.randrange(WISHES)
    address, mac = f"10.16.9.{wish + 1}", f"0a:ff:00:00:00:{wish:02x}"
    return chance.choice(
        [
            {"ip_address": address},
            {"ip_address": f"{address},fd00:16::9:{wish:x}", "mac_address": mac},
            {"mac_address": mac},
            {"ip_pool": f"pool{chance.randrange(POOLS)}"},
            {"ip_pool": f"{address},10.16.9.{wish + 2}"},
        ]
    )


async def live(story: Story) -> tuple[Cluster, Audit]:
    """Run a story on a fake clock."""
    chance = random.Random(story.seed)
    cluster = Cluster(MemoryDatabase.careless(story.seed))
    audit = Audit(cluster)
    cluster.subnet("shop", "10.16.0.0/20,fd00:16::/64", default=True)
    for number in range(POOLS):
        cluster.pool(f"pool{number}", "shop", f"10.16.8.{number * 32}..10.16.8.{number * 32 + 19}")
    term = await Term(cluster).__aenter__()
    await until(lambda: ("switch", "shop") in cluster.database.strict.rows)
    cluster.refuse = story.refused
    for number in range(PODS):
        cluster.pod(f"p{number}", f"n{number % 5}", **asked(number, chance))
    for kill in sorted(story.kills):
        await asyncio.sleep(kill / 1000)
        audit.look()
        await term.__aexit__()
        if story.wipe:
            cluster.database.strict = StrictNorthbound(careless=chance)
        for number in chance.sample(range(PODS), 10):
            if ("pods", "default", f"p{number}") in cluster.objects:
                cluster.delete("pods", f"p{number}", "default")
        term = await Term(cluster).__aenter__()
    await settle(term, audit)
    await term.__aexit__()
    return cluster, audit


async def settle(term: Term, audit: Audit) -> None:
    """Let the last leader finish: a pod that OVN gave a wrong answer is tried by the resync."""
    for _ in range(20):
        await asyncio.sleep(0.5)
        audit.look()
    for _ in range(2):
        await term.controller._resync()
        await asyncio.sleep(75)
    audit.look()


def run(story: Story) -> tuple[Cluster, Audit]:
    with capture_logs(), asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        return runner.run(live(story))


# Shrinking a story of a thousand pods takes minutes, and shows nothing that the seed does not.
@settings(max_examples=4, phases=[Phase.generate])
@given(
    st.builds(
        Story,
        seed=st.integers(0, 10**6),
        kills=st.lists(st.integers(1, 400), max_size=4),
        refused=st.integers(0, 200),
        wipe=st.booleans(),
    )
)
def test_no_address_is_ever_given_twice_e7(story: Story) -> None:
    cluster, audit = run(story)
    assert not audit.twice
    assert not audit.moved, "a running pod keeps its addresses"
    given_to = cluster.allocated()
    pods = [key for key in cluster.objects if key[0] == "pods"]
    waiting = [name for _, _, name in pods if f"default/{name}" not in given_to]
    for name in waiting:
        reasons = cluster.why(name)
        assert reasons, f"{name} waits and nobody says why"
        assert {reason for reason, _ in reasons} == {"AddressTaken"}, reasons
    free = [n for _, _, n in pods if not asked_of(cluster, n)]
    assert not set(free) & set(waiting), "who asks for nothing gets addresses"
    taken = {word for text in given_to.values() for word in text.split()}
    for name in waiting:
        annotations = cluster.annotations(name)
        wishes = {*annotations.get("ip_address", "").split(","), annotations.get("mac_address", "")}
        assert not wishes - {""} or wishes & taken, f"{name} waits for what is free"
    for number in range(POOLS):
        own = {f"10.16.8.{number * 32 + each}" for each in range(PER_POOL)}
        wanted = [n for _, _, n in pods if asked_of(cluster, n).get("ip_pool") == f"pool{number}"]
        served = [given_to[f"default/{n}"] for n in wanted if f"default/{n}" in given_to]
        assert all(own & set(text.split()) for text in served)
        # An address that OVN gave to a pod of no pool, by mistake, is lost to the pool.
        lost = len(own & taken) - len(served)
        assert len(served) == min(PER_POOL - lost, len(wanted))


def asked_of(cluster: Cluster, name: str) -> dict[str, str]:
    """Return what a pod asks for; what it was given counts too."""
    keys = ("ip_address", "mac_address", "ip_pool")
    found = cluster.annotations(name)
    return {key: found[key] for key in keys if key in found and found.get("routed") != "true"} | (
        {"ip_pool": found["ip_pool"]} if "ip_pool" in found else {}
    )
