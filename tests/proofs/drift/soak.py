"""Random faults for minutes, together with ADDs, DELs, edits, killed agents and API server
outages.

At its end every remaining pod is right and passes CHECK, nothing of a deleted one is left, and
untouched pods lost no packet.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from threading import Event, Thread

from proofs.drift import trials
from proofs.drift.environment import NS, Environment
from proofs.drift.faults import CUSTOM, GATEWAYS
from proofs.drift.observe import Target
from proofs.drift.outages import OUTAGES
from proofs.drift.pings import Pings, summary
from proofs.drift.pods import pod_body, target_of
from proofs.drift.report import Report
from proofs.drift.table import FAULTS
from testbed import deploy, progress
from testbed.inventory import inventory
from testbed.service import BedError, wait_for

UNTOUCHED_PODS, TRANSIENT_PODS = 10, 8
FAST = [fault for fault in FAULTS if fault.fast]


@dataclass
class Chaos:
    """The threads' shared state.

    Untouched pods are pinged, faulted pods are broken, transient pods come and go.

    `counts` has how often each act succeeded, `seen` every container ID that existed.
    """

    env: Environment
    report: Report
    seed: int
    stopped: Event = field(default_factory=Event)
    seen: set[str] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    @property
    def untouched(self) -> list[Target]:
        """The pods that no fault hits."""
        return self.env.targets[:UNTOUCHED_PODS]

    @property
    def faulted(self) -> list[Target]:
        """The pods that faults hit."""
        return self.env.targets[UNTOUCHED_PODS:]

    @property
    def summary(self) -> str:
        return ", ".join(f"{count} {what}" for what, count in sorted(self.counts.items()))

    def count(self, what: str) -> None:
        """Count one act of this name."""
        self.counts[what] = self.counts.get(what, 0) + 1

    def repeat(
        self, name: str, act: Callable[[random.Random], None], least: float, most: float
    ) -> Thread:
        """Repeat an act in a thread with random pauses, until `stopped`. Failures go to `errors`.

        While the API server is away, acts fail by design.
        """

        def loop() -> None:
            rng = random.Random(f"{self.seed} {name}")
            while not self.stopped.wait(rng.uniform(least, most)):
                try:
                    act(rng)
                    self.count(name)
                except (OSError, BedError, ValueError) as error:
                    self.errors.append(f"{name}: {error}"[:300])

        thread = Thread(target=loop, name=name)
        thread.start()
        return thread

    def fault(self, rng: random.Random) -> None:
        """Inject a random fault into a random pod."""
        fault = rng.choice(FAST)
        victim = rng.choice([each for each in self.faulted if each.limited or not fault.limited])
        self.env.exec_agent.ask("tools", tools=trials.item(victim, fault)["tools"])
        if cleaning := fault.cleanup(victim):
            time.sleep(0.5)
            self.env.exec_agent.ask("tools", tools=cleaning)

    def edit(self, rng: random.Random) -> None:
        """Change the custom routes of a random faulted pod."""
        gateway, third = GATEWAYS[0], rng.randrange(256)
        self._annotate(
            rng.choice(self.faulted).pod, [{"dst": f"100.64.{third}.0/24", "gw": gateway}]
        )

    def transient(self, rng: random.Random) -> None:
        """Create a random transient pod, or delete it if it exists, with or without grace."""
        name = f"transient{rng.randrange(TRANSIENT_PODS)}"
        try:
            self.env.bed.api.create("/api/v1/namespaces/default/pods", pod_body(name))
            self.count("ADD")
        except OSError:  # it exists
            self.note_sandboxes()
            force = ("--force", "--grace-period=0") if rng.random() < 0.3 else ()
            self.env.bed.kubectl("delete", "pod", name, "--wait=false", *force)
            self.count("DEL")

    def kill(self, _chance: random.Random) -> None:
        """Kill the agent and delete its pod: kubelet alone would wait longer each time to restart
        it.
        """
        for pid in self.env.agent_pids():
            self.env.bed.node().run(["kill", "-KILL", str(pid)])
        self.env.bed.kubectl(*NS, "delete", "pod", *deploy.agent_pods(self.env.bed), "--wait=false")

    def outage(self, rng: random.Random) -> None:
        """Stop the API server for up to 10 s.

        No other component: without its database or ovs-vswitchd, a userspace datapath passes no
        packet.
        """
        (outage,) = [outage for outage in OUTAGES if outage.name.startswith("API server")]
        with outage.take_down(self.env, rng.uniform(0.2, 10)):
            pass

    def note_sandboxes(self) -> None:
        """Add the present container IDs to `seen`."""
        with suppress(BedError, ValueError):  # a record is being written
            self.seen |= {
                record["attachment"]["container_id"] for record in self.env.cluster.records()
            }

    def _annotate(self, pod: str, routes: list[dict[str, str]]) -> None:
        self.env.cluster.annotate(pod, routes=json.dumps(routes))

    def restore_routes(self) -> None:
        """Undo the edits, so that right means as at first."""
        routes = [
            {"dst": dst, "gw": gateway} for dst, gateway in zip(CUSTOM, GATEWAYS, strict=True)
        ]
        for each in self.faulted:
            self._annotate(each.pod, routes)


def run(env: Environment, report: Report, minutes: float, seed: int) -> None:
    """Run the random faults for so many minutes, then record as proofs what they left."""
    chaos = Chaos(env, report, seed)
    pings = Pings(env.bed, chaos.untouched, report.evidence / "pings")
    threads = [
        chaos.repeat("fault", chaos.fault, 0.05, 0.6),
        chaos.repeat("edit", chaos.edit, 0.5, 4),
        chaos.repeat("transient pod", chaos.transient, 0.5, 3),
        chaos.repeat("agent killed", chaos.kill, 40, 90),
        chaos.repeat("API server away", chaos.outage, 30, 80),
    ]
    began = time.monotonic()
    with progress.step(f"random faults for {minutes:g} minutes, seed {seed}") as step:
        while (gone := time.monotonic() - began) < minutes * 60:
            step.note(f"{gone:.0f} s: {chaos.summary}")
            chaos.note_sandboxes()
            time.sleep(1)
        chaos.stopped.set()
        for thread in threads:
            thread.join(timeout=60)
    _verify(chaos, pings)


def _verify(chaos: Chaos, pings: Pings) -> None:
    env, report = chaos.env, chaos.report
    with progress.step("checking what is left"):
        env.bed.kubectl(*NS, "rollout", "status", deploy.DAEMONSET, "--timeout=90s", timeout=100)
        chaos.restore_routes()
        remaining = _remaining(chaos)
        try:
            wait_for(lambda: not env.wrong(), "every pod to be right", timeout=90, every=0.5)
        except BedError:
            report.dump("soak", wrong=env.wrong())
        windows = pings.stop()
        wrong, unreachable, failed = (
            env.wrong(),
            env.traffic(remaining, 15),
            env.cni_check(remaining),
        )
        left, changed = _left(chaos, remaining), env.changed_sentinels(5)
    report.dump(
        "soak",
        counts=chaos.counts,
        errors=chaos.errors,
        left=left,
        wrong=wrong,
        unreachable=unreachable,
        check=failed,
    )
    report.dump("soak", pings=[asdict(window) for window in windows], changed=changed)
    _prove_pods(chaos, remaining, (wrong, unreachable), failed)
    deleted = len(chaos.seen) - len(remaining)
    report.prove(f"nothing is left of {deleted} deleted sandboxes", not left, _short(left))
    report.prove("sentinels unchanged", not changed, _short(changed))
    lost = sum(window.lost for window in windows)
    report.prove("untouched pods lost no packet of a 20 ms ping", lost == 0, summary(windows))


def _prove_pods(
    chaos: Chaos, remaining: list[Target], drift: tuple[object, object], failed: dict[str, str]
) -> None:
    acts, count = ("fault", "ADD", "DEL", "edit"), len(remaining)
    chaos.report.prove(
        "faults took place", min(chaos.counts.get(act, 0) for act in acts) > 0, chaos.summary
    )
    chaos.report.prove(f"{count} remaining pods are right", not any(drift), _short(*drift))
    chaos.report.prove(f"CHECK passes for {count} remaining pods", not failed, _short(failed))


def _remaining(chaos: Chaos) -> list[Target]:
    """Return all pods that stay, once those under deletion are gone."""

    def settled() -> list[Target] | None:
        pods = chaos.env.cluster.pods()
        if any(
            "deletionTimestamp" in pod["metadata"] or pod["status"]["phase"] != "Running"
            for pod in pods
        ):
            return None
        return [target_of(pod) for pod in chaos.env.cluster.running(len(pods), timeout=5)]

    remaining = wait_for(settled, "transient pods to run or to be gone", timeout=180, every=1)
    chaos.seen |= {each.container_id for each in remaining}
    return remaining


def _left(chaos: Chaos, remaining: list[Target]) -> list[str]:
    """Return what the node's inventory still has of deleted sandboxes.

    kubelet gets up to 120 s for its last DEL.
    """
    gone = chaos.seen - {each.container_id for each in remaining}

    def named() -> list[str]:
        found = inventory(chaos.env.bed.node())
        things = [
            (section, key, json.dumps(facts))
            for section, keyed in found.items()
            for key, facts in keyed.items()
        ]
        return [
            f"{s}: {key}"
            for s, key, facts in things
            if any(each[:12] in key + facts for each in gone)
        ]

    with suppress(BedError):
        wait_for(lambda: not named(), "the last traces to go", timeout=120, every=2)
    return named()


def _short(*found: object) -> str:
    return "; ".join(str(each)[:200] for each in found if each) or "none"
