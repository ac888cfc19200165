"""What happens all the time: faults of single pods, edits, pods that come and go."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from threading import Event, Lock, Thread

from proofs.drift import trials
from proofs.drift.faults import CUSTOM, GATEWAYS
from proofs.drift.pods import pod_body
from proofs.drift.table import FAULTS
from proofs.soak.stage import UNTOUCHED, Stage
from testbed.service import BedError

TRANSIENT_PODS = 8
PAUSE = (0.05, 0.8)  # seconds between two acts
FAST = [fault for fault in FAULTS if fault.fast]


@dataclass
class Acts:
    """A thread of random acts, one at a time.

    Whoever holds `lock` keeps the next act from beginning. `counts` has how often each act
    succeeded. While a part of the node is away, acts fail by design, and are in `errors`.
    """

    stage: Stage
    seed: int
    lock: Lock = field(default_factory=Lock)
    counts: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    _edited: set[str] = field(default_factory=set)
    _stopped: Event = field(default_factory=Event)
    _thread: Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = Thread(target=self._run, name="acts")
        self._thread.start()

    def stop(self) -> None:
        """Begin no further act, and wait for the end of the last one."""
        self._stopped.set()
        if self._thread:
            self._thread.join(timeout=120)

    def _run(self) -> None:
        rng = random.Random(f"{self.seed} acts")
        kinds = {"fault": self._fault, "edit": self._edit, "transient pod": self._transient}
        while not self._stopped.wait(rng.uniform(*PAUSE)):
            (name,) = rng.choices(list(kinds), (6, 1, 3))
            with self.lock:
                try:
                    kinds[name](rng)
                    self.counts[name] += 1
                except (OSError, BedError, ValueError) as error:
                    self.errors.append(f"{name}: {error}"[:300])

    def _fault(self, rng: random.Random) -> None:
        """Inject a random fault into a random pod."""
        fault = rng.choice(FAST)
        pods = self.stage.env.targets[UNTOUCHED:]
        victim = rng.choice([each for each in pods if each.limited or not fault.limited])
        self.stage.env.exec_agent.ask("tools", tools=trials.item(victim, fault)["tools"])
        if cleaning := fault.cleanup(victim):
            time.sleep(0.5)
            self.stage.env.exec_agent.ask("tools", tools=cleaning)

    def _edit(self, rng: random.Random) -> None:
        """Change the custom routes of a random pod."""
        name = rng.choice(self.stage.env.targets[UNTOUCHED:]).pod
        self._edited.add(name)
        self._set_routes(name, {f"100.64.{rng.randrange(256)}.0/24": GATEWAYS[0]})

    def _transient(self, rng: random.Random) -> None:
        """Create a random transient pod, or delete it if it exists, with or without grace."""
        name, force = f"transient{rng.randrange(TRANSIENT_PODS)}", rng.random() < 0.3
        try:
            self.stage.env.bed.api.create("/api/v1/namespaces/default/pods", pod_body(name))
            self.counts["ADD"] += 1
        except OSError:  # it exists
            words = ("--force", "--grace-period=0") if force else ()
            self.stage.env.bed.kubectl("delete", "pod", name, "--wait=false", *words)
            self.counts["DEL"] += 1

    def restore_routes(self) -> None:
        """Undo the edits, so that right means as at first. Only with the lock held."""
        for name in sorted(self._edited):
            self._set_routes(name, dict(zip(CUSTOM, GATEWAYS, strict=True)))
        self._edited.clear()

    def _set_routes(self, name: str, routes: dict[str, str]) -> None:
        value = json.dumps([{"dst": dst, "gw": gateway} for dst, gateway in routes.items()])
        self.stage.env.cluster.annotate(name, routes=value)
