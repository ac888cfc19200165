"""A limit in one direction must leave the other as fast as between two pods without any limit."""

from __future__ import annotations

import statistics

from proofs.qos import measure
from proofs.qos.measure import Direction, Row
from testbed.workloads import OVN, Cluster, Running, pod

LIMIT = 50  # Mbit/s; acknowledgements pass the limited direction
RUNS, SECONDS = 5, 4.0


def rows(cluster: Cluster) -> list[Row]:
    """Measure both directions, alternating with a baseline.

    Pod `in` is limited in its ingress alone, `out` in its egress alone, `free` and `spare` in
    nothing.
    """
    limits: dict[Direction, dict[str, str]] = {
        "ingress": {f"{OVN}/ingress_rate": str(LIMIT)},
        "egress": {f"{OVN}/egress_rate": str(LIMIT)},
    }
    cluster.apply(
        pod("in", **limits["ingress"]), pod("out", **limits["egress"]), pod("free"), pod("spare")
    )
    named = {
        each.name: each
        for each in cluster.running(len(cluster.made))
        if each.name in ("in", "out", "free", "spare")
    }
    ends = {"egress": (named["in"], named["free"]), "ingress": (named["free"], named["out"])}
    baselines: list[float] = []
    tcp: dict[str, list[float]] = {name: [] for name in ends}
    udp: dict[str, list[tuple[int, int]]] = {name: [] for name in ends}
    for _ in range(RUNS):
        baselines.append(_tcp(named["spare"], named["free"]))
        for name, pair in ends.items():
            tcp[name].append(_tcp(*pair))
            udp[name].append(measure.carried(*pair, SECONDS))
    found = [_udp_row(f"{name} unlimited", runs) for name, runs in udp.items()]
    return [*found, *(_tcp_row(f"{name} unlimited", runs, baselines) for name, runs in tcp.items())]


def _udp_row(name: str, runs: list[tuple[int, int]]) -> Row:
    """Return the run with the median share of bytes that arrived."""
    sent, arrived = sorted(runs, key=lambda run: run[1] / run[0])[len(runs) // 2]
    mbit = [round(count * 8 / SECONDS / 1e6, 2) for count in (sent, arrived)]
    return Row("host", name, "udp", mbit[0], mbit[1], round(arrived / sent, 4), asserted=True)


def _tcp_row(name: str, runs: list[float], baselines: list[float]) -> Row:
    """Return the median run as a share of the baseline's median. Both were measured in turns."""
    mbit, baseline = statistics.median(runs), statistics.median(baselines)
    return Row(
        "host",
        name,
        "tcp",
        round(baseline, 1),
        round(mbit, 1),
        round(mbit / baseline, 3),
        asserted=True,
    )


def _tcp(sender: Running, receiver: Running) -> float:
    with measure.flow(sender, receiver) as flow:
        return flow.rate(1, SECONDS)
