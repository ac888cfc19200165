"""The comparison: every implementation in every round, in a new random order each time.

So all of them meet the same conditions of the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from proofs.bench import rows
from proofs.bench.environment import Environment, Outcome
from proofs.bench.implementations import (
    AGENT,
    FLOOR,
    KUBE_OVN,
    ONE_FLOOR,
    Implementation,
    Plugin,
)
from proofs.bench.pods import Pod
from proofs.bench.rows import Samples
from testbed import progress

WARM_UP = 3
GROW = 50


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured. ``bursts`` has how often for how many pods at once."""

    ports: Sequence[int]
    rounds: int
    starts: int
    bursts: dict[int, int]

    @property
    def pods(self) -> int:
        """The number of pods: those that stay, and those that come and go."""
        return max(self.ports) + max(*self.bursts, GROW)

    def with_bursts(self, often: int) -> Size:
        """Return the same with so many rounds of each burst."""
        return replace(self, bursts=dict.fromkeys(self.bursts, often))


FULL = Size((10, 100, 250, 500), 20, 200, {1: 20, 10: 10, 50: 5, 100: 5})
QUICK = Size((10, 100), 5, 30, {1: 5, 10: 2, 100: 1})
# For the ratios to the floor, of two implementations.
RATIOS = Size((10, 100), 15, 30, {10: 4, 50: 4})
BURST_PORTS = 100
ONLY_BURSTS = replace(FULL, ports=(BURST_PORTS,), rounds=0, starts=0)


@dataclass(slots=True)
class Comparison:
    """Runs everything and keeps what was measured in `samples`."""

    env: Environment
    implementations: dict[str, Implementation]
    empty: Path
    size: Size
    samples: Samples = field(default_factory=Samples)
    standing: int = 0

    def run(self, note: Callable[[str], None]) -> None:
        """Measure everything. It takes minutes; ``note`` gets the progress as text."""
        self.env.settle()
        self.samples.memory[0] = self.env.agent_mib
        self._starts()
        for ports in self.size.ports:
            note(f"{ports} ports: attaching them")
            self._attach_standing(ports)
            for number in range(-WARM_UP, self.size.rounds):
                note(
                    f"{ports} ports: round {number} of {self.size.rounds}"
                    if number >= 0
                    else f"{ports} ports: warm-up"
                )
                for implementation in self._shuffled():
                    if implementation.name != ONE_FLOOR:  # one pod has one process anyway
                        self._measure_one(implementation, number)
            if ports == BURST_PORTS:
                self._bursts(note)
            self.env.settle()
            self.samples.memory[self.standing] = self.env.agent_mib

    def _starts(self) -> None:
        """Measure VERSION, which needs no agent, and a static program that does nothing."""
        plugin = self.implementations[AGENT]
        assert isinstance(plugin, Plugin)
        jobs = {AGENT: plugin.version(), FLOOR: [[str(self.empty)], {}, ""]}
        for number in range(-WARM_UP, self.size.starts):
            for name in self.env.random.sample(list(jobs), len(jobs)):
                _, done = self.env.command({"kind": "run", "jobs": [jobs[name]]})
                if number >= 0:
                    self.samples.add(rows.START, name, 0, [each.ms for each in done])

    def _attach_standing(self, ports: int) -> None:
        """Attach pods by the agent, which stay, until there are so many."""
        while self.standing < ports:
            chosen = self.env.pods[self.standing : min(ports, self.standing + GROW)]
            self.env.run(
                self.implementations[AGENT].add([(pod, self.env.sandbox()) for pod in chosen])
            )
            self.standing += len(chosen)

    def _shuffled(self) -> list[Implementation]:
        return self.env.random.sample(
            list(self.implementations.values()), len(self.implementations)
        )

    def _measure_one(self, implementation: Implementation, number: int) -> None:
        added, deleted = self._attach_and_detach(implementation, 1, verify=number < 0)
        if number < 0:
            return
        self._add_samples(rows.ALONE, implementation, added)
        if implementation.name != KUBE_OVN:  # the floor's DEL removes its pods
            self.samples.add(
                rows.DELETE, implementation.name, self.standing, [each.ms for each in deleted.done]
            )
        self._add_cpu(rows.CPU_ALONE, implementation, added)
        self._add_cpu(rows.CPU_DELETE, implementation, deleted)

    def _bursts(self, note: Callable[[str], None]) -> None:
        for many, often in self.size.bursts.items():
            for number in range(-1, often):
                note(f"bursts of {many}: {number + 1} of {often}")
                for implementation in self._shuffled():
                    self._burst(implementation, many, number)

    def _burst(self, implementation: Implementation, many: int, number: int) -> None:
        added, deleted = self._attach_and_detach(implementation, many, verify=number < 0)
        if number < 0:
            return
        self._add_samples(
            f"{rows.BURST} {many}", implementation, added, many / added.wall_ms * 1000
        )
        self._add_cpu(f"{rows.CPU_BURST} {many}", implementation, added)
        if implementation.name != KUBE_OVN:
            what, times = f"{rows.DELETE_BURST} {many}", [each.ms for each in deleted.done]
            self.samples.add(what, implementation.name, self.standing, times)

    def _add_cpu(self, what: str, implementation: Implementation, outcome: Outcome) -> None:
        """Add the agent's processor time for each pod, or that of the floor's own processes.

        For an ADD, that of Open vSwitch and OVN too.
        """
        many = len(outcome.done)
        if implementation.name in (AGENT, FLOOR, ONE_FLOOR) and what != rows.CPU_DELETE:
            for whose, ms in ((rows.OVS_CPU, outcome.ovs_ms), (rows.OVN_CPU, outcome.ovn_ms)):
                self.samples.add(f"{whose} {what}", implementation.name, self.standing, [ms / many])
        if implementation.name == AGENT:
            self.samples.add(what, AGENT, self.standing, [outcome.cpu_ms / many])
        elif implementation.name in (FLOOR, ONE_FLOOR):
            spent = sum(each.cpu_ms for each in outcome.done)
            self.samples.add(what, implementation.name, self.standing, [spent / many])

    def _attach_and_detach(
        self, implementation: Implementation, many: int, *, verify: bool
    ) -> tuple[Outcome, Outcome]:
        """Attach `many` random pods at once and detach them again."""
        free = self.env.pods[self.size.pods - max(*self.size.bursts, GROW) :]
        chosen: list[tuple[Pod, str]] = [
            (pod, self.env.sandbox()) for pod in self.env.random.sample(free, many)
        ]
        added = self.env.run(implementation.add(chosen))
        if verify:
            self.env.verify(implementation, chosen)
        deleted = self.env.run(implementation.delete(chosen))
        return added, deleted

    def _add_samples(
        self, what: str, implementation: Implementation, added: Outcome, rate: float | None = None
    ) -> None:
        times = [each.ms for each in added.done]
        self.samples.add(what, implementation.name, self.standing, times, rate)
        if implementation.name == KUBE_OVN:
            parts = [each.part_ms for each in added.done]
            self.samples.add(what, f"{KUBE_OVN}, {rows.VSCTL}", self.standing, parts)


def run(
    env: Environment, implementations: dict[str, Implementation], empty: Path, size: Size
) -> Samples:
    """Measure everything with these implementations. Return the samples."""
    comparison = Comparison(env, implementations, empty, size)
    with progress.step("comparison") as step:
        comparison.run(step.note)
    return comparison.samples
