"""The faults of a soak, as data: what breaks, for how long, and what must hold meanwhile."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from random import Random

from proofs.soak import stage
from proofs.soak.stage import CENTRAL, Stage, set_clock
from testbed import layout
from testbed.service import wait_for

HOUR = 3600
FILLER = "filler-of-the-soak"
Inflict = Callable[[Stage, Random], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to break the node.

    `inflict` breaks it for its block, which lasts between `seconds`; meanwhile pods come and go.
    Every pod is right again `within` seconds after its end. With `forwards` the datapath is not
    touched, so an untouched pod may lose no packet. `early` faults end the agent's process, and
    happen in the first half of a run alone: the agent of the second half has one long life.
    """

    name: str
    inflict: Inflict
    seconds: tuple[float, float] = (0.2, 5.0)
    within: float = 60.0
    forwards: bool = False
    early: bool = False


def _killed(role: str, *names: str) -> Inflict:
    """Return a fault that kills services with SIGKILL and starts them again at its end."""

    @contextmanager
    def inflict(on: Stage, _rng: Random) -> Iterator[None]:
        space = on.env.bed.space(role)
        for name in names:
            space.service(name).stop(signal.SIGKILL)
        try:
            yield
        finally:
            for name in reversed(names):
                space.restart(name)
            if "ovn-nb" in names:  # its client gives up a command that is cut off
                space.restart("assign")

    return inflict


@contextmanager
def _agent_killed(on: Stage, _rng: Random) -> Iterator[None]:
    old = on.agent
    on.kill_agent()
    yield
    wait_for(lambda: on.agent not in (0, old), "another agent", timeout=330, every=0.1)


@contextmanager
def _flows_deleted(on: Stage, rng: Random) -> Iterator[None]:
    """Delete all of OVN's flows, or those of its first table."""
    table = rng.choice([[], ["table=0"]])
    on.node.run(["ovs-ofctl", "-O", "OpenFlow15", "del-flows", "br-int", *table])
    yield


def _frozen(name: str) -> Inflict:
    """Return a fault that stops a service three times with SIGSTOP, for 1 to 5 s each."""

    @contextmanager
    def inflict(on: Stage, rng: Random) -> Iterator[None]:
        service = on.node.service(name)
        try:
            for _ in range(3):
                service.send(signal.SIGSTOP)
                time.sleep(rng.uniform(1, 5))
                service.send(signal.SIGCONT)
                time.sleep(rng.uniform(0.1, 1))
            yield
        finally:
            service.send(signal.SIGCONT)

    return inflict


def _full(folder: str) -> Inflict:
    """Return a fault that fills a directory's disk, and whatever becomes free of it."""

    @contextmanager
    def inflict(on: Stage, _rng: Random) -> Iterator[None]:
        path = f"{folder}/{FILLER}"
        fill = f"while :; do cat /dev/zero >>{path} 2>/dev/null; sleep 0.05; done"
        try:
            with on.running("sh", "-c", fill):
                yield
        finally:
            on.node.sh(f"rm -f {path}")

    return inflict


def _jump(seconds: int) -> Inflict:
    """Return a fault that sets the clock of OVS, OVN and the agent, and sets it back at its end."""

    @contextmanager
    def inflict(on: Stage, _rng: Random) -> Iterator[None]:
        for space in (on.node, on.control):
            set_clock(space, seconds)
        try:
            yield
        finally:
            for space in (on.node, on.control):
                set_clock(space, 0)

    return inflict


@contextmanager
def _few_descriptors(on: Stage, rng: Random) -> Iterator[None]:
    """Let the agent open up to two files more than it has open, or none."""
    pid = on.agent
    proc = on.node.path(f"/proc/{pid}")
    limits = (proc / "limits").read_text().partition("Max open files")[2].split()
    limit = len(list((proc / "fd").iterdir())) + rng.randrange(3)
    words = ["prlimit", f"--pid={pid}"]
    on.node.run([*words, f"--nofile={limit}:"])
    try:
        yield
    finally:
        on.node.run([*words, f"--nofile={limits[0]}:"], check=False)


