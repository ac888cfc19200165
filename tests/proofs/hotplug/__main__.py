"""`python -m proofs.hotplug`: plug an interface into running pods and out again, a hundred times.

The network is one that the pods have already, so each plug is a second interface of it. Meanwhile
other pods with two networks come and go, and every first interface is pinged without a pause.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import time
from dataclasses import dataclass, field

from proofs.bench import measures
from proofs.bench.measures import Measure
from proofs.drift.carrying import heed_signals
from proofs.hotplug import checks
from proofs.hotplug.checks import Figures
from proofs.hotplug.stage import (
    BARE,
    BOTH,
    FIRST,
    N1,
    Load,
    Losses,
    Stage,
    bare,
    provisioned,
)
from testbed import progress
from testbed.service import BedError, wait_for
from testbed.workloads import Running

REACHED = 15.0  # seconds from a plug to its first answer
WARM_UP = 0.2  # of the rounds; caches are full and arenas have their size after it
# Growth from then on. An agent's caches are bounded by the pods that there are.
GROWTH = {"rss": 8.0, "descriptors": 2, "threads": 1, "rows": 0, "database": 16.0}


@dataclass
class Rounds:
    """The rounds, what each took in seconds, and what went wrong."""

    stage: Stage
    random: random.Random
    address: str  # of the peer in the second network
    plugs: list[float] = field(default_factory=list)
    unplugs: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def turn(self, number: int) -> None:
        """Plug the interface into one pod, see it work, and unplug it."""
        pod = self.random.choice(self.stage.hot)
        try:
            self._plug(pod)
            self._unplug(pod, keys_first=number % 3 == 0)
        except BedError as error:
            self.failures.append(f"round {number}, {pod.name}: {error}"[:300])
            progress.say(f"    {self.failures[-1]}")

    def _plug(self, pod: Running) -> None:
        rate = {"ingress_rate": "50"} if self.random.random() < 0.5 else {}
        began = time.monotonic()
        self.stage.wanted(pod, BOTH, **rate)
        if (done := self.stage.synced(pod)) != ["+net2"]:
            raise BedError(f"plugged {done}")
        self.plugs.append(time.monotonic() - began)
        reached = lambda: self.stage.reaches_by_second(pod, self.address)  # noqa: E731
        wait_for(reached, "an answer by net2", REACHED)

    def _unplug(self, pod: Running, *, keys_first: bool) -> None:
        """Have it detached; with ``keys_first``, once the controller has removed its keys."""
        began = time.monotonic()
        self.stage.wanted(pod, FIRST, ingress_rate=None)
        if keys_first:
            gone = lambda: not self.stage.is_allocated(pod.name)  # noqa: E731
            wait_for(gone, "the keys to go", timeout=30)
            if "net2" not in {link["ifname"] for link in pod.ip("link", "show")}:
                raise BedError("net2 went before its DEL")
        if (done := self.stage.synced(pod)) != ["-net2"]:
            raise BedError(f"unplugged {done}")
        if not keys_first:
            self.unplugs.append(time.monotonic() - began)


def main() -> int:
    """Run the proof and write its report. Return 0 if all of it is good, else 1."""
    parser = argparse.ArgumentParser(prog="hotplug", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--within", type=float, default=3600, help="begin no round after so many s")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--bed", default=f"hotplug-{os.getpid()}")
    args = parser.parse_args()
    heed_signals()
    progress.say(f"{args.rounds} rounds, seed {args.seed}")
    try:
        with provisioned(args.bed) as stage:
            rows = run(stage, args.rounds, args.within, args.seed)
    except (BedError, KeyboardInterrupt) as error:
        progress.say(f"stopped: {error!r}")
        return 1
    measures.add(rows, ("",), report="hotplug")
    return 0 if all(row.ok for row in rows) else 1


def run(stage: Stage, count: int, within: float, seed: int) -> list[Measure]:
    """Run the rounds under load, then look at what is left and what has grown."""
    with progress.step("ports of no pod"):
        alone = bare(stage)
    rounds = Rounds(stage, random.Random(seed), stage.given("peer", N1)[0])
    load = Load(stage, seed)
    began, done, before = time.monotonic(), 0, Figures.of(stage)
    with progress.step(f"{count} rounds under load") as step:
        while done < count and time.monotonic() - began < within:
            step.note(str(done))
            rounds.turn(done)
            done += 1
            if done <= WARM_UP * count:
                before = Figures.of(stage)
    losses = load.stop()
    with progress.step("what is left") as step:
        left, planned = checks.rest(stage), checks.planned(stage)
        for line in [*left, *planned]:
            progress.say(f"    {line}")
        after = Figures.of(stage)
        with checks.planted(stage):
            seen = len(checks.left(stage))
    return [
        *_outcome(rounds, load, done),
        *_losses(losses, alone, 2 * (len(rounds.plugs) + 2 * load.pods)),
        Measure("left on the nodes and in OVN", len(left), "things", 0),
        Measure("steps in the agents' plans", len(planned), "steps", 0),
        Measure("control: a planted link that is not seen", int(seen <= len(left)), "", 0),
        *_grown(before, after),
    ]


def _outcome(rounds: Rounds, load: Load, count: int) -> list[Measure]:
    slow = max(rounds.plugs, default=0.0), max(rounds.unplugs, default=0.0)
    middle = [statistics.median(each) if each else 0 for each in (rounds.plugs, rounds.unplugs)]
    return [
        Measure("rounds", count, "", None),
        Measure("rounds that failed", len(rounds.failures), f"of {count}", 0),
        Measure("other pods that came meanwhile", load.pods, "pods", None),
        Measure("plug, edit to result, median", round(middle[0], 2), "s", None),
        Measure("plug, edit to result, slowest", round(slow[0], 2), "s", None),
        Measure("unplug, edit to result, median", round(middle[1], 2), "s", None),
        Measure("unplug, edit to result, slowest", round(slow[1], 2), "s", None),
    ]


def _losses(under: Losses, alone: Losses, changes: int) -> list[Measure]:
    """Return what the interfaces that stay lost, and what they lose by ports of no pod.

    ``changes`` is how many ports came or went under load.
    """
    each = [1000 * under.lost / max(changes, 1), 1000 * alone.lost / (2 * BARE)]
    return [
        Measure("pings by the interfaces that stay", under.sent, "packets", None),
        Measure("most that one of them lost in a row", under.longest, "packets of 20 ms", 10),
        Measure("lost by all of them", round(under.percent, 3), "%", None),
        Measure("lost for 1000 ports that came or went", round(each[0]), "packets", None),
        Measure("the same for ports of no pod, without the agent", round(each[1]), "packets", None),
    ]


def _grown(before: Figures, after: Figures) -> list[Measure]:
    """Return what has grown since the first fifth of the rounds."""
    units = {"rss": "MiB", "database": "KiB"}
    return [
        Measure("agents that ended", int(before.pid != after.pid), "", 0),
        *(
            Measure(
                f"growth of {name}",
                round(getattr(after, name) - getattr(before, name), 2),
                units.get(name, ""),
                most,
            )
            for name, most in GROWTH.items()
        ),
    ]


if __name__ == "__main__":
    sys.exit(main())
