"""Pods that come and go all the time, 5 a second each, while as many stay attached.

Each ADD and DEL starts at its time, whether those before it have ended or not.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from proofs.bench.environment import Environment, provisioned
from proofs.bench.implementations import AGENT, Implementation, all_implementations
from proofs.bench.measures import Measure, median
from proofs.bench.pods import Pod
from proofs.bench.processes import Done
from proofs.bench.rows import percentile
from testbed import progress

# Attached pods, and those that wait for their next ADD: ten seconds from a pod's DEL.
STANDING, SPARE = 100, 50
RATE = 5
# Seconds of one order to the driver.
CHUNK = 30
AT_ONCE = 50
MINUTES = 20.0
# Seconds until the node must be quiet, before and after.
QUIET_AFTER = 60.0
Sandbox = tuple[Pod, str]
Order = tuple[float, str, Sandbox]


class Churn:
    """Says which pod comes and which goes, and when. The oldest goes first."""

    def __init__(self, attached: Sequence[Sandbox], free: Sequence[Pod]) -> None:
        self.attached, self._free = deque(attached), deque(free)

    def orders(self, seconds: float, sandboxes: Iterator[str]) -> Iterator[Order]:
        """Yield each ADD and DEL of so many seconds with its second, in the order of these.

        The DELs come half-way between the ADDs.
        """
        for tick in range(round(seconds * RATE)):
            coming = (self._free.popleft(), next(sandboxes))
            self.attached.append(coming)
            yield tick / RATE, "ADD", coming
            leaving = self.attached.popleft()
            self._free.append(leaving[0])
            yield (tick + 0.5) / RATE, "DEL", leaving


class Churned:
    """What was measured."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = {"ADD": [], "DEL": []}
        self.sizes: list[tuple[float, int]] = []
        self.loads: list[float] = []
        self.failed: dict[Sandbox, str] = {}
        self.seconds = 0.0

    def sample(self, env: Environment) -> None:
        """Keep the agent's memory in MiB and its descriptors."""
        self.sizes.append((env.agent_mib, env.agent_descriptors))

    def add(self, orders: Sequence[Order], done: Sequence[Done]) -> None:
        """Add the times of ADDs and DELs, and the machine's load. Those that failed count apart.

        The DEL of an ADD that failed comes as if it had not, as a runtime sends it.
        """
        for (_, verb, sandbox), each in zip(orders, done, strict=True):
            if each.code:
                self.failed[sandbox] = f"{verb}: {each.out}"
            else:
                self.times[verb].append(each.ms)
        self.loads.append(os.getloadavg()[0])

    def rows(self) -> Iterator[Measure]:
        """Yield the rows."""
        adds = len(self.times["ADD"])
        yield Measure("churn: pods that came", adds, "pods", None)
        yield Measure("churn: pods a second", round(adds / self.seconds, 2), "1/s", None)
        yield Measure("churn: ADDs and DELs that failed", len(self.failed), "", 0)
        yield Measure("churn: load of the machine, median", median(self.loads), "", None)
        for verb, times in self.times.items():
            yield Measure(f"churn: {verb}, median", round(median(times), 2), "ms", None)
            yield Measure(f"churn: {verb}, p99", round(percentile(times, 0.99), 2), "ms", None)
        middle = len(self.sizes) // 2
        for when, (mib, descriptors) in zip(
            ("start", "middle", "end"),
            (self.sizes[0], self.sizes[middle], self.sizes[-1]),
            strict=True,
        ):
            yield Measure(f"churn: RSS at the {when}", round(mib, 1), "MiB", None)
            yield Measure(f"churn: descriptors at the {when}", descriptors, "", None)


def run(name: str, plugin: Path, seed: int, minutes: float = MINUTES) -> list[Measure]:
    """Measure on a bed of its own. Return the rows."""
    attaching = all_implementations(plugin, plugin)[AGENT]
    with provisioned(name, STANDING + SPARE, seed) as env:
        standing = [(pod, env.sandbox()) for pod in env.pods[:STANDING]]
        with progress.step(f"{STANDING} attachments"):
            for start in range(0, STANDING, AT_ONCE):
                env.run(attaching.add(standing[start : start + AT_ONCE]))
        churn, found = Churn(standing, env.pods[STANDING:]), Churned()
        sandboxes = iter(env.sandbox, "")
        env.settle(QUIET_AFTER)
        found.sample(env)
        with progress.step(f"{minutes:g} minutes at {RATE} pods a second") as step:
            for number in range(max(2, round(minutes * 60 / CHUNK))):
                step.note(f"{number * CHUNK} s, load {os.getloadavg()[0]:.1f}")
                orders = list(churn.orders(CHUNK, sandboxes))
                began = time.monotonic()
                _, done = env.command(_order(attaching, orders), may_fail=True)
                found.seconds += time.monotonic() - began
                found.add(orders, done)
                found.sample(env)
        env.settle(QUIET_AFTER)
        found.sample(env)
        env.verify(attaching, [each for each in churn.attached if each not in found.failed])
    for text in list(found.failed.values())[:3]:
        progress.say(f"    {text}")
    return list(found.rows())


def _order(attaching: Implementation, orders: Sequence[Order]) -> dict[str, Any]:
    """Return the order for the driver."""
    made = {"ADD": attaching.add, "DEL": attaching.delete}
    return {
        "kind": "timed",
        "jobs": [[at, made[verb]([each])["jobs"][0]] for at, verb, each in orders],
    }