def _answering(mode: str) -> Inflict:
    """Return a fault that turns the gate between the agent and the API server to a mode."""

    @contextmanager
    def inflict(on: Stage, _rng: Random) -> Iterator[None]:
        on.gate.turn(mode)
        try:
            yield
        finally:
            on.gate.turn("pass")

    return inflict


@contextmanager
def _namespaces(on: Stage, _rng: Random) -> Iterator[None]:
    with on.running(sys.executable, "-m", "proofs.soak.storm", "namespaces", "50"):
        yield


def _hostile(rate: int) -> Inflict:
    """Return a fault by which a pod changes its own addresses so often a second; 0 has no limit."""

    @contextmanager
    def inflict(on: Stage, rng: Random) -> Iterator[None]:
        netns = rng.choice(on.env.targets[stage.UNTOUCHED :]).netns.rpartition("/")[2]
        words = (sys.executable, "-m", "proofs.soak.storm", "addresses", str(rate), netns)
        try:
            with on.running(*words):
                yield
        finally:
            on.node.sh(f"ip -n {netns} addr flush to 198.18.0.1/32 dev eth0")

    return inflict


NODE, CONTROL = "n0", layout.CONTROL
FAULTS = [
    Fault("ovsdb-server killed", _killed(NODE, "ovsdb-server")),
    Fault("ovs-vswitchd killed", _killed(NODE, "ovs-vswitchd")),
    Fault("both of OVS killed", _killed(NODE, "ovs-vswitchd", "ovsdb-server")),
    Fault("ovn-controller killed", _killed(NODE, "ovn-controller")),
    Fault("OVN's flows deleted", _flows_deleted),
    Fault("ovn-northd killed", _killed(CONTROL, "ovn-northd"), forwards=True),
    Fault("OVN's northbound killed", _killed(CONTROL, "ovn-nb"), forwards=True),
    Fault("OVN's southbound killed", _killed(CONTROL, "ovn-sb"), forwards=True),
    Fault("all of OVN killed", _killed(CONTROL, *CENTRAL), forwards=True),
    # kubelet waits longer each time, up to 5 minutes
    Fault("agent killed", _agent_killed, within=60, forwards=True, early=True),
    Fault("disk of /run full", _full(stage.RUN), (5, 20), forwards=True),
    Fault("OVSDB's disk full", _full(stage.DATABASE), (5, 20)),
    Fault("clock 1 h ahead", _jump(HOUR), (10, 20), forwards=True),
    Fault("clock 1 h back", _jump(-HOUR), (10, 20), forwards=True),
    Fault("no descriptor left", _few_descriptors, (5, 20), forwards=True),
    Fault("API server refuses", _answering("refuse"), (5, 20), forwards=True),
    Fault("API server answers 429", _answering("429"), (5, 20), forwards=True),
    Fault("API server answers 500", _answering("500"), (5, 20), forwards=True),
    Fault("API server sends half", _answering("half"), (5, 20), forwards=True),
    Fault("ovsdb-server slow", _frozen("ovsdb-server")),
    Fault("ovs-vswitchd slow", _frozen("ovs-vswitchd")),
    Fault("50 namespaces a second", _namespaces, (10, 20), forwards=True),
    Fault("pod with 1,000 changes a second", _hostile(1000), (10, 20), forwards=True),
    Fault("pod with changes without a pause", _hostile(0), (5, 10), forwards=True),
]


def order(rng: Random, only: list[str]) -> Iterator[Fault]:
    """Yield the faults for ever: each once, then each once again, in another order."""
    chosen = [fault for fault in FAULTS if not only or any(word in fault.name for word in only)]
    if not chosen:
        raise SystemExit(f"no fault's name contains one of: {', '.join(only)}")
    while True:
        yield from rng.sample(chosen, len(chosen))
