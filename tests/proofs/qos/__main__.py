"""`python -m proofs.qos`: measure every rate, direction and protocol into build/qos.json."""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack

from proofs.qos import measure, record, steady, unlimited
from proofs.qos.measure import FRAME, Direction, Pair, Row
from testbed import deploy, progress
from testbed.bed import Bed
from testbed.workloads import Cluster

RATES, ASSERTED = (1, 5, 20, 50), (1, 5, 20)
BURST = 8


def main() -> int:
    """Measure all rows. Return 0 if every asserted row holds, else 1."""
    with Bed.up(f"qos-{os.getpid()}") as bed:
        deploy.apply(bed)
        cluster = Cluster(bed)
        pairs = measure.pairs(cluster, RATES)
        rows = measure.table(pairs, asserted=ASSERTED, together=False)
        rows += [_neighbour(pairs, loaded) for loaded in (False, True)]
        for rate in RATES:
            cluster.annotate(f"limited-{rate}", ingress_burst=str(BURST), egress_burst=str(BURST))
        time.sleep(10)  # until the buckets are full
        rows += [_burst(pairs[5], direction, 5) for direction in ("ingress", "egress")]
        rows += unlimited.rows(cluster)
        cluster.clear()
    record.keep(rows)
    progress.say(" lane direction prot asked received ratio, in Mbit/s of whole frames")
    for row in rows:
        progress.say(f"{row}{'' if row.holds else '  NOT AS ASKED'}")
    return 0 if all(row.holds for row in rows) else 1


def _neighbour(pairs: dict[int, Pair], loaded: bool) -> Row:
    """Measure 50 Mbit/s of UDP between pods without limits.

    With ``loaded``, two other pods are sent more than their limits meanwhile.
    """
    sender, receiver = pairs[1].peer, pairs[5].peer
    with ExitStack() as stack:
        for rate in (20, 50) if loaded else ():
            words = ("-u", "-b", f"{rate * 1.5}M", "-l", "1300")
            stack.enter_context(measure.flow(pairs[rate].peer, pairs[rate].limited, *words))
        mbit = stack.enter_context(
            measure.flow(sender, receiver, "-u", "-b", "50M", "-l", "1300")
        ).rate()
    name = "neighbour of overload" if loaded else "neighbour"
    return Row(
        "host",
        name,
        "udp",
        round(50 * FRAME, 2),
        round(mbit, 2),
        round(mbit / 50 / FRAME, 3),
        asserted=False,
    )


def _burst(pair: Pair, direction: Direction, rate: int) -> Row:
    """Measure what arrives beyond rate x t in the first second, in Mbit."""
    with measure.flow(*pair.ends(direction), "-u", "-b", "100M", "-l", "1300") as flow:
        before = steady.tick(flow.counter)
        now = first = steady.begun(flow.counter)
        while now.at - first.at < 1:
            time.sleep(steady.TICK)
            now = steady.tick(flow.counter)
    beyond = (now.received - before.received) * 8 / 1e6 - rate * (now.at - first.at)
    return Row(
        "host",
        f"{direction} burst",
        "udp",
        BURST,
        round(beyond, 2),
        round(beyond / BURST, 3),
        asserted=True,
    )


if __name__ == "__main__":
    sys.exit(main())
