"""The rounds of a soak in the virtual machine, and what must hold after each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import Any

from proofs.drift.pings import Pings, Window
from proofs.drift.report import Report
from proofs.kernel.churn import Churn
from proofs.kernel.reboot import left_of
from proofs.kernel.stage import KernelEnvironment
from proofs.soak.report import Row
from proofs.soak.samples import FIGURES, KIB
from testbed import progress
from testbed.service import BedError, wait_for

ACTS, OUTAGE_EVERY = 12, 3
RIGHT_SECONDS, REACHED_SECONDS = 60.0, 15.0
_STATUS = "cat /proc/{pid}/status; echo descriptors: $(ls /proc/{pid}/fd | wc -l)"


@dataclass(frozen=True, slots=True)
class Round:
    """What was found after one round; ``seconds`` passed until everything had been looked at."""

    title: str
    outage: bool
    seconds: float
    sent: int
    lost: int
    findings: dict[str, Any]


@dataclass
class Rounds:
    """The rounds of a run, and samples of the agent after each."""

    env: KernelEnvironment
    report: Report
    churn: Churn
    done: list[Round] = field(default_factory=list)
    samples: list[dict[str, float]] = field(default_factory=list)

    @property
    def lives(self) -> set[float]:
        """The PIDs of the agents that were seen."""
        return {sample["life"] for sample in self.samples}

    def run(self, seconds: float) -> None:
        """Begin rounds until the time is over."""
        self._sample()
        began, number = time.monotonic(), count(1)
        with progress.step(f"rounds for {seconds / 60:g} minutes, seed {self.report.seed}"):
            while time.monotonic() - began < seconds:
                self._round(next(number))

    def _round(self, number: int) -> None:
        outage, title = number % OUTAGE_EVERY == 0, f"{number}"
        pinged = self.churn.untouched
        pings = Pings(self.env.bed, pinged, self.env.evidence / "pings" / f"{number:03d}")
        for _ in range(ACTS):
            self.churn.act()
        if outage:
            title += f" {self.churn.outage(number // OUTAGE_EVERY - 1)}"
        findings, seconds, windows = self._verify(pings)
        sent, lost = sum(each.sent for each in windows), sum(each.lost for each in windows)
        found = Round(title, outage, round(seconds, 1), sent, lost, findings)
        self.done.append(found)
        self.report.dump("rounds", **asdict(found), counts=self.churn.counts)
        self._sample()
        what = f" NOT GOOD {findings}" if findings else ""
        progress.say(
            f"    {title}: right after {seconds:.1f} s, {lost} of {sent} lost{what}"[:1000]
        )

    def _verify(self, pings: Pings) -> tuple[dict[str, Any], float, list[Window]]:
        """Wait until all is right. Return what is wrong, and the seconds that all of it took.

        The pings end when nothing is left to repair: ovs-vswitchd answers for the gateways, and an
        emulated one has no time for other pings beside so many.
        """
        env, churn, began = self.env, self.churn, time.monotonic()
        env.exec_agent.ask("tools", tools=churn.cleanup)
        churn.cleanup.clear()
        pods, within = [*env.targets, *churn.coming], RIGHT_SECONDS * env.patience
        found: dict[str, Any] = {"wrong": _eventually(env.wrong, within)}
        windows = pings.stop()
        found["unreachable"] = env.traffic(pods, REACHED_SECONDS)
        found["CHECK"] = env.cni_check(pods)
        found["left"] = _eventually(lambda: left_of(env, churn.gone), within)
        found["sentinels"] = env.changed_sentinels(5)
        wrong = {name: what for name, what in found.items() if what}
        return wrong, time.monotonic() - began, windows

    def _sample(self) -> None:
        (pid,) = self.env.agent_pids()
        text = self.env.bed.node().sh(_STATUS.format(pid=pid))
        status = dict(line.split(":", 1) for line in text.splitlines())
        self.samples.append(
            {
                "life": float(pid),
                "RSS": float(status["VmRSS"].split()[0]) / KIB,
                "descriptors": float(status["descriptors"]),
                "threads": float(status["Threads"]),
            }
        )

    def growth(self) -> Iterator[Row]:
        """Yield a row for each figure of the agent, whose largest sample is bounded."""
        for figure in FIGURES:
            values = [sample.get(figure.name) for sample in self.samples]
            if figure.agents and all(value is not None for value in values):
                known = [value for value in values if value is not None]
                note = f"{len(known)} samples of {len(self.lives)} agents, from {min(known):.1f}"
                unit, _, _ = figure.unit.partition("/")
                most, bound = max(known), f"<= {figure.most:g}"
                name = f"the agent: {figure.name}, most"
                yield Row(name, round(most, 1), unit, bound, most <= figure.most, note)


def _eventually(look: Callable[[], dict[str, Any]], timeout: float) -> dict[str, Any]:
    """Return the first answer that is empty, or the last one of the time."""
    answers: list[dict[str, Any]] = []

    def empty() -> bool:
        answers.append(look())
        return not answers[-1]

    try:
        wait_for(empty, "nothing", timeout, every=0.5)
    except BedError:
        if not answers:
            raise
    return answers[-1]
