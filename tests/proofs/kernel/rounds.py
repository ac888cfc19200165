"""The rounds of a soak in the virtual machine, and what must hold after each."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import Any

from proofs.drift.faults import GATEWAYS
from proofs.drift.pings import Pings, Window
from proofs.drift.report import Report
from proofs.kernel.churn import KILLED, Churn
from proofs.kernel.reboot import left_of
from proofs.kernel.stage import KernelEnvironment
from proofs.soak.report import Row
from proofs.soak.samples import FIGURES, KIB
from testbed import progress
from testbed.service import BedError, wait_for

ACTS, OUTAGE_EVERY = 12, 3
RIGHT_SECONDS, REACHED_SECONDS = 60.0, 15.0
BEFORE, UNDER_WAY = 1.0, 2.0  # seconds of pings before the first act; how late an answer may be
_DROPPED = re.compile(r"lost:(\d+)")
_STATUS = "cat /proc/{pid}/status; echo descriptors: $(ls /proc/{pid}/fd | wc -l)"


@dataclass(frozen=True, slots=True)
class Packets:
    """Packets of untouched pods."""

    sent: int
    lost: int

    @classmethod
    def of(cls, windows: Sequence[Window], *, gateways: bool) -> Packets:
        """Return the sums of the pings to gateways, or of all others."""
        own = [each for each in windows if (each.address in GATEWAYS) == gateways]
        return cls(sum(each.sent for each in own), sum(each.lost for each in own))

    def __str__(self) -> str:
        """Return both as text."""
        return f"{self.lost} of {self.sent}"


@dataclass(frozen=True, slots=True)
class Round:
    """What was found after one round; ``seconds`` passed until everything had been looked at.

    The kernel forwards ``between`` untouched pods by the flows in its cache. ovs-vswitchd answers
    for the ``gateways``: ``dropped`` packets did not get to it, because it did not read them in
    time (ovs-dpctl(8), "lost"). An ``outage`` is that of a daemon, whose restart loses some; the
    agent's is none.
    """

    title: str
    outage: bool
    seconds: float
    between: Packets
    gateways: Packets
    dropped: int
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
        title, name = f"{number}", ""
        pings, dropped, ahead = self._ping(number), self._dropped(), self._ahead()
        time.sleep(BEFORE)
        for _ in range(ACTS):
            at = time.time() + ahead
            self.report.dump("acts", round=number, at=at, act=self.churn.act())
        if number % OUTAGE_EVERY == 0:
            title += f" {(name := self.churn.outage(number // OUTAGE_EVERY - 1))}"
        findings, seconds, windows = self._verify(pings)
        dropped = self._dropped() - dropped
        between, gateways = (Packets.of(windows, gateways=to) for to in (False, True))
        outage = name not in ("", KILLED)
        found = Round(title, outage, round(seconds, 1), between, gateways, dropped, findings)
        self.done.append(found)
        gaps = [each.as_json() for each in windows if each.lost]
        self.report.dump("rounds", **asdict(found), counts=self.churn.counts, gaps=gaps)
        self._sample()
        what = f" NOT GOOD {findings}" if findings else ""
        progress.say(
            f"    {title}: right after {seconds:.1f} s, {between} packets between pods and"
            f" {gateways} to gateways lost, {dropped} dropped{what}"[:1000]
        )

    def _ping(self, number: int) -> Pings:
        """Start pings from each untouched pod to the next one, and of one to its gateways."""
        pods = self.churn.untouched
        pairs = zip(pods, [*pods[1:], pods[0]], strict=True)
        addresses = {one.pod: list(other.ips) for one, other in pairs}
        addresses[pods[0].pod] += GATEWAYS
        evidence = self.env.evidence / "pings" / f"{number:03d}"
        return Pings(self.env.bed, pods, evidence, addresses, UNDER_WAY)

    def _dropped(self) -> int:
        """Return how many packets for ovs-vswitchd the kernel's datapath has dropped."""
        return sum(map(int, _DROPPED.findall(self.env.bed.node().run(["ovs-dpctl", "show"]))))

    def _ahead(self) -> float:
        """Return the seconds by which the node's clock is ahead of this machine's."""
        return float(self.env.bed.node().run(["date", "+%s.%N"])) - time.time()

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
