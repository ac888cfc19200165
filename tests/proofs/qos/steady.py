"""Steady-state throughput of a pod's interface, counted where it arrives. Standard library only.

A machine that stalls for longer than a token bucket lasts has lost what would have passed, and
what other buckets saved up meanwhile comes on top. A stall is found by the counting program's own
ticks, never by what arrives. Only a stretch without a stall is counted.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

# Seconds until a burst is spent and TCP has found its rate, and seconds that are counted.
SPENT, COUNTED = 2.5, 4.0
# A bucket lasts 100 ms if no burst is set.
TICK, STALL = 0.02, 0.08
# Seconds to wait for traffic, and for a stretch without a stall; after that any stretch counts.
START_TIMEOUT, STALL_TIMEOUT = 60.0, 40.0
# Bytes; iperf3's control connection takes some 3 kB.
CONTROL = 20_000


@dataclass(frozen=True, slots=True)
class Steady:
    """Mbit/s of whole frames, and the longest time in seconds between two counted ticks."""

    mbit: float
    stall: float


@dataclass(frozen=True, slots=True)
class Tick:
    """Received bytes at a moment of the monotonic clock."""

    at: float
    received: int


def finding(mbit: float) -> float:
    """Return the seconds until TCP has found such a rate.

    It fills a queue at first, which takes longer the slower that drains.
    """
    return SPENT + 4 / mbit


def counted(pid: int) -> dict[str, int]:
    """Return eth0's counters in the namespace of this process; bytes are of whole frames."""
    with open(f"/proc/{pid}/net/dev") as file:
        fields = (
            next(line for line in file if line.strip().startswith("eth0:"))
            .partition(":")[2]
            .split()
        )
    numbers = {"rx_bytes": 0, "rx_packets": 1, "tx_bytes": 8, "tx_packets": 9}
    return {name: int(fields[place]) for name, place in numbers.items()}


def begun(pid: int) -> Tick:
    """Return the first tick at which traffic has arrived since the call.

    Raise SystemExit after 60 s.
    """
    first, end = tick(pid), time.monotonic() + START_TIMEOUT
    while (now := tick(pid)).received - first.received < CONTROL:
        if now.at > end:
            raise SystemExit("no traffic arrives")
        time.sleep(TICK / 4)
    return now


def measure(pid: int, spent: float, seconds: float) -> Steady:
    """Return the throughput of the last ``seconds`` of a stretch, after ``spent`` seconds of
    traffic.

    In the time before, bursts are spent and TCP finds its rate.
    """
    ticks, end = [begun(pid)], time.monotonic() + STALL_TIMEOUT
    while ticks[-1].at - ticks[0].at < spent + seconds:
        time.sleep(TICK)
        ticks.append(tick(pid))
        if ticks[-1].at - ticks[-2].at > STALL and ticks[-1].at < end:
            ticks = ticks[-1:]
    last = ticks[-1]
    first = max(place for place, each in enumerate(ticks) if last.at - each.at >= seconds)
    stall = max(ticks[place + 1].at - ticks[place].at for place in range(first, len(ticks) - 1))
    return Steady(
        (last.received - ticks[first].received) * 8 / (last.at - ticks[first].at) / 1e6, stall
    )


def tick(pid: int) -> Tick:
    """Return the received bytes now."""
    received = counted(pid)["rx_bytes"]
    return Tick(time.monotonic(), received)
