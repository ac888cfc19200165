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
from collections.abc import Callable, Iterator
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
STANDING, ROUNDS = 20, 15
# A pod's repairs have a budget, a burst of fifteen: each condition has pods of its own.
REPAIRS, REPAIR_MS = 12, 300
WARM_UP, SECONDS = 5.0, 10.0
FIGHT_WARM_UP, FIGHT_SECONDS = 10.0, 30.0
PACED, FLAT_OUT = 10_000, 0
CPU_TARGETS = {PACED: 5.0, FLAT_OUT: 15.0}


def run(name: str, plugin: Path, seed: int) -> list[Measure]:
    """Measure all of it on a bed of its own. Return the rows."""
    floor, _ = build()
    route = BUILD / "route"
    source = Path(__file__).with_name("route.c")
    subprocess.run(["gcc", "-std=gnu17", "-O2", "-o", route, source], check=True)
    with provisioned(name, STANDING + 2 * ROUNDS, seed) as env:
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
        with progress.step("quiet") as step:
            quiet = self._ratios(standing[10:13], step.note)
        measures: list[Measure] = []
        for rate, repaired in ((PACED, standing[1:4]), (FLAT_OUT, standing[4:7])):
            with progress.step(f"a storm of {rate or 'unlimited'} changes a second") as step:
                measures += self._storm(rate, standing[0], repaired, quiet, step.note)
        with progress.step("a fight") as step:
            return [*measures, *self._fight(standing[8])]

    def _storm(
        self,
        rate: int,
        pod: Pod,
        repaired: list[Pod],
        quiet: tuple[float, float],
        note: Callable[[str], None],
    ) -> list[Measure]:
        what = f"{rate} changes/s" if rate else "unpaced ip -batch"
        with self._storming(pod, rate) as storm:
            time.sleep(WARM_UP)
            note("the agent's processor time")
            percent = self._agent_percent(SECONDS)
            add, repair = self._ratios(repaired, note)
        assert storm.stdout
        changes, seconds = map(float, storm.stdout.read().split())
        return [
            Measure(f"hostile: changes made, {what}", round(changes / seconds), "1/s", None),
            Measure(f"hostile: agent, {what}", percent, "% of a core", CPU_TARGETS[rate]),
            Measure(
                f"hostile: ADD ÷ floor, {what} ÷ quiet", round(add / quiet[0], 2), "ratio", 1.2
            ),
            Measure(
                f"hostile: repair ÷ floor, {what} ÷ quiet",
                round(repair / quiet[1], 2),
                "ratio",
                1.2,
            ),
        ]

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

    def _ratios(self, repaired: list[Pod], note: Callable[[str], None]) -> tuple[float, float]:
        """Return ADD and repair, each the agent's median divided by the floor's."""
        note("ADDs")
        adds: dict[str, list[float]] = {AGENT: [], FLOOR: []}
        for pod in self._env.random.sample(self._env.pods[STANDING:], ROUNDS):
            for name in self._env.random.sample(list(adds), 2):
                implementation, one = self._implementations[name], [(pod, self._env.sandbox())]
                _, done = self._env.command(implementation.add(one))
                adds[name].append(done[0].ms)
                self._env.command(implementation.delete(one))
        note("repairs")
        with self._inside(self._env.pods[-1], "restore"):
            least = self._repairs(self._env.pods[-1])
        repairs = [each for pod in repaired for each in self._repairs(pod)]
        add, repair = median(adds[AGENT]), median(repairs)
        progress.say(
            f"    ADD {add:.1f} ms, floor {median(adds[FLOOR]):.1f};"
            f" repair {repair:.2f} ms, most {max(repairs):.1f}, floor {median(least):.3f}"
        )
        return add / median(adds[FLOOR]), repair / median(least)

    def _repairs(self, pod: Pod) -> list[float]:
        """Return the milliseconds until each deleted default route was back."""
        words = self._words(pod, "measure", str(REPAIRS), str(REPAIR_MS))
        shown = [int(line) / 1000 for line in self._env.bed.node().run(words, timeout=300).split()]
        assert all(each >= 0 for each in shown), f"not repaired within 20 s: {shown}"
        return shown

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
