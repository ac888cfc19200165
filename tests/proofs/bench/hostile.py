"""Pods that do harm: a storm of changes in one namespace, and one who undoes each repair at once.

What the agent spends, and what other pods notice of it: ADD and repair, each divided by the floor
under the same conditions, so that a machine that is busy with the storm counts on both sides.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from socket import AF_UNIX, socket

from proofs.bench.environment import BUILD, ROOT, Environment, build, cpu, provisioned
from proofs.bench.implementations import AGENT, FLOOR, Implementation, all_implementations
from proofs.bench.measures import Measure, median
from proofs.bench.pods import GATEWAY, Pod
from testbed import progress
from testbed.space import Inside

# Attached pods: one is hostile, one fights, others are repaired; the rest stand for a node in use.
STANDING = 20
# Each round has all conditions, in random order: what else the machine does concerns all of them.
ROUNDS, ADDS = 5, 5
# A pod's repairs have a budget, a burst of fifteen: each is used for one condition of one round.
REPAIRS, REPAIR_MS = 12, 300
WARM_UP, SECONDS = 3.0, 4.0
FIGHT_WARM_UP, FIGHT_SECONDS = 10.0, 30.0
QUIET, PACED, FLAT_OUT = -1, 10_000, 0
CPU_TARGETS = {PACED: 5.0, FLAT_OUT: 15.0}


@dataclass(slots=True)
class Condition:
    """What was measured without a storm (`QUIET`), or in one of so many changes a second."""

    changes: int = 0
    seconds: float = 0
    percents: list[float] = field(default_factory=list)
    adds: dict[str, list[float]] = field(default_factory=lambda: {AGENT: [], FLOOR: []})
    repairs: list[float] = field(default_factory=list)
    least: list[float] = field(default_factory=list)

    @property
    def add(self) -> float:
        """The median ADD, divided by the floor's."""
        return median(self.adds[AGENT]) / median(self.adds[FLOOR])

    @property
    def repair(self) -> float:
        """The median repair, divided by the floor's."""
        return median(self.repairs) / median(self.least)

    def __str__(self) -> str:
        """Return the medians in ms."""
        return (
            f"ADD {median(self.adds[AGENT]):.1f} ms, floor {median(self.adds[FLOOR]):.1f};"
            f" repair {median(self.repairs):.2f} ms, most {max(self.repairs):.1f},"
            f" floor {median(self.least):.3f}"
        )


def run(name: str, plugin: Path, seed: int) -> list[Measure]:
    """Measure all of it on a bed of its own. Return the rows."""
    floor, _ = build()
    route = BUILD / "route"
    source = Path(__file__).with_name("route.c")
    subprocess.run(["gcc", "-std=gnu17", "-O2", "-o", route, source], check=True)
    with provisioned(name, STANDING + 4 * ADDS, seed) as env:
        return Hostile(env, all_implementations(plugin, floor), route).run()


