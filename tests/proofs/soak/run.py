"""One fault after another, each followed by everything that must hold."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import count

from kit import tracebacks
from proofs.drift.pings import Pings
from proofs.drift.report import Report
from proofs.soak import report
from proofs.soak.acts import Acts
from proofs.soak.faults import Fault, order
from proofs.soak.log import Log
from proofs.soak.report import Row
from proofs.soak.samples import Samples
from proofs.soak.stage import UNTOUCHED, Stage
from proofs.soak.verify import Verdict, verify
from testbed import progress
from testbed.service import BedError

PINGED = 3  # pods, of those that no fault hits
assert PINGED <= UNTOUCHED


@contextmanager
def _noting(verdict: Verdict, what: str) -> Iterator[None]:
    """Turn an error of the block into a finding, so that the next fault has its turn."""
    try:
        yield
    except (BedError, OSError, LookupError, ValueError, subprocess.SubprocessError) as error:
        verdict.findings[what] = f"{type(error).__name__}: {error}"[:600]


@dataclass
class Soak:
    """A run: its faults, what was found after each, and the samples."""

    stage: Stage
    found: Report
    seed: int
    seconds: float
    verdicts: list[Verdict] = field(default_factory=list)
    kills: int = 0

    def __post_init__(self) -> None:
        """Create what runs beside the faults."""
        self.acts = Acts(self.stage, self.seed)
        self.samples = Samples(self.stage)
        self.log = Log(self.stage.node, self.found.evidence / "agent.log")

    def run(self, only: list[str]) -> None:
        """Inflict faults until the time is over."""
        rng, began = random.Random(f"{self.seed} faults"), time.monotonic()
        self.samples.take()
        self.acts.start()
        try:
            with progress.step(f"faults for {self.seconds / 60:g} minutes, seed {self.seed}"):
                for number, fault in zip(count(1), order(rng, only), strict=False):
                    gone = time.monotonic() - began
                    if gone >= self.seconds:
                        break
                    hold = rng.uniform(*fault.seconds)
                    if fault.early and gone > self.seconds / 2 and self.kills:
                        continue
                    self._one(number, fault, hold, rng)
        finally:
            self.acts.stop()
            self.log.stop()
            self.found.dump("acts", counts=self.acts.counts, errors=self.acts.errors)
            self.found.dump("samples", rows=self.samples.rows)

    def _one(self, number: int, fault: Fault, hold: float, rng: random.Random) -> None:
        """Inflict one fault and record what is found after it."""
        began = time.monotonic()
        pings = Pings(
            self.stage.env.bed,
            self.stage.env.targets[:PINGED],
            self.found.evidence / "pings" / f"{number:03d}",
        )
        self.kills += fault.early
        verdict = Verdict(fault.name, number, fault.within)
        with _noting(verdict, "the fault itself"), fault.inflict(self.stage, rng):
            time.sleep(hold)
        with self.acts.lock, _noting(verdict, "the verification itself"):
            verify(self.stage, self.acts, verdict)
            windows = pings.stop()
            verdict.lost = sum(window.lost for window in windows)
            if fault.forwards and verdict.lost:
                verdict.findings["lost packets"] = [w.as_json() for w in windows if w.lost]
            self.samples.take()
            self._judge(verdict)
        self.verdicts.append(verdict)
        seconds = time.monotonic() - began
        self.found.dump("faults", **asdict(verdict), hold=hold, took=seconds)
        what = "" if verdict.good else f" NOT GOOD {verdict.findings}"[:1000]
        progress.say(
            f"    {number} {fault.name} for {hold:.1f} s: right after {verdict.seconds:.1f} s,"
            f" {verdict.pods} pods, {verdict.lost} lost, {seconds:.0f} s in all{what}"
        )

    def _judge(self, verdict: Verdict) -> None:
        """After a failure, let a new agent try; pods that stay wrong are excluded from then on.

        So one failure counts once, and not again after every fault that follows.
        """
        env = self.stage.env
        if wrong := verdict.findings.get("wrong"):
            self.kills += 1
            self.stage.kill_agent()
            time.sleep(30)
            still = env.wrong()
            self.found.dump("stuck", fault=verdict.fault, wrong=wrong, after_a_new_agent=still)
            env.targets = [each for each in env.targets if each.pod not in still]
        if verdict.findings.get("sentinels"):
            env.record_sentinels()

    def rows(self) -> list[Row]:
        """Return the report's rows."""
        unknown = tracebacks.unknown(self.log.text())
        names = "; ".join(f"{count} x {name}" for name, count in unknown.most_common(20))
        ends = len(self.samples.lives) - 1 - self.kills
        rows = [
            Row("faults", len(self.verdicts), "", "", bool(self.verdicts), self._acts()),
            Row("faults after which something is wrong", self._bad(), "", "0", not self._bad()),
            Row("tracebacks without a test", len(unknown), "kinds", "0", not unknown, names),
            Row("ends of the agent that no fault asked for", ends, "", "0", ends <= 0),
        ]
        return [*rows, *report.of_faults(self.verdicts), *report.of_growth(self.samples)]

    def _bad(self) -> int:
        return sum(not verdict.good for verdict in self.verdicts)

    def _acts(self) -> str:
        counts = sorted(self.acts.counts.items())
        return ", ".join(f"{n} {what}" for what, n in counts)
