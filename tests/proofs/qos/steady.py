"""What arrives at a pod's interface in steady state, counted where it arrives. Standard library only.

A machine that stalls for longer than a bucket lasts has lost what would have passed, and what other buckets saved up
meanwhile comes on top. A stall is told by the counting program's own ticks, never by what arrives, and what is counted
is a stretch without one.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

# Seconds until a burst is spent and TCP has found its rate, and those that are counted.
SPENT, COUNTED = 2.5, 4.0
# A bucket lasts 100 ms where no burst is asked for.
TICK, STALL = 0.02, 0.08
# Seconds to wait for traffic, and for a stretch without a stall; thereafter a stretch is taken as it is.
START_TIMEOUT, STALL_TIMEOUT = 60.0, 40.0
# The connection by which iperf3 agrees with itself is some 3 kB.
CONTROL = 20_000


@dataclass(frozen=True, slots=True)
class Steady:
    """Mbit/s of whole frames, and the longest time between two ticks of what was counted, in seconds."""

    mbit: float
    stall: float


@dataclass(frozen=True, slots=True)
class Tick:
    at: float
    received: int


def finding(mbit: float) -> float:
    """Seconds until TCP has found such a rate: it fills a queue at first, which takes longer the slower that drains."""
    return SPENT + 4 / mbit


def counted(pid: int) -> dict[str, int]:
    """What eth0 has counted where this process is; bytes are of whole frames."""
    with open(f"/proc/{pid}/net/dev") as file:
        fields = (
            next(line for line in file if line.strip().startswith("eth0:"))
            .partition(":")[2]
            .split()
        )
    numbers = {"rx_bytes": 0, "rx_packets": 1, "tx_bytes": 8, "tx_packets": 9}
    return {name: int(fields[place]) for name, place in numbers.items()}


def begun(pid: int) -> Tick:
    """The first tick at which traffic has come in, since this was called."""
    first, end = tick(pid), time.monotonic() + START_TIMEOUT
    while (now := tick(pid)).received - first.received < CONTROL:
        if now.at > end:
            raise SystemExit("no traffic arrives")
        time.sleep(TICK / 4)
    return now


def measure(pid: int, spent: float, seconds: float) -> Steady:
    """The last ``seconds`` of a stretch that had ``spent`` before, for bursts and for TCP to find its rate."""
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
    received = counted(pid)["rx_bytes"]
    return Tick(time.monotonic(), received)
