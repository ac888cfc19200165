"""What a run of the table does, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from proofs.drift import checks, control, node_trials, restarts, trials
from proofs.drift.checks import Check
from proofs.drift.environment import Environment
from proofs.drift.faults import Fault
from proofs.drift.outages import Outage
from proofs.drift.report import Report


@dataclass(frozen=True, slots=True)
class Plan:
    """The faults, outages and checks of a run; each fast fault has ``repeats`` trials.

    ``pairs`` is how many random pairs of faults there are. Without ``control`` no row counts.
    """

    faults: Sequence[Fault]
    node_faults: Sequence[Fault]
    outages: Sequence[Outage]
    checks: Sequence[Check]
    repeats: int
    pairs: int = 0
    agent_restart: bool = False
    control: bool = True

    def containing(self, *words: str) -> Plan:
        """Return the plan with only what has one of the words in its name; without words all."""
        if not words:
            return self

        def wanted(each: Fault | Outage | Check) -> bool:
            return any(word in each.name for word in words)

        return replace(
            self,
            faults=[fault for fault in self.faults if wanted(fault)],
            node_faults=[fault for fault in self.node_faults if wanted(fault)],
            outages=[outage for outage in self.outages if wanted(outage)],
            checks=[check for check in self.checks if wanted(check)],
            agent_restart=False,
        )

    def once(self, longest: float) -> Plan:
        """Return the plan without pairs, checks and outages of more than ``longest`` seconds.

        First come the faults of the node that spend a remedy: the agent has two in a row, and
        others may spend one too.
        """
        return replace(
            self,
            node_faults=sorted(self.node_faults, key=lambda fault: -fault.min_interval),
            outages=[outage for outage in self.outages if outage.seconds <= longest],
            checks=[],
            repeats=1,
            pairs=0,
            agent_restart=False,
        )

    def run(self, env: Environment, report: Report) -> None:
        """Run all trials, outages and checks, those of a class followed by their control runs.

        So an interrupted run has rows that count.
        """
        seed = report.seed
        chosen = trials.draw(self.faults, self.pairs, seed)
        trials.fast(env, report, self.faults, self.repeats, seed)
        trials.pairs(env, report, chosen, seed)
        trials.slow(env, report, self.faults, self.repeats, seed)
        if self.control:
            control.run(env, report, self.faults, chosen)
        node_trials.run(env, report, self.node_faults, self.repeats, seed)
        if self.control:
            node_trials.control(env, report, self.node_faults)
        restarts.run(env, report, self.outages, seed)
        if self.control:
            restarts.control(env, report, self.outages, seed)
        if self.agent_restart:
            checks.restart(env, report)
        checks.run(env, report, self.checks, seed)
        if self.control:
            checks.control(env, report, self.checks, seed)
