"""From samples to rows: percentiles, the ratio to the floor, and which aims are met."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from proofs.bench.implementations import AGENT, FLOOR, KUBE_OVN, ONE_FLOOR, REFERENCE

ALONE, DELETE, BURST, START = "ADD alone", "DEL alone", "ADD in a burst of", "plugin start"
DELETE_BURST = "DEL in a burst of"
CPU_ALONE, CPU_DELETE, CPU_BURST, RSS = (
    "CPU per ADD alone",
    "CPU per DEL alone",
    "CPU per ADD in a burst of",
    "RSS",
)
# The daemons' processor time for each pod. The floor makes them do what is needed, and no more.
OVS_CPU, OVN_CPU = "ovs-vswitchd's", "ovn-controller's"
VSCTL = "its ovs-vsctl calls only"
ORDER = (AGENT, FLOOR, ONE_FLOOR, KUBE_OVN, f"{KUBE_OVN}, {VSCTL}", REFERENCE)
PORTS = (10, 100, 250, 500)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the result, with times in ms. A row of memory has MiB instead."""

    name: str
    ports: int
    n: int
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    floor_p50_ms: float | None = None
    ratio: float | None = None
    pods_per_s: float | None = None
    mib: float | None = None


class Samples:
    """All measured times, by what was done, by which implementation, and at how many ports."""

    def __init__(self) -> None:
        self._times: dict[tuple[str, str, int], list[float]] = defaultdict(list)
        self._rates: dict[tuple[str, str, int], list[float]] = defaultdict(list)
        self.memory: dict[int, float] = {}

    def add(
        self, what: str, name: str, ports: int, times: Sequence[float], rate: float | None = None
    ) -> None:
        """Add times in ms, and for a burst its rate in pods per second."""
        self._times[what, name, ports] += times
        if rate is not None:
            self._rates[what, name, ports].append(rate)

    def p50(self, what: str, name: str, ports: int) -> float | None:
        """Return the median time in ms, or None if it was not measured."""
        times = self._times.get((what, name, ports))
        return percentile(times, 0.5) if times else None

    def rate(self, what: str, name: str, ports: int) -> float | None:
        """Return the median of the bursts' rates in pods per second, or None."""
        rates = self._rates.get((what, name, ports))
        return percentile(rates, 0.5) if rates else None

    def rows(self) -> list[Row]:
        """Return the rows in the order of measurement, implementations side by side."""
        order = {
            (what, ports): place for place, (what, _, ports) in enumerate(reversed(self._times))
        }
        keys = sorted(self._times, key=lambda key: (-order[key[0], key[2]], ORDER.index(key[1])))
        made = [self._row(*key) for key in keys]
        return made + [
            Row(f"{AGENT}: {RSS}", ports, 1, None, None, None, mib=round(mib, 1))
            for ports, mib in self.memory.items()
        ]

    def _row(self, what: str, name: str, ports: int) -> Row:
        times = self._times[what, name, ports]
        p50, p90, p99 = (round(percentile(times, share), 2) for share in (0.5, 0.9, 0.99))
        floor = self.p50(what, FLOOR, ports)
        ratio = round(p50 / floor, 2) if floor else None
        rate = self.rate(what, name, ports)
        return Row(
            f"{name}: {what}", ports, len(times), p50, p90, p99,
            round(floor, 2) if floor else None, ratio, round(rate, 1) if rate else None,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Aim:
    """A promise and its figure, which is None if this run did not measure it."""

    text: str
    figure: float | None
    bound: float
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the aim is met, or None without a figure."""
        if self.figure is None:
            return None
        return self.figure >= self.bound if self.at_least else self.figure <= self.bound

    def __str__(self) -> str:
        verdict = {True: "met", False: "NOT MET", None: "not measured"}[self.met]
        return f"{verdict}: {self.text}" + (
            f" — {self.figure:.2f}" if self.figure is not None else ""
        )


def aims(samples: Samples) -> list[Aim]:
    """Return the aims of the first bench with the figures of this run."""
    one, burst = samples.rate(f"{BURST} 1", AGENT, 100), samples.rate(f"{BURST} 100", AGENT, 100)
    kube_ovn = samples.rate(f"{BURST} 100", KUBE_OVN, 100)
    kube_ovn_one = samples.rate(f"{BURST} 1", KUBE_OVN, 100)
    program, empty = samples.p50(START, AGENT, 0), samples.p50(START, FLOOR, 0)
    return [
        Aim("ADD alone, p50 ≤ 1.6 x floor at 10 ports (aim 1.2)", _ratio(samples, ALONE, 10), 1.6),
        Aim(
            "ADD alone, p50 ≤ 1.3 x floor at 250 ports (aim 1.2)", _ratio(samples, ALONE, 250), 1.3
        ),
        Aim(
            "100 at once on 100 ports ≥ 5 x the pods/s of one at a time",
            _divided(burst, one),
            5,
            at_least=True,
        ),
        Aim(
            "100 at once on 100 ports ≥ 10 x the pods/s of the rival's, 100 at once",
            _divided(burst, kube_ovn),
            10,
            True,
        ),
        Aim(
            "… and ≥ 10 x those of the rival's, one at a time",
            _divided(burst, kube_ovn_one),
            10,
            at_least=True,
        ),
        *(
            Aim(
                f"agent CPU per ADD alone ≤ 10 ms at {p} ports",
                samples.p50(CPU_ALONE, AGENT, p),
                10,
            )
            for p in PORTS
        ),
        *(
            Aim(
                f"{what} {many} at 100 ports, p50 ≤ {most} x floor",
                _ratio(samples, f"{what} {many}", 100),
                most,
            )
            for what, many, most in ((BURST, 50, 1.45), (BURST, 100, 1.4), (DELETE_BURST, 100, 2.0))
        ),
        *(
            Aim(
                f"agent CPU per ADD{where} ≤ {most} x the floor's, at 100 ports",
                _ratio(samples, what, 100),
                most,
            )
            for what, where, most in (
                (CPU_ALONE, " alone", 6.0),
                (f"{CPU_BURST} 100", " in a burst of 100", 4.4),
            )
        ),
        Aim(
            "ovn-controller's CPU per ADD in a burst of 100 ≤ 1.1 x with the floor, at 100 ports",
            _ratio(samples, f"{OVN_CPU} {CPU_BURST} 100", 100),
            1.1,
        ),
        *(
            Aim(f"RSS ≤ {most} MiB at {p} ports", samples.memory.get(p), most)
            for p, most in ((250, 70), (500, 80))
        ),
        Aim("… aim 5 ms (at 100 ports)", samples.p50(CPU_ALONE, AGENT, 100), 5),
        Aim("… aim 2.5 ms in a burst of 100", samples.p50(f"{CPU_BURST} 100", AGENT, 100), 2.5),
        Aim(
            "plugin start within 1 ms of an empty static program",
            program - empty if program and empty else None,
            1,
        ),
    ]


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the rows with their eight columns, and two more where they have a value."""
    optional = ("pods_per_s", "mib")
    return [
        {k: v for k, v in asdict(row).items() if k not in optional or v is not None} for row in rows
    ]


def percentile(values: Sequence[float], share: float) -> float:
    """Return the nearest rank, which is a value that was really measured."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def _ratio(samples: Samples, what: str, ports: int) -> float | None:
    return _divided(samples.p50(what, AGENT, ports), samples.p50(what, FLOOR, ports))


def _divided(one: float | None, other: float | None) -> float | None:
    return one / other if one and other else None
