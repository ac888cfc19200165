"""Traffic between two pods of a node, counted where it arrives, and the limits that `tc` shows."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal

from proofs.qos import steady
from testbed.processes import children
from testbed.service import wait_for
from testbed.space import Inside
from testbed.workloads import OVN, Cluster, Running, pod

Direction = Literal["ingress", "egress"]
Protocol = Literal["tcp", "udp"]
TOLERANCE = 0.1
# Frame size by payload of iperf3's UDP with 1300 bytes: Ethernet, IPv4 and UDP headers.
FRAME = (1300 + 42) / 1300
# Mbit/s of UDP in runs without a limit.
OFFERED = 50
_PORTS, _SETTLED = count(5300), 0.5


@dataclass(frozen=True, slots=True)
class Row:
    """A line of build/qos.json.

    Without a limit ``asked_mbit`` is what was offered, or None if TCP sent as much as it could.
    """

    lane: str
    direction: str
    protocol: str
    asked_mbit: float | None
    received_mbit: float
    ratio: float | None
    asserted: bool

    @property
    def least(self) -> float:
        """The lowest ratio that holds. Without a limit, little of what was offered may be lost."""
        return (
            {"tcp": 0.85, "udp": 0.99}[self.protocol]
            if "unlimited" in self.direction
            else 1 - TOLERANCE
        )

    @property
    def holds(self) -> bool:
        """Whether the ratio is in range; a row that is not asserted always holds."""
        most = float("inf") if "unlimited" in self.direction else 1 + TOLERANCE
        return not self.asserted or (self.ratio is not None and self.least <= self.ratio <= most)

    def __str__(self) -> str:
        asked = f"{self.asked_mbit:g}" if self.asked_mbit is not None else "-"
        ratio = f"{self.ratio:.3f}" if self.ratio is not None else "-"
        received = f"{self.received_mbit:>7.2f} {ratio:>6}"
        return f"{self.lane:>6} {self.direction:>24} {self.protocol} {asked:>5} {received}"


@dataclass(frozen=True, slots=True)
class Pair:
    """A pod with limits, and the pod without limits that it talks to."""

    limited: Running
    peer: Running

    def ends(self, direction: Direction) -> tuple[Running, Running]:
        """Return sender and receiver."""
        return (self.peer, self.limited) if direction == "ingress" else (self.limited, self.peer)


def pods(rates: Sequence[int]) -> list[dict[str, Any]]:
    """Return a pair of pods for each rate in Mbit/s, limited in both directions."""
    return [
        body
        for rate in rates
        for body in (
            pod(
                f"limited-{rate}",
                **{f"{OVN}/ingress_rate": str(rate), f"{OVN}/egress_rate": str(rate)},
            ),
            pod(f"peer-{rate}"),
        )
    ]


def pairs(cluster: Cluster, rates: Sequence[int]) -> dict[int, Pair]:
    """Start the pairs. Return them by their rates."""
    cluster.apply(*pods(rates))
    running = {each.name: each for each in cluster.running(2 * len(rates), timeout=120)}
    return {rate: Pair(running[f"limited-{rate}"], running[f"peer-{rate}"]) for rate in rates}


@dataclass(frozen=True, slots=True)
class Flow:
    """A running iperf3 from one pod to another."""

    sender: Inside
    receiver: Inside

    @property
    def running(self) -> bool:
        """Whether the sender still runs."""
        return self.sender.poll() is None

    @property
    def counter(self) -> int:
        """The PID of a process in the receiver's namespace, as the machine numbers it."""
        return children(self.receiver.pid)[0]

    def rate(self, spent: float = steady.SPENT, seconds: float = steady.COUNTED) -> float:
        """Return the Mbit/s that arrive in steady state, after ``spent`` seconds of traffic."""
        return steady.measure(self.counter, spent, seconds).mbit


@contextmanager
def flow(sender: Running, receiver: Running, *words: str) -> Iterator[Flow]:
    """Run iperf3 between the pods for as long as the block lasts. Extra words go to the client."""
    port = str(next(_PORTS))
    server = _inside(receiver, "iperf3", "-s", "-p", port)
    try:
        wait_for(
            lambda: f":{port} " in receiver.inside("ss", "-Hltn"), "iperf3 to listen", timeout=5
        )
        client = _inside(sender, "iperf3", "-c", receiver.ips[0], "-p", port, "-t", "60", *words)
        try:
            yield Flow(client, server)
        finally:
            _end(client)
    finally:
        _end(server)


def carried(sender: Running, receiver: Running, seconds: float) -> tuple[int, int]:
    """Send UDP for some seconds.

    Return the bytes that left the one pod and that reached the other.

    Both are counted after the flow has ended and nothing is under way.
    """
    before = _bytes(sender, "tx"), _bytes(receiver, "rx")
    with flow(sender, receiver, "-u", "-b", f"{OFFERED}M", "-l", "1300"):
        time.sleep(seconds)
    time.sleep(_SETTLED)
    return _bytes(sender, "tx") - before[0], _bytes(receiver, "rx") - before[1]


def limited(
    pair: Pair, direction: Direction, protocol: Protocol, asked: int, *, asserted: bool = True
) -> Row:
    """Measure what arrives of more traffic than the limit allows."""
    sender, receiver = pair.ends(direction)
    words = ["-u", "-b", f"{asked * 1.5}M", "-l", "1300"] if protocol == "udp" else []
    with flow(sender, receiver, *words) as running:
        mbit = running.rate(steady.finding(asked) if protocol == "tcp" else steady.SPENT)
    return Row("host", direction, protocol, asked, round(mbit, 3), round(mbit / asked, 3), asserted)


def table(found: dict[int, Pair], *, asserted: Sequence[int], together: bool) -> list[Row]:
    """Measure every rate, direction and protocol, all pairs at once or one after the other."""

    def one(rate: int) -> list[Row]:
        # Ingress UDP comes last: what it leaves in the queue towards the pod delays what follows.
        order: list[tuple[Direction, Protocol]] = [
            ("ingress", "tcp"), ("egress", "tcp"), ("egress", "udp"), ("ingress", "udp"),
        ]  # fmt: skip
        return [limited(found[rate], *each, rate, asserted=rate in asserted) for each in order]

    with ThreadPoolExecutor(len(found) if together else 1) as pool:
        return [row for rows in pool.map(one, found) for row in rows]


def ceiling(each: Running) -> str:
    """Return the pod's ingress ceiling as `tc` shows it, or "".

    It is the ceiling of ovs-vswitchd's class.
    """
    shown = each.space.run(["tc", "class", "show", "dev", each.port])
    lines = [line for line in shown.splitlines() if "class htb 1:1 " in line]
    return lines[0].partition("ceil ")[2].split()[0] if lines else ""


def shaper(each: Running) -> str:
    """Return the pod's egress rate as `tc` shows its token bucket, or ""."""
    shown = each.inside("tc", "qdisc", "show", "dev", "eth0", "root")
    return shown.partition(" rate ")[2].split()[0] if "tbf 157:" in shown else ""


def _bytes(each: Running, way: Literal["rx", "tx"]) -> int:
    (link,) = each.ip("-s", "link", "show", "eth0")
    return int(link["stats64"][way]["bytes"])


def _inside(each: Running, *words: str) -> Inside:
    return each.space.popen(["nsenter", f"--net={each.netns}", *words])


def _end(process: Inside) -> None:
    process.kill()
    process.communicate(timeout=10)
