"""ADDs that begin in a resync of 500 attachments, against those on the same node at rest."""

from __future__ import annotations

import time
from pathlib import Path

from proofs.bench.environment import Environment, cpu, provisioned
from proofs.bench.implementations import AGENT, all_implementations
from proofs.bench.large import ATTACHMENTS, populate, resyncs
from proofs.bench.measures import Measure, median
from testbed import progress
from testbed.service import wait_for

EVERY, PAIRS, WARM_UP, TRIES = 4, 20, 2, 60
# A resync has begun if the agent used this much of so much time, in seconds. At rest it uses none.
BUSY, SAMPLE = 0.004, 0.005
# Seconds by which a resync's end may be noticed late.
LATE = 0.2
RESYNC, QUIET = "in a resync", "at rest"


class Resyncing:
    """Times ADDs, each of a pod that is detached again."""

    def __init__(self, env: Environment, plugin: Path) -> None:
        self._env, self._attaching = env, all_implementations(plugin, plugin)[AGENT]
        self.times: dict[str, list[float]] = {RESYNC: [], QUIET: []}
        self.durations: list[float] = []
        self.inside = 0

    def prepare(self) -> None:
        """Attach the pods that stay."""
        populate(self._env, self._attaching)

    def pair(self, *, counts: bool) -> bool:
        """Time an ADD on the quiet node, and one after the next resync's beginning.

        Return False, and keep neither, if a resync came too early or had not begun.
        """
        env = self._env
        known, _ = self._prepared()
        quiet = self._add()
        again, spent = self._prepared()
        if again != known:
            return False
        self._wait_busy()
        began = time.monotonic()
        busy = self._add(detach=False)
        inside = resyncs(env)[0] == known
        ended = self._next(known), time.monotonic()
        self._detach()
        duration = resyncs(env)[1] - spent
        if ended[0] != known + 1 or not in_resync(began, duration, ended[1]):
            return False
        if counts:
            self.times[QUIET].append(quiet)
            self.times[RESYNC].append(busy)
            self.durations.append(duration)
            self.inside += inside
        return True

    def _prepared(self) -> tuple[float, float]:
        """Wait for a quiet node. Return how many resyncs have ended, and their seconds."""
        self._env.prepare()
        known = resyncs(self._env)
        self._env.settle()
        return known

    def _add(self, *, detach: bool = True) -> float:
        """Attach a pod and return the milliseconds."""
        self._chosen = [
            (self._env.random.choice(self._env.pods[ATTACHMENTS:]), self._env.sandbox())
        ]
        _, done = self._env.command(self._attaching.add(self._chosen))
        if detach:
            self._detach()
        return done[0].ms

    def _detach(self) -> None:
        self._env.command(self._attaching.delete(self._chosen))

    def _next(self, known: float) -> float:
        """Wait until a further resync has ended. Return how many have."""
        wait_for(lambda: resyncs(self._env)[0] > known, "a resync", 30, every=0.02)
        return resyncs(self._env)[0]

    def _wait_busy(self) -> None:
        def busy() -> bool:
            before = cpu(self._env.agent.pid)
            time.sleep(SAMPLE)
            return cpu(self._env.agent.pid) - before >= BUSY

        wait_for(busy, "a resync to begin", 30, every=0)


def in_resync(began: float, duration: float, ended: float) -> bool:
    """Whether a resync that took so long, and whose end was noticed then, had begun."""
    return ended - duration - LATE <= began <= ended


def run(name: str, plugin: Path, seed: int) -> list[Measure]:
    """Measure on a bed of its own. Return the rows."""
    with provisioned(name, ATTACHMENTS + 5, seed, flags=[f"--resync={EVERY}"]) as env:
        resyncing = Resyncing(env, plugin)
        resyncing.prepare()
        with progress.step(f"{PAIRS} pairs of ADDs") as step:
            good = -WARM_UP
            for _ in range(TRIES):
                step.note(f"{good} of {PAIRS}")
                good += resyncing.pair(counts=good >= 0)
                if good == PAIRS:
                    break
    return rows(resyncing.times, resyncing.durations, resyncing.inside)


def rows(times: dict[str, list[float]], durations: list[float], inside: int) -> list[Measure]:
    """Return the rows."""
    busy, quiet = median(times[RESYNC]), median(times[QUIET])
    return [
        Measure(f"resync: ADD {QUIET}, median", round(quiet, 2), "ms", None),
        Measure(f"resync: ADD {RESYNC} of {ATTACHMENTS}, median", round(busy, 2), "ms", None),
        Measure(f"resync: ADD {RESYNC} divided by {QUIET}", round(busy / quiet, 2), "", None),
        Measure("resync: pairs", len(durations), "", None),
        Measure("resync: of these ended before the resync", inside, "", None),
        Measure("resync: how long it took, median", round(median(durations), 2), "s", None),
    ]
