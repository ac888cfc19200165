"""The environment: a test bed without kubelet, the agent on its node, and the driver."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from kit import turns
from proofs.bench import pods
from proofs.bench.implementations import Implementation
from proofs.bench.pods import Pod
from proofs.bench.processes import Done
from testbed import progress
from testbed.bed import Bed
from testbed.service import Service, wait_for
from testbed.space import Inside

ROOT = Path(__file__).resolve().parents[3]
BUILD = ROOT / "build" / "bench"
# Where an agent of `kit.turns` writes what it counts.
COUNTED = BUILD / "turns"
PARTS = ("ovs", "ovn", "etcd", "apiserver")
# The node is quiet if all watched processes together use less than 2 ms of processor in 40 ms. No
# round begins before.
SAMPLE_SECONDS, QUIET_CPU, QUIET_TIMEOUT = 0.04, 0.002, 10.0


class BenchError(RuntimeError):
    """The run itself failed; none of its figures is valid."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one order: the time of each job and of all together in ms.

    `cpu_ms` is the agent's processor time until the node is quiet. `ovs_ms` and `ovn_ms` are those
    of ovs-vswitchd and ovn-controller until the last job has ended: after it they handle the pods'
    first packets.
    """

    wall_ms: float
    done: list[Done]
    cpu_ms: float
    ovs_ms: float
    ovn_ms: float


@dataclass(slots=True)
class Environment:
    """A test bed with the agent, the driver and all pods.

    `watched` has the processes that must be quiet before a measurement.
    """

    bed: Bed
    agent: Service
    driver: Inside
    pods: list[Pod]
    random: random.Random
    watched: list[int] = field(default_factory=list)
    sandboxes: Iterator[int] = field(default_factory=lambda: count(1))
    wake_count: Iterator[int] = field(default_factory=count)

    def sandbox(self) -> str:
        """Return a new container ID."""
        return f"{next(self.sandboxes):012x}".ljust(64, "0")

    def run(self, order: dict[str, Any]) -> Outcome:
        """Execute an order on a quiet node without pending work, and wait until it is quiet
        again.
        """
        self.prepare()
        agent, ovs, _, ovn, *_ = self.watched
        before = [cpu(pid) for pid in (agent, ovs, ovn)]
        wall_ms, done = self.command(order)
        answered = [cpu(pid) for pid in (ovs, ovn)]
        self.settle()
        after = [cpu(agent), *answered]
        spent = [(now - was) * 1000 for now, was in zip(after, before, strict=True)]
        return Outcome(wall_ms, done, *spent)

    def command(self, order: dict[str, Any], *, may_fail: bool = False) -> tuple[float, list[Done]]:
        """Execute an order at once, on a node that need not be quiet.

        Raise BenchError if a job fails, unless it may.
        """
        assert self.driver.stdin
        assert self.driver.stdout
        self.driver.stdin.write(json.dumps(order) + "\n")
        self.driver.stdin.flush()
        if not (line := self.driver.stdout.readline()):
            raise BenchError("the driver ended")
        answer = json.loads(line)
        done = [Done(*each) for each in answer["done"]]
        bad = [each for each in done if each.code]
        if bad and not may_fail:
            first = str(order["jobs"][0])[:800]
            failure = f"{len(bad)} of {len(done)} failed: {first}: {bad[0].out}"
            raise BenchError(f"{failure}\n{self.agent.tail()}")
        return answer["wall_ms"], done

    def settle(self, timeout: float = QUIET_TIMEOUT) -> None:
        """Wait until the node is quiet: no implementation may pay for what another left to do.

        Raise BedError after so many seconds.
        """

        def quiet() -> bool:
            before = sum(map(cpu, self.watched))
            time.sleep(SAMPLE_SECONDS)
            return sum(map(cpu, self.watched)) - before < QUIET_CPU

        wait_for(quiet, "the node to become quiet", timeout, every=0)

    def prepare(self) -> None:
        """Wait for a quiet node without pending work."""
        self.settle()
        self._wake_vswitchd()
        self.settle()

    def _wake_vswitchd(self) -> None:
        """Let ovs-vswitchd close the sockets of deleted ports, which it does when it wakes next.

        That takes 15 ms for each port, which another implementation would pay.
        """
        self.bed.node().vsctl(
            "set", "Open_vSwitch", ".", f"external_ids:bench={next(self.wake_count)}"
        )

    def verify(self, implementation: Implementation, attached: Sequence[tuple[Pod, str]]) -> None:
        """Raise BenchError unless the implementation has attached these pods."""
        node = self.bed.node()
        installed = node.vsctl(
            "--bare",
            "--columns=external_ids",
            "find",
            "interface",
            "external_ids:ovn-installed=true",
        )
        for pod, _ in attached:
            inside = node.run(["ip", "-n", pod.name, "address", "show", "eth0"])
            if "inet " not in inside or (
                implementation.in_ovn and f"iface-id={pod.iface_id} " not in f"{installed} "
            ):
                raise BenchError(f"{implementation.name} did not attach {pod.name}: {inside}")

    @property
    def agent_descriptors(self) -> int:
        """How many descriptors the agent has open."""
        return len(os.listdir(f"/proc/{self.agent.pid}/fd"))

    @property
    def agent_mib(self) -> float:
        """The agent's resident memory in MiB."""
        status = Path(f"/proc/{self.agent.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def cpu(pid: int) -> float:
    """Return the processor time of all threads of a process in seconds.

    It is utime + stime of /proc/PID/stat, but not rounded to ticks.
    """
    return time.clock_gettime((~pid << 3) | 2)


def build() -> tuple[Path, Path]:
    """Build the floor and a program that does nothing with the plugin's compiler.

    Return their paths.
    """
    BUILD.mkdir(parents=True, exist_ok=True)
    triple = subprocess.run(
        ["gcc", "-print-multiarch"], capture_output=True, text=True, check=True
    ).stdout.strip()
    # musl-gcc hides the kernel's headers.
    headers = ["-idirafter", "/usr/include", "-idirafter", f"/usr/include/{triple}"]
    (BUILD / "empty.c").write_text("int main(void) { return 0; }\n")
    made = []
    for source in (Path(__file__).with_name("floor.c"), BUILD / "empty.c"):
        made.append(BUILD / source.stem)
        flags = ["-std=gnu17", "-Os", "-Wall", "-Wextra", "-Werror", "-static", "-s", *headers]
        subprocess.run(["musl-gcc", *flags, "-o", made[-1], source], check=True)
    return made[0], made[1]


@contextmanager
def provisioned(
    name: str, pod_count: int, seed: int, python: Sequence[str] = (), flags: Sequence[str] = ()
) -> Iterator[Environment]:
    """Run a bed with all pods prepared and the agent serving.

    `python` replaces the agent's interpreter, `flags` are the agent's.
    """
    BUILD.mkdir(parents=True, exist_ok=True)
    with Bed.up(name, parts=PARTS) as bed:
        with progress.step(f"{pod_count} pods, logical ports and namespaces"):
            made = pods.create(bed, pod_count)
        agent = start_agent(bed, python, flags)
        node = bed.node()
        words = [sys.executable, "-m", "proofs.bench.driver"]
        driver = node.popen(
            words, env={"PYTHONPATH": str(ROOT / "tests")}, stderr=sys.stderr.fileno()
        )
        parts = ("ovs-vswitchd", "ovsdb-server", "ovn-controller")
        env = Environment(bed, agent, driver, made, random.Random(seed))
        env.watched = [agent.pid, *(node.service(part).pid for part in parts)]
        env.watched += [
            bed.space("ctl").service(part).pid for part in ("ovn-northd", "ovn-sb", "ovn-nb")
        ]
        try:
            yield env
        finally:
            driver.terminate()
            driver.wait(10)
            shutil.copyfile(agent.log, BUILD / "agent.log")


def start_agent(bed: Bed, python: Sequence[str] = (), flags: Sequence[str] = ()) -> Service:
    """Start the agent as its image does, with the bed's socket directory and credentials."""
    log = bed.node().log("ovnlet")
    begin = log.stat().st_size if log.exists() else 0
    words = [*(python or [sys.executable, "-m", "ovnlet"]), "agent", "--node-name", pods.NODE]
    words += ["--kubeconfig", str(bed.inner_kubeconfig), *flags]
    env = {"PYTHONPATH": f"{ROOT / 'operator'}:{ROOT / 'cni'}:{ROOT / 'tests'}"}
    env[turns.OUTPUT] = str(COUNTED)
    agent = bed.node().spawn("ovnlet", words, env=env)
    agent.wait_ready(lambda: b"serving" in log.read_bytes()[begin:], timeout=60)
    return agent