class Hostile:
    """The measurements on one environment."""

    def __init__(
        self, env: Environment, implementations: dict[str, Implementation], route: Path
    ) -> None:
        self._env, self._implementations, self._route = env, implementations, route
        self._sandboxes: dict[Pod, str] = {}

    def run(self) -> list[Measure]:
        """Return the rows of the storms, then those of the fight."""
        standing = self._env.pods[:STANDING]
        plugin = self._implementations[AGENT]
        self._sandboxes = {pod: self._env.sandbox() for pod in standing}
        self._env.run(plugin.add(list(self._sandboxes.items())))
        self._make_floor_pod()
        found = {rate: Condition() for rate in (QUIET, PACED, FLAT_OUT)}
        repaired = iter(standing[2:])
        with progress.step("storms") as step:
            for number in range(ROUNDS):
                for rate in self._env.random.sample(list(found), len(found)):
                    step.note(f"round {number + 1} of {ROUNDS}, {rate} changes a second")
                    self._measure(rate, standing[0], next(repaired), found[rate])
        for rate, condition in found.items():
            progress.say(f"    {rate}: {condition}")
        with progress.step("a fight"):
            return [*self._rows(found), *self._fight(standing[1])]

    def _measure(self, rate: int, pod: Pod, repaired: Pod, into: Condition) -> None:
        if rate == QUIET:
            self._look(repaired, into)
            return
        with self._storming(pod, rate) as storm:
            time.sleep(WARM_UP)
            into.percents.append(self._agent_percent(SECONDS))
            self._look(repaired, into)
        assert storm.stdout
        changes, seconds = map(float, storm.stdout.read().split())
        into.changes += int(changes)
        into.seconds += seconds

    @staticmethod
    def _rows(found: dict[int, Condition]) -> Iterator[Measure]:
        quiet = found.pop(QUIET)
        for rate, each in found.items():
            what = f"{rate} changes/s" if rate else "unpaced ip -batch"
            percent = round(sum(each.percents) / len(each.percents), 2)
            add, repair = round(each.add / quiet.add, 2), round(each.repair / quiet.repair, 2)
            made = round(each.changes / each.seconds)
            yield Measure(f"hostile: changes made, {what}", made, "1/s", None)
            yield Measure(f"hostile: agent, {what}", percent, "% of a core", CPU_TARGETS[rate])
            yield Measure(f"hostile: ADD ÷ floor, {what} ÷ quiet", add, "ratio", 1.2)
            yield Measure(f"hostile: repair ÷ floor, {what} ÷ quiet", repair, "ratio", 1.2)

    def _fight(self, pod: Pod) -> list[Measure]:
        with self._inside(pod, "fight"):
            time.sleep(FIGHT_WARM_UP)
            before = self._passes()
            percent = self._agent_percent(FIGHT_SECONDS)
            passes = (self._passes() - before) / FIGHT_SECONDS
        return [
            Measure("fight: passes after the first 10 s", round(passes, 2), "1/s", 2.0),
            Measure("fight: agent", percent, "% of a core", None),
        ]

    def _agent_percent(self, seconds: float) -> float:
        pid, began, before = self._env.agent.pid, time.monotonic(), cpu(self._env.agent.pid)
        time.sleep(seconds)
        return round(100 * (cpu(pid) - before) / (time.monotonic() - began), 2)

    def _look(self, repaired: Pod, into: Condition) -> None:
        """Measure ADDs, then repairs, each by turns or at once with the floor's."""
        for pod in self._env.random.sample(self._env.pods[STANDING:-1], ADDS):
            for name in self._env.random.sample(list(into.adds), 2):
                implementation, one = self._implementations[name], [(pod, self._env.sandbox())]
                _, done = self._env.command(implementation.add(one))
                into.adds[name].append(done[0].ms)
                self._env.command(implementation.delete(one))
        floor_pod, node = self._env.pods[-1], self._env.bed.node()
        with self._inside(floor_pod, "restore"):
            words = ["measure", str(REPAIRS), str(REPAIR_MS)]
            both = [node.popen(self._words(pod, *words)) for pod in (repaired, floor_pod)]
            for program, times in zip(both, (into.repairs, into.least), strict=True):
                shown = program.communicate(timeout=300)[0].split()
                assert len(shown) == REPAIRS, f"not repaired: {shown}"
                assert "-1" not in shown, f"not repaired within 20 s: {shown}"
                times += [int(line) / 1000 for line in shown]

    def _make_floor_pod(self) -> None:
        """Give the last pod, which is not attached, links, an address and a default route."""
        pod = self._env.pods[-1]
        self._env.bed.node().sh(
            f"ip -n {pod.name} link add eth0 type veth peer name peer\n"
            f"ip -n {pod.name} link set peer up; ip -n {pod.name} link set eth0 up\n"
            f"ip -n {pod.name} address add {pod.address} dev eth0\n"
            f"ip -n {pod.name} route add default via {GATEWAY}\n"
        )

    def _words(self, pod: Pod, *words: str) -> list[str | Path]:
        return ["ip", "netns", "exec", pod.name, self._route, *words]

    @contextlib.contextmanager
    def _inside(self, pod: Pod, what: str) -> Iterator[None]:
        program = self._env.bed.node().popen(self._words(pod, what))
        time.sleep(0.3)
        assert program.poll() is None, f"route {what} ended"
        try:
            yield
        finally:
            program.terminate()
            program.wait(10)

    @contextlib.contextmanager
    def _storming(self, pod: Pod, rate: int) -> Iterator[Inside]:
        words = [sys.executable, "-m", "proofs.bench.storm", pod.name, str(rate)]
        storm = self._env.bed.node().popen(words, env={"PYTHONPATH": str(ROOT / "tests")})
        try:
            yield storm
        finally:
            storm.terminate()
            storm.wait(10)

    def _passes(self) -> int:
        """Return how many passes have changed something or failed so far, by the agent's log."""
        return len(re.findall(r"\] (?:repaired|pass failed)\b", self._env.agent.log.read_text()))


def metrics(env: Environment) -> str:
    """Return the agent's metrics as text."""
    return _get(env, "/metrics").decode()


def _get(env: Environment, path: str) -> bytes:
    connection = _UnixConnection(str(env.bed.node().path("/run/ovnlet/cni.sock")))
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200, (path, answer.status)
        return answer.read()
    finally:
        connection.close()


class _UnixConnection(HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket(AF_UNIX)
        self.sock.connect(self._path)
