"""What a limit in one direction leaves of the other: as much as between two pods without any limit."""

from __future__ import annotations

import statistics
import time

from qos import measure
from qos.measure import Direction, Row
from testbed.workloads import OVN, Cluster, Running, pod

LIMIT = 50  # acknowledgements go the limited way
RUNS, SECONDS = 5, 3.0
OFFERED = 50


def rows(cluster: Cluster) -> list[Row]:
    """`in` is limited in its ingress alone, `out` in its egress alone, `free` and `spare` in nothing."""
    limits: dict[Direction, dict[str, str]] = {
        "ingress": {f"{OVN}/ingress_rate": str(LIMIT)},
        "egress": {f"{OVN}/egress_rate": str(LIMIT)},
    }
    cluster.apply(pod("in", **limits["ingress"]), pod("out", **limits["egress"]), pod("free"), pod("spare"))
    named = {
        each.name: each for each in cluster.running(len(cluster.made)) if each.name in ("in", "out", "free", "spare")
    }
    ends = {"egress": (named["in"], named["free"]), "ingress": (named["free"], named["out"])}
    found = [_udp(f"{name} unlimited", *pair) for name, pair in ends.items()]
    baselines: list[float] = []
    runs: dict[str, list[float]] = {name: [] for name in ends}
    for _ in range(RUNS):
        baselines.append(_tcp(named["spare"], named["free"]))
        for name, pair in ends.items():
            runs[name].append(_tcp(*pair))
    baseline = statistics.median(baselines)
    for name, figures in runs.items():
        mbit = statistics.median(figures)
        ratio = round(mbit / baseline, 3)
        found.append(Row("host", f"{name} unlimited", "tcp", round(baseline, 1), round(mbit, 1), ratio, asserted=True))
    return found


def _tcp(sender: Running, receiver: Running) -> float:
    with measure.flow(sender, receiver):
        time.sleep(1)
        return measure.rate(receiver, SECONDS)


def _udp(name: str, sender: Running, receiver: Running) -> Row:
    """The share of what was sent that arrives."""
    with measure.flow(sender, receiver, "-u", "-b", f"{OFFERED}M", "-l", "1300"):
        time.sleep(1)
        before, began = (measure.sent(sender), measure.received(receiver)), time.monotonic()
        time.sleep(measure.COUNTED)
        gone, come = measure.sent(sender) - before[0], measure.received(receiver) - before[1]
        mbit = [count * 8 / (time.monotonic() - began) / 1e6 for count in (gone, come)]
    return Row("host", name, "udp", round(mbit[0], 2), round(mbit[1], 2), round(come / max(gone, 1), 3), asserted=True)
