"""What a soak in the virtual machine does: faults of pods, ADDs, DELs, edits, and outages."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import count

from proofs.drift import trials
from proofs.drift.environment import SENTINEL_POD
from proofs.drift.faults import Fault, Tools
from proofs.drift.observe import Target
from proofs.drift.outages import IN_OVS, Outage
from proofs.drift.table import BY_NAME
from proofs.kernel.faults import FAULTS, OUTAGES
from proofs.kernel.stage import PODS, KernelEnvironment
from testbed.assign import DOMAIN

UNTOUCHED, MOST = 3, 8  # pods that no fault hits; pods that come and go
WEIGHTS = {"fault": 6, "add": 2, "delete": 1, "edit": 2}
RESTARTED = ("ovs-vswitchd restarted", "ovsdb-server restarted", "ovn-controller restarted")
KILLED = "agent killed"


@dataclass
class Churn:
    """The acts, drawn at random. ``coming`` are the pods that come and go beside the targets."""

    env: KernelEnvironment
    rng: random.Random
    coming: list[Target] = field(default_factory=list)
    gone: list[Target] = field(default_factory=list)
    cleanup: Tools = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Choose the pods that nothing touches."""
        self.names, self.faults = count(2, 2), [fault for fault in FAULTS if fault.fast]
        own = [target for target in self.env.targets if target.pod != SENTINEL_POD]
        self.untouched, self.broken = own[:UNTOUCHED], own[UNTOUCHED:]
        kinds = {outage.name: outage for outage in OUTAGES}
        self.outages: list[Outage | None] = [*(kinds[name] for name in RESTARTED), None]

    def act(self) -> str:
        """Carry out one act, and return what it was."""
        (kind,) = self.rng.choices(list(WEIGHTS), list(WEIGHTS.values()))
        match kind:
            case "add" if len(self.coming) < MOST:
                return self._add()
            case "delete" if self.coming:
                return self._delete()
            case "edit" if self.coming:
                return self._edit()
            case _:
                return self._break()

    def outage(self, number: int) -> str:
        """Carry out an outage, in turns, in which pods are broken. Return its name."""
        outage = self.outages[number % len(self.outages)]
        names = outage.faults if outage else IN_OVS
        pods = self.rng.sample(self.broken, len(names))
        faulted = list(zip(pods, (BY_NAME[name] for name in names), strict=True))
        if outage is None:
            self._kill()
            self._inject(faulted)
            self.env.restore_agent()
            self.counts["agents killed"] += 1
            return KILLED
        with outage.take_down(self.env, outage.seconds):
            self._inject(faulted)
        self.counts["outages"] += 1
        return outage.name

    def _kill(self) -> None:
        for pid in self.env.agent_pids():
            self.env.bed.node().run(["kill", "-KILL", str(pid)])

    def _draw(self, target: Target) -> Fault:
        fit = [each for each in self.faults if target in trials.candidates(self.env, each)]
        return self.rng.choice(fit)

    def _break(self) -> str:
        target = self.rng.choice(self.broken)
        fault = self._draw(target)
        self._inject([(target, fault)])
        return f"{fault.name} on {target.pod}"

    def _inject(self, faulted: list[tuple[Target, Fault]]) -> None:
        """Break pods; a tool may fail, where the fault before it is not repaired yet."""
        for target, fault in faulted:
            lines = [
                [word, *["--no-wait"] * (word == "ovs-vsctl"), *rest]
                for word, *rest in fault.tools(target)
            ]
            self.env.exec_agent.ask("tools", tools=lines)
            self.cleanup += fault.cleanup(target)
        self.counts["faults"] += len(faulted)

    def _add(self) -> str:
        (pod,) = self.env.make_pods([f"new{next(self.names)}"])
        self.coming.append(self.env.add(pod))
        self.counts["ADDs"] += 1
        return f"ADD of {pod['pod']}"

    def _delete(self) -> str:
        target = self.coming.pop(self.rng.randrange(len(self.coming)))
        self.env.detach(target)
        self.gone.append(target)
        self.counts["DELs"] += 1
        return f"DEL of {target.pod}"

    def _edit(self) -> str:
        """Give a pod other rates."""
        index = self.rng.randrange(len(self.coming))
        old, ingress, egress = self.coming[index], *(self.rng.randrange(5, 200) for _ in range(2))
        rates = {f"{DOMAIN}/ingress_rate": str(ingress), f"{DOMAIN}/egress_rate": str(egress)}
        self.env.bed.api.patch(f"{PODS}/{old.pod}", {"metadata": {"annotations": rates}})
        self.coming[index] = replace(old, ingress=ingress, egress=egress)
        self.counts["edits"] += 1
        return f"edit of {old.pod}"
