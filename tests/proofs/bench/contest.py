"""The contest: every contender in every round, in an order drawn anew each time, so that all meet the same weather."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from proofs.bench import rows
from proofs.bench.contenders import AGENT, FLOOR, RIVAL, Contender, Plugin
from proofs.bench.pods import Pod
from proofs.bench.rows import Samples
from proofs.bench.stage import Outcome, Stage
from testbed import progress

WARM_UP = 3
GROW = 50


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    ports: Sequence[int]
    rounds: int
    starts: int
    bursts: dict[int, int]  # how many pods at once, and how often

    @property
    def pods(self) -> int:
        """The standing ones, and those that come and go."""
        return max(self.ports) + max(*self.bursts, GROW)


FULL = Size((10, 100, 250), 20, 200, {1: 20, 10: 10, 50: 5, 100: 5})
QUICK = Size((10, 100), 5, 30, {1: 5, 10: 2, 100: 1})
BURST_PORTS = 100


@dataclass(slots=True)
class Contest:
    """Runs everything and keeps what was measured in `samples`."""

    stage: Stage
    contenders: dict[str, Contender]
    empty: Path
    size: Size
    samples: Samples = field(default_factory=Samples)
    standing: int = 0

    def run(self, note: Callable[[str], None]) -> None:
        self.stage.settle()
        self.samples.memory[0] = self.stage.agent_mib
        self._starts()
        for ports in self.size.ports:
            note(f"{ports} ports: attaching them")
            self._grow(ports)
            for number in range(-WARM_UP, self.size.rounds):
                note(
                    f"{ports} ports: round {number} of {self.size.rounds}"
                    if number >= 0
                    else f"{ports} ports: warm-up"
                )
                for contender in self._drawn():
                    self._alone(contender, number)
            if ports == BURST_PORTS:
                self._bursts(note)
        self.stage.settle()
        self.samples.memory[self.standing] = self.stage.agent_mib

    def _starts(self) -> None:
        """VERSION, which needs no agent, beside a static program that does nothing."""
        plugin = self.contenders[AGENT]
        assert isinstance(plugin, Plugin)
        jobs = {AGENT: plugin.version(), FLOOR: [[str(self.empty)], {}, ""]}
        for number in range(-WARM_UP, self.size.starts):
            for who in self.stage.random.sample(list(jobs), len(jobs)):
                _, done = self.stage.command({"kind": "run", "jobs": [jobs[who]]})
                if number >= 0:
                    self.samples.add(rows.START, who, 0, [each.ms for each in done])

    def _grow(self, ports: int) -> None:
        """Real pods, attached by the agent; they stay."""
        while self.standing < ports:
            chosen = self.stage.pods[self.standing : min(ports, self.standing + GROW)]
            self.stage.play(
                self.contenders[AGENT].add([(pod, self.stage.sandbox()) for pod in chosen])
            )
            self.standing += len(chosen)

    def _drawn(self) -> list[Contender]:
        return self.stage.random.sample(list(self.contenders.values()), len(self.contenders))

    def _alone(self, contender: Contender, number: int) -> None:
        added, deleted = self._once(contender, 1, verify=number < 0)
        if number < 0:
            return
        self._keep(rows.ALONE, contender, added)
        if contender.name != RIVAL:  # what cleaned up after it was the floor
            self.samples.add(
                rows.DELETE, contender.name, self.standing, [each.ms for each in deleted.done]
            )
        if contender.name == AGENT:
            self.samples.add(rows.CPU_ALONE, AGENT, self.standing, [added.cpu_ms])
            self.samples.add(rows.CPU_DELETE, AGENT, self.standing, [deleted.cpu_ms])

    def _bursts(self, note: Callable[[str], None]) -> None:
        for many, often in self.size.bursts.items():
            for number in range(-1, often):
                note(f"bursts of {many}: {number + 1} of {often}")
                for contender in self._drawn():
                    self._burst(contender, many, number)

    def _burst(self, contender: Contender, many: int, number: int) -> None:
        added, _ = self._once(contender, many, verify=number < 0)
        if number < 0:
            return
        self._keep(f"{rows.BURST} {many}", contender, added, many / added.wall_ms * 1000)
        if contender.name == AGENT:
            self.samples.add(
                f"{rows.CPU_BURST} {many}", AGENT, self.standing, [added.cpu_ms / many]
            )

    def _once(self, contender: Contender, many: int, *, verify: bool) -> tuple[Outcome, Outcome]:
        """`many` pods attached at once and detached again."""
        free = self.stage.pods[self.size.pods - max(*self.size.bursts, GROW) :]
        chosen: list[tuple[Pod, str]] = [
            (pod, self.stage.sandbox()) for pod in self.stage.random.sample(free, many)
        ]
        added = self.stage.play(contender.add(chosen))
        if verify:
            self.stage.verify(contender, chosen)
        deleted = self.stage.play(contender.delete(chosen))
        return added, deleted

    def _keep(
        self, what: str, contender: Contender, added: Outcome, rate: float | None = None
    ) -> None:
        times = [each.ms for each in added.done]
        self.samples.add(what, contender.name, self.standing, times, rate)
        if contender.name == RIVAL:
            parts = [each.part_ms for each in added.done]
            self.samples.add(what, f"{RIVAL}, {rows.VSCTL}", self.standing, parts)


def play(stage: Stage, contenders: dict[str, Contender], empty: Path, size: Size) -> Samples:
    contest = Contest(stage, contenders, empty, size)
    with progress.step("contest") as step:
        contest.run(step.note)
    return contest.samples
