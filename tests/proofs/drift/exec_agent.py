"""`python -m drift.exec_agent`, in the node's space: runs foreign tools and times what follows, told by lines of JSON.

One process for a whole run, since a door opened anew for every tool would cost more than a repair. It waits for
notifications of the kernel and of OVSDB and looks after each, and every few milliseconds without one.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any

from proofs.drift import cni, notifications, sentinels
from proofs.drift.observe import PENDING_DELETES, RECORDS, Facts, Target, differences, observe
from proofs.drift.rows import Rows

HOLD = 0.15  # seconds that it must stay right: a repair that OVN undoes again was none
IDLE = 0.01
MEMORY = 20_000  # notifications that nobody has asked for yet
TOOL_SECONDS = 60
RATES = "rates"
Request = dict[str, Any]


@dataclass(slots=True)
class Trial:
    """A pod that was broken, under observation."""

    target: Target
    allow_extra: bool
    since: float
    first: Facts = field(default_factory=dict)
    detected_at: float | None = None
    right_since: float | None = None
    wrong: list[str] = field(default_factory=list)

    def update(self, facts: Facts, baseline: Facts) -> None:
        now = time.monotonic()
        self.first = self.first or facts
        if self.detected_at is None and facts != self.first:
            self.detected_at = now
        self.wrong = differences(baseline, facts, allow_extra=self.allow_extra)
        if self.wrong:
            self.right_since = None
        elif self.right_since is None:
            self.right_since = now

    @property
    def repaired(self) -> bool:
        return self.right_since is not None and time.monotonic() - self.right_since >= HOLD

    def result(self) -> Request:
        repaired = _ms(self.right_since, self.since)
        detected_at = _ms(self.detected_at, self.since)
        return {
            "repaired_ms": repaired,
            "detected_ms": repaired if detected_at is None else detected_at,
            "wrong": self.wrong,
        }


class ExecAgent:
    def __init__(self) -> None:
        self.rows = Rows()
        self.sock = notifications.listener()
        self.events: deque[notifications.Notification] = deque(maxlen=MEMORY)
        self.baselines: dict[str, Facts] = {}
        self.rows.pump()

    def observe(self, target: Target) -> Facts:
        return observe(target, self.rows)

    def baseline(self, request: Request) -> Request:
        """From now on, this is right."""
        self._settle()
        self.baselines |= request.get("facts", {})
        for target in _targets(request):
            self.baselines[target.pod] = self.observe(target)
        return {"facts": self.baselines}

    def compare(self, request: Request) -> Request:
        """What differs from the baseline now."""
        self._settle()
        allow_extra = bool(request.get("allow_extra"))
        told = {
            t.pod: differences(self.baselines[t.pod], self.observe(t), allow_extra=allow_extra)
            for t in _targets(request)
        }
        return {"wrong": told}

    def tools(self, request: Request) -> Request:
        """Run foreign tools one after another; what each answered."""
        return {"exits": [_run(argv) for argv in request["tools"]]}

    def trial(self, request: Request) -> Request:
        """Break each pod, then watch all of them until they are right or the time is over."""
        trials, exits = [], []
        for item in request["items"]:
            answers = [_run(argv) for argv in item["tools"]]
            exits.append(answers)
            since = item.get("since") or time.monotonic()
            trials.append(Trial(_target(item["target"]), item["allow_extra"], since))
        self._settle()
        self._watch(trials, time.monotonic() + request["timeout"])
        return {
            "results": [
                trial.result() | {"exits": told} for trial, told in zip(trials, exits, strict=True)
            ]
        }

    def _watch(self, trials: list[Trial], deadline: float) -> None:
        waiting = list(trials)
        while waiting and time.monotonic() < deadline:
            for trial in waiting:
                trial.update(self.observe(trial.target), self.baselines[trial.target.pod])
            waiting = [trial for trial in waiting if not trial.repaired]
            self.listen(IDLE)

    def listen(self, seconds: float | None, *others: IO[str]) -> bool:
        """Wait for a change, take in what has come; whether one of the others is ready too."""
        doors = [self.sock] + [self.rows] * (self.rows.fileno() >= 0)
        ready, _, _ = select.select([*doors, *others], [], [], seconds)
        self.events += notifications.drain(self.sock)
        self.rows.pump()
        return any(other in ready for other in others)

    def _settle(self) -> None:
        self.rows.pump()
        self.rows.barrier()

    def traffic(self, request: Request) -> Request:
        """How long until each pod reaches both gateways, and `tc` says the rates that were asked for."""
        targets = {target.pod: target for target in _targets(request)}
        unreachable = {
            pod: [*request["addresses"], *[RATES] * target.limited]
            for pod, target in targets.items()
        }
        began = time.monotonic()
        while any(unreachable.values()) and time.monotonic() - began < request["timeout"]:
            unreachable = {
                pod: [w for w in left if not _granted(targets[pod], w)]
                for pod, left in unreachable.items()
            }
        return {
            "unreachable": {pod: left for pod, left in unreachable.items() if left},
            "ms": _ms(time.monotonic(), began),
        }

    def check(self, request: Request) -> Request:
        """CNI CHECK through the installed plugin; what it said where it failed."""
        told = {target.pod: cni.check(target) for target in _targets(request)}
        return {"failed": {pod: words for pod, words in told.items() if words}}

    def sentinels(self, request: Request) -> Request:
        return {"inventory": sentinels.inventory(request.get("netns"))}

    def notifications(self, request: Request) -> Request:
        """Notifications since the last call: each of the kernel's, and how many rows of OVSDB changed."""
        self._settle()
        self.listen(0)
        events, changes = notifications.told(self.events), self.rows.changes
        self.events.clear()
        self.rows.changes = 0
        return {"kernel": events, "ovsdb": changes}

    def traces(self, request: Request) -> Request:
        """Where each of these container IDs, or a name made of it, is still found."""
        self._settle()
        places = {
            **{table: json.dumps(list(rows.values())) for table, rows in self.rows.tables.items()},
            "links": " ".join(os.listdir("/sys/class/net")),
            **{
                str(path): " ".join(map(str, path.glob("*"))) for path in (RECORDS, PENDING_DELETES)
            },
        }
        ids = request["container_ids"]
        return {
            "traces": {
                each: [name for name, text in places.items() if each[:12] in text] for each in ids
            }
        }

    def names(self, _request: Request) -> Request:
        """The interfaces that OVSDB knows."""
        self._settle()
        return {
            "names": sorted({row["name"] for row in self.rows.tables.get("Interface", {}).values()})
        }


