"""Chaos for minutes: faults, ADDs, DELs, edits, agents killed and parts restarted, all at random and together.

At its end every living pod is right and passes CHECK, nothing of a dead one is left, and whoever was spared lost
no packet.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from threading import Event, Thread

from proofs.drift import parts, trials
from proofs.drift.kinds import CUSTOM, GATEWAYS
from proofs.drift.look import Target
from proofs.drift.pings import Pings, summary
from proofs.drift.report import Book
from proofs.drift.stage import NS, Stage, body, target
from proofs.drift.table import KINDS
from testbed import deploy, progress
from testbed.inventory import inventory
from testbed.service import BedError, wait_for

QUIET, GUESTS = 10, 8
FAST = [kind for kind in KINDS if kind.fast]


@dataclass
class Chaos:
    """`quiet` pods are spared and pinged; the others are struck; guests come and go."""

    stage: Stage
    book: Book
    seed: int
    over: Event = field(default_factory=Event)
    seen: set[str] = field(default_factory=set)  # every container ID that there was
    counts: dict[str, int] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    @property
    def quiet(self) -> list[Target]:
        return self.stage.targets[:QUIET]

    @property
    def struck(self) -> list[Target]:
        return self.stage.targets[QUIET:]

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def repeat(
        self, name: str, act: Callable[[random.Random], None], least: float, most: float
    ) -> Thread:
        """An act again and again, in a thread, with its own chance. That the API server is away is no error."""

        def loop() -> None:
            chance = random.Random(f"{self.seed} {name}")
            while not self.over.wait(chance.uniform(least, most)):
                try:
                    act(chance)
                    self.count(name)
                except (OSError, BedError, ValueError) as error:
                    self.errors.append(f"{name}: {error}"[:300])

        thread = Thread(target=loop, name=name)
        thread.start()
        return thread

    def fault(self, chance: random.Random) -> None:
        kind = chance.choice(FAST)
        victim = chance.choice([each for each in self.struck if each.limited or not kind.limited])
        self.stage.hand.ask("tools", tools=trials.item(victim, kind)["tools"])
        if cleaning := kind.tidy(victim):
            time.sleep(0.5)
            self.stage.hand.ask("tools", tools=cleaning)

    def edit(self, chance: random.Random) -> None:
        """Custom routes of a struck pod, live."""
        gateway, third = GATEWAYS[0], chance.randrange(256)
        self._annotate(
            chance.choice(self.struck).pod, [{"dst": f"100.64.{third}.0/24", "gw": gateway}]
        )

    def guest(self, chance: random.Random) -> None:
        """A pod comes, or one goes, with or without grace."""
        name = f"guest{chance.randrange(GUESTS)}"
        try:
            self.stage.bed.api.create("/api/v1/namespaces/default/pods", body(name))
            self.count("ADD")
        except OSError:  # there already
            self.remember()
            force = ("--force", "--grace-period=0") if chance.random() < 0.3 else ()
            self.stage.bed.kubectl("delete", "pod", name, "--wait=false", *force)
            self.count("DEL")

    def kill(self, _chance: random.Random) -> None:
        """The agent dies without a word; its pod is replaced, as kubelet alone would wait longer each time."""
        for pid in self.stage.agent_pids():
            self.stage.bed.node().run(["kill", "-KILL", str(pid)])
        self.stage.bed.kubectl(
            *NS, "delete", "pod", *deploy.agent_pods(self.stage.bed), "--wait=false"
        )

    def part(self, chance: random.Random) -> None:
        """The API server alone: without its database or ovs-vswitchd, a userspace datapath passes no packet."""
        (part,) = [part for part in parts.PARTS if part.name.startswith("API server")]
        with part.away(self.stage, chance.uniform(0.2, 10)):
            pass

    def remember(self) -> None:
        with suppress(BedError, ValueError):  # a record that is being written
            self.seen |= {
                record["attachment"]["container_id"] for record in self.stage.cluster.records()
            }

    def _annotate(self, pod: str, routes: list[dict[str, str]]) -> None:
        self.stage.cluster.annotate(pod, routes=json.dumps(routes))

    def calm(self) -> None:
        """The edits are taken back, so that right means: as at first."""
        routes = [
            {"dst": dst, "gw": gateway} for dst, gateway in zip(CUSTOM, GATEWAYS, strict=True)
        ]
        for each in self.struck:
            self._annotate(each.pod, routes)


def run(stage: Stage, book: Book, minutes: float, seed: int) -> None:
    chaos = Chaos(stage, book, seed)
    pings = Pings(stage.bed, chaos.quiet, book.evidence / "pings")
    threads = [
        chaos.repeat("fault", chaos.fault, 0.05, 0.6),
        chaos.repeat("edit", chaos.edit, 0.5, 4),
        chaos.repeat("guest", chaos.guest, 0.5, 3),
        chaos.repeat("agent killed", chaos.kill, 40, 90),
        chaos.repeat("API server away", chaos.part, 30, 80),
    ]
    began = time.monotonic()
    with progress.step(f"chaos for {minutes:g} minutes, seed {seed}") as step:
        while (gone := time.monotonic() - began) < minutes * 60:
            step.note(
                f"{gone:.0f} s: {', '.join(f'{count} {what}' for what, count in sorted(chaos.counts.items()))}"
            )
            chaos.remember()
            time.sleep(1)
        chaos.over.set()
        for thread in threads:
            thread.join(timeout=60)
    _judge(chaos, pings)


def _judge(chaos: Chaos, pings: Pings) -> None:
    stage, book = chaos.stage, chaos.book
    with progress.step("judging what is left"):
        stage.bed.kubectl(*NS, "rollout", "status", deploy.DAEMONSET, "--timeout=90s", timeout=100)
        chaos.calm()
        living = _living(chaos)
        try:
            wait_for(lambda: not stage.wrong(), "every pod to be right", timeout=90, every=0.5)
        except BedError:
            book.dump("soak", wrong=stage.wrong())
        windows = pings.stop()
        wrong, silent, failed = stage.wrong(), stage.traffic(living, 15), stage.check(living)
        left, harmed = _left(chaos, living), stage.harmed(5)
    done = ", ".join(f"{count} {what}" for what, count in sorted(chaos.counts.items()))
    lost = sum(window.lost for window in windows)
    book.dump(
        "soak",
        counts=chaos.counts,
        errors=chaos.errors,
        left=left,
        wrong=wrong,
        silent=silent,
        check=failed,
    )
    book.dump("soak", pings=[asdict(window) for window in windows], harmed=harmed)
    book.prove(
        "chaos took place",
        min(chaos.counts.get(w, 0) for w in ("fault", "ADD", "DEL", "edit")) > 0,
        done,
    )
    book.prove(f"{len(living)} living pods are right", not (wrong or silent), _short(wrong, silent))
    book.prove(f"CHECK passes for {len(living)} living pods", not failed, _short(failed))
    book.prove(
        f"nothing is left of {len(chaos.seen) - len(living)} dead sandboxes", not left, _short(left)
    )
    book.prove("witnesses untouched", not harmed, _short(harmed))
    book.prove("spared pods lost no packet of a 20 ms ping", lost == 0, summary(windows))


def _living(chaos: Chaos) -> list[Target]:
    """Everybody who shall live, once guests that leave have left."""

    def settled() -> list[Target] | None:
        pods = chaos.stage.cluster.pods()
        if any(
            "deletionTimestamp" in pod["metadata"] or pod["status"]["phase"] != "Running"
            for pod in pods
        ):
            return None
        return [target(pod) for pod in chaos.stage.cluster.running(len(pods), timeout=5)]

    living = wait_for(settled, "guests to have come or gone", timeout=180, every=1)
    chaos.seen |= {each.container_id for each in living}
    return living


def _left(chaos: Chaos, living: list[Target]) -> list[str]:
    """Whatever the node's inventory still names of a dead sandbox, once kubelet has had time for its last DEL."""
    dead = chaos.seen - {each.container_id for each in living}

    def named() -> list[str]:
        found = inventory(chaos.stage.bed.node())
        things = [
            (section, key, json.dumps(facts))
            for section, keyed in found.items()
            for key, facts in keyed.items()
        ]
        return [
            f"{s}: {key}"
            for s, key, facts in things
            if any(each[:12] in key + facts for each in dead)
        ]

    with suppress(BedError):
        wait_for(lambda: not named(), "the last traces to go", timeout=120, every=2)
    return named()


def _short(*found: object) -> str:
    return "; ".join(str(each)[:200] for each in found if each) or "none"
