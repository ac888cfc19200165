"""`python -m qos`: every rate, direction and protocol on a node of its own, into build/qos.json."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict

from qos import measure, unlimited
from qos.measure import Direction, Pair, Row
from testbed import deploy, progress
from testbed.bed import Bed
from testbed.workloads import Cluster

RATES, ASSERTED = (1, 5, 20, 50), (1, 5, 20)
BURST = 8
# Of a frame of iperf3's UDP with 1300 bytes: Ethernet, IPv4 and UDP headers.
FRAME = (1300 + 42) / 1300


def main() -> int:
    with Bed.up(f"qos-{os.getpid()}") as bed:
        deploy.apply(bed)
        cluster = Cluster(bed)
        pairs = measure.pairs(cluster, RATES)
        rows = measure.table(pairs, asserted=ASSERTED, together=False)
        rows += [_neighbour(pairs, loaded) for loaded in (False, True)]
        for rate in RATES:
            cluster.annotate(f"limited-{rate}", ingress_burst=str(BURST), egress_burst=str(BURST))
        time.sleep(10)  # buckets fill at their rate
        rows += [_burst(pairs[5], direction, 5) for direction in ("ingress", "egress")]
        rows += unlimited.rows(cluster)
        cluster.clear()
    build = deploy.PROJECT / "build"
    build.mkdir(exist_ok=True)
    (build / "qos.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    progress.say(" lane direction prot asked received ratio, in Mbit/s of whole frames")
    for row in rows:
        progress.say(f"{row}{'' if row.holds else '  NOT AS ASKED'}")
    return 0 if all(row.holds for row in rows) else 1


def _neighbour(pairs: dict[int, Pair], loaded: bool) -> Row:
    """50 Mbit/s of UDP between pods without limits; ``loaded``: while two others are sent more than they may get."""
    sender, receiver = pairs[1].peer, pairs[5].peer
    with ExitStack() as stack:
        for rate in (20, 50) if loaded else ():
            words = ("-u", "-b", f"{rate * 1.5}M", "-l", "1300")
            stack.enter_context(measure.flow(pairs[rate].peer, pairs[rate].limited, *words))
        stack.enter_context(measure.flow(sender, receiver, "-u", "-b", "50M", "-l", "1300"))
        time.sleep(1)
        mbit = measure.rate(receiver)
    name = "neighbour of overload" if loaded else "neighbour"
    return Row("host", name, "udp", round(50 * FRAME, 2), round(mbit, 2), round(mbit / 50 / FRAME, 3), asserted=False)


def _burst(pair: Pair, direction: Direction, rate: int) -> Row:
    """What comes beyond the rate in the first two seconds, in Mbit."""
    sender, receiver = pair.ends(direction)
    before, first, most = measure.received(receiver), 0.0, 0.0
    with measure.flow(sender, receiver, "-u", "-b", "100M", "-l", "1300"):
        end = time.monotonic() + 3
        while (now := time.monotonic()) < end:
            mbit = (measure.received(receiver) - before) * 8 / 1e6
            if not first and mbit > 0.1:
                first = now
            most = max(most, mbit - rate * (now - first)) if first else 0.0
    return Row("host", f"{direction} burst", "udp", BURST, round(most, 2), round(most / BURST, 3), asserted=True)


if __name__ == "__main__":
    sys.exit(main())