def _target(told: Request) -> Target:
    return Target(**(told | {"ips": tuple(told["ips"])}))


def _targets(request: Request) -> list[Target]:
    return [_target(told) for told in request["targets"]]


def _run(argv: list[str]) -> Request:
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=TOOL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return {"argv": argv, "status": -1, "said": f"still running after {TOOL_SECONDS} s"}
    return {
        "argv": argv,
        "status": done.returncode,
        "said": (done.stderr or done.stdout).strip()[-2000:],
    }


def _granted(target: Target, expected: str) -> bool:
    return _limited(target) if expected == RATES else _ping(target.netns, expected)


def _limited(target: Target) -> bool:
    """By the words of `tc`, which has a decoder of its own."""
    in_netns = ["nsenter", f"--net={target.netns}"]
    looks = (
        (
            f" ceil {target.ingress}Mbit ",
            ["tc", "-s", "class", "show", "dev", target.port, "classid", "1:1"],
        ),
        (
            f" rate {target.egress}Mbit ",
            [*in_netns, "tc", "-s", "qdisc", "show", "dev", target.ifname, "root"],
        ),
    )
    return all(
        word in subprocess.run(argv, capture_output=True, text=True, check=False).stdout
        for word, argv in looks
    )


def _ping(netns: str, address: str) -> bool:
    words = ["nsenter", f"--net={netns}", "ping", "-n", "-c1", "-W0.3", address]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def _ms(moment: float | None, since: float) -> float | None:
    return None if moment is None else round((moment - since) * 1000, 2)


def main() -> None:
    agent = ExecAgent()
    verbs: dict[str, Callable[[Request], Request]] = {
        "baseline": agent.baseline,
        "compare": agent.compare,
        "tools": agent.tools,
        "trial": agent.trial,
        "traffic": agent.traffic,
        "check": agent.check,
        "sentinels": agent.sentinels,
        "notifications": agent.notifications,
        "names": agent.names,
        "traces": agent.traces,
    }
    print(json.dumps({"ready": True}), flush=True)
    while line := _next_line(agent):
        request = json.loads(line)
        print(json.dumps(verbs[request["verb"]](request)), flush=True)


def _next_line(agent: ExecAgent) -> str:
    """Whoever asks waits for the answer: no second line is in the buffer. Meanwhile, listen."""
    while not agent.listen(None, sys.stdin):
        pass
    return sys.stdin.readline()


if __name__ == "__main__":
    main()
