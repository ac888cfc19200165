"""`python -m proofs.drift.exec_agent`: run foreign tools in the node's namespaces, and time
repairs.

Requests and answers are lines of JSON. One process serves a whole run, since entering the
namespaces for every tool would cost more than a repair. It waits for notifications of the kernel
and of OVSDB and observes the pods after each, and every few milliseconds without one.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import IO, Any

from proofs.drift import cni, floor, notifications, reach, sentinels
from proofs.drift.node_facts import NODE, observe_node
from proofs.drift.observe import (
    PENDING_DELETES,
    RECORDS,
    Facts,
    Target,
    Trial,
    differences,
    milliseconds,
    observe,
)
from proofs.drift.rows import Rows
from proofs.kernel import outage, sandboxes

IDLE = 0.01
MAX_EVENTS = 20_000  # kept until the next request for them
TOOL_SECONDS = 60
Request = dict[str, Any]


class ExecAgent:
    """The state between requests, and a method for each verb of the protocol."""

    def __init__(self) -> None:
        self.rows = Rows()
        self.sock = notifications.listener()
        self.events: deque[notifications.Notification] = deque(maxlen=MAX_EVENTS)
        self.baselines: dict[str, Facts] = {}
        self.rows.pump()

    def observe(self, target: Target) -> Facts:
        """Return all facts of the pod, or of the node, as they are now."""
        return observe_node() if target == NODE else observe(target, self.rows)

    def baseline(self, request: Request) -> Request:
        """Make the present state of these pods, or the given facts, what is right from now on."""
        self._settle()
        self.baselines |= request.get("facts", {})
        for target in _targets(request):
            self.baselines[target.pod] = self.observe(target)
        return {"facts": self.baselines}

    def compare(self, request: Request) -> Request:
        """Return how these pods differ from the baseline now."""
        self._settle()
        allow_extra = bool(request.get("allow_extra"))
        wrong = {
            t.pod: differences(self.baselines[t.pod], self.observe(t), allow_extra=allow_extra)
            for t in _targets(request)
        }
        return {"wrong": wrong}

    def tools(self, request: Request) -> Request:
        """Run foreign tools one after another. Return argv, exit status and output of each."""
        return {"exits": [_run(argv) for argv in request["tools"]]}

    def trial(self, request: Request) -> Request:
        """Break each pod, then observe all of them until they are right or the timeout is over."""
        trials, exits = [], []
        for item in request["items"]:
            answers = [_run(argv) for argv in item["tools"]]
            exits.append(answers)
            since = time.monotonic() - item.get("ago", 0)
            trials.append(
                Trial(_target(item["target"]), item["allow_extra"], since, hold=request["hold"])
            )
        self._settle()
        self._watch(trials, time.monotonic() + request["timeout"])
        return {
            "results": [
                trial.result() | {"exits": answers}
                for trial, answers in zip(trials, exits, strict=True)
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
        """Wait up to ``seconds`` for a change and read it.

        Return whether one of ``others`` is readable.
        """
        sources = [self.sock] + [self.rows] * (self.rows.fileno() >= 0)
        ready, _, _ = select.select([*sources, *others], [], [], seconds)
        self.events += notifications.drain(self.sock)
        self.rows.pump()
        return any(other in ready for other in others)

    def _settle(self) -> None:
        """Read everything that OVSDB has committed so far."""
        self.rows.pump()
        self.rows.barrier()

    def traffic(self, request: Request) -> Request:
        """Wait until each pod reaches the addresses and `tc` shows its rates.

        Return what is missing after the timeout.
        """
        targets = {target.pod: target for target in _targets(request)}
        unreachable = {
            pod: [*request["addresses"], *[reach.RATES] * target.limited]
            for pod, target in targets.items()
        }
        began = time.monotonic()
        while any(unreachable.values()) and time.monotonic() - began < request["timeout"]:
            unreachable = {
                pod: [w for w in left if not reach.is_met(targets[pod], w, request["wait"])]
                for pod, left in unreachable.items()
            }
        return {
            "unreachable": {pod: left for pod, left in unreachable.items() if left},
            "ms": milliseconds(time.monotonic(), began),
        }

    def check(self, request: Request) -> Request:
        """Run CNI CHECK through the installed plugin. Return the error of each pod that fails."""
        errors = {target.pod: _check(target) for target in _targets(request)}
        return {"failed": {pod: words for pod, words in errors.items() if words}}

    def attach(self, request: Request) -> Request:
        """Make a sandbox for each pod and call ADD, as a runtime does. Return their targets."""
        return {"targets": [asdict(sandboxes.attach(pod)) for pod in request["pods"]]}

    def detach(self, request: Request) -> Request:
        """Call DEL for each pod and remove its sandbox."""
        for target in _targets(request):
            sandboxes.detach(target)
        return {}

    def outage(self, request: Request) -> Request:
        """Restart something under traffic, and return what each flow lost."""
        return outage.measure(request)

    def floor(self, request: Request) -> Request:
        """Return the times in ms of the least that a repair can cost on this node."""
        return floor.measure(request["bridge"], request["rounds"])

    def sentinels(self, request: Request) -> Request:
        """Return the inventory of the sentinels."""
        return {"inventory": sentinels.inventory(request.get("netns"))}

    def notifications(self, request: Request) -> Request:
        """Return the kernel's notifications and the number of changed OVSDB rows since the last
        call.
        """
        self._settle()
        self.listen(0)
        events, changes = notifications.with_origin(self.events), self.rows.changes
        self.events.clear()
        self.rows.changes = 0
        return {"kernel": events, "ovsdb": changes}

    def traces(self, request: Request) -> Request:
        """Return where each container ID still occurs, or a name made of its first twelve
        characters.
        """
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
        """Return the names of the interfaces in OVSDB."""
        self._settle()
        return {
            "names": sorted({row["name"] for row in self.rows.tables.get("Interface", {}).values()})
        }


def _target(body: Request) -> Target:
    return Target(**(body | {"ips": tuple(body["ips"])}))


def _targets(request: Request) -> list[Target]:
    return [_target(body) for body in request["targets"]]


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


def _check(target: Target) -> str:
    return sandboxes.check(target) if sandboxes.is_known(target) else cni.check(target)


def main() -> None:
    agent = ExecAgent()
    verbs: dict[str, Callable[[Request], Request]] = {
        "baseline": agent.baseline,
        "compare": agent.compare,
        "tools": agent.tools,
        "trial": agent.trial,
        "traffic": agent.traffic,
        "check": agent.check,
        "attach": agent.attach,
        "detach": agent.detach,
        "floor": agent.floor,
        "outage": agent.outage,
        "sentinels": agent.sentinels,
        "notifications": agent.notifications,
        "names": agent.names,
        "traces": agent.traces,
    }
    with _streams() as (requests, answers):
        print(json.dumps({"ready": True}), file=answers, flush=True)
        while line := _next_line(agent, requests):
            request = json.loads(line)
            answer = _answer(verbs[request["verb"]], request)
            print(json.dumps(answer), file=answers, flush=True)


def _answer(verb: Callable[[Request], Request], request: Request) -> Request:
    """Return the verb's answer, or its traceback as ``error``: one failure ends no whole run."""
    try:
        return verb(request)
    except Exception:  # noqa: BLE001 - the client raises it
        return {"error": traceback.format_exc()}


@contextmanager
def _streams() -> Iterator[tuple[IO[str], IO[str]]]:
    """Give stdin and stdout, or with a port as argument those of the first connection to it."""
    if len(sys.argv) == 1:
        yield sys.stdin, sys.stdout
        return
    with socket.create_server(("", int(sys.argv[1]))) as server:
        connection, _ = server.accept()
    with connection.makefile("r") as requests, connection.makefile("w") as answers:
        yield requests, answers


def _next_line(agent: ExecAgent, requests: IO[str]) -> str:
    """Return the next request; serve notifications until there is one.

    A client waits for the answer before it asks again, so no second line is ever in the stream's
    buffer.
    """
    while not agent.listen(None, requests):
        pass
    return requests.readline()


if __name__ == "__main__":
    main()
