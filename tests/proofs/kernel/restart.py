"""`python -m proofs.kernel.restart`: what pods lose while Open vSwitch restarts.

The commands are those of Debian's units: `stop` and `start`, and the `restart` that a unit's reload
calls, which saves and restores flows. On the kernel's datapath a cached flow goes on while the
daemon is away; what is lost is lost when it starts. An agent must not make that longer than it is
without one. The restarts go to build/restart.json, raw findings to build/evidence/restart.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from dataclasses import dataclass
from typing import Any

from proofs.drift.carrying import heed_signals
from proofs.drift.environment import EVIDENCE
from proofs.drift.observe import Target
from proofs.kernel import stage
from proofs.kernel.restart_report import write
from proofs.kernel.stage import KernelEnvironment
from testbed import progress
from testbed.service import BedError, wait_for

CTL = "/usr/share/openvswitch/scripts/ovs-ctl"
OPTIONS = ("--no-monitor", "--system-id=random", "--no-record-hostname")
DAEMONS = {
    "ovs-vswitchd": ["--no-ovsdb-server"],
    "ovsdb-server": ["--no-ovs-vswitchd"],
    "both": [],
}
WAYS = ("stop/start", "restart")
ROUNDS, PODS, PAUSE = 10, 5, 1.0
ADDS, ADD_ROUNDS = 2, 5  # so many pods in every fifth round
IDLE_SECONDS, IDLE_TICKS = 3.0, 75  # a quarter of one processor, in its ticks of 10 ms
MORE = 2  # times as many rounds of the cells whose outage is a wait of ovn-controller's
FOUND = EVIDENCE / "restart" / "restarts.jsonl"


@dataclass(frozen=True, slots=True)
class Cell:
    """One way to restart a daemon."""

    daemon: str
    way: str

    @property
    def steps(self) -> list[list[str]]:
        """The command lines of Debian's unit for it."""
        base = [CTL, *DAEMONS[self.daemon]]
        verbs = ("stop", "start") if self.way == "stop/start" else ("restart",)
        return [[*base, *(OPTIONS if verb != "stop" else ()), verb] for verb in verbs]


CELLS = [Cell(daemon, way) for daemon in DAEMONS for way in WAYS]
WAITING = [cell for cell in CELLS if cell.way == "stop/start" and cell.daemon != "ovsdb-server"]


def main() -> int:
    """Restart, write the report, and return 0 if an agent made no gap longer and every ADD went."""
    args = _arguments()
    heed_signals()
    if not args.resume:
        shutil.rmtree(FOUND.parent, ignore_errors=True)
    FOUND.parent.mkdir(parents=True, exist_ok=True)
    try:
        with stage.serving(FOUND.parent, args.bed) as env:
            env.attach([f"p{2 * number + 1:02d}" for number in range(PODS)])
            _settle(env)
            _restart(env, CELLS[-1], None, agent=True)  # what is read for the first time
            for number in range(args.rounds * MORE):
                _round(env, number, CELLS if number < args.rounds else WAITING)
                _write()
    except (BedError, KeyboardInterrupt) as error:
        progress.say(f"stopped: {error!r}")
        good = False
    else:
        good = True
    page, holds = _write()
    print(page)
    return 0 if good and holds else 1


def _round(env: KernelEnvironment, number: int, wanted: list[Cell]) -> None:
    """Restart each wanted cell once with the agent and once without, which comes first in turns.

    Every fifth round also restarts each cell during ADDs. What an interrupted run did is left out.
    """
    done = {(each["round"], *_identity(each)) for each in _found()}
    parts = [(number % 2 == 0, 0), (number % 2 == 1, 0), (True, ADDS)]
    for agent, adds in parts if number % ADD_ROUNDS == 0 else parts[:2]:
        cells = [c for c in wanted if (number, c.daemon, c.way, agent, adds) not in done]
        if cells and agent:
            env.start_agent()
            _settle(env)
            _wait_idle(env)
        elif cells:
            env.remove_agent()
        for cell in cells:
            _restart(env, cell, number, agent=agent, adds=adds)


def _identity(found: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(found[key] for key in ("daemon", "way", "agent", "with_adds"))


def _restart(
    env: KernelEnvironment, cell: Cell, number: int | None, *, agent: bool, adds: int = 0
) -> None:
    """Restart once; without a round's number, the result is not kept."""
    pods = env.make_pods(_names(adds))
    found = env.exec_agent.ask(
        "outage", flows=_flows(env.targets), steps=cell.steps, pause=PAUSE, pods=pods
    )
    if found["failed"]:
        raise BedError(f"{cell}: {found['failed']}")
    facts = {"daemon": cell.daemon, "way": cell.way, "agent": agent, "with_adds": adds}
    if number is not None:
        with FOUND.open("a") as file:
            file.write(json.dumps(facts | {"round": number} | found) + "\n")
    gap = max(flow["gap_ms"] for flow in found["flows"])
    progress.say(
        f"    {cell.daemon} {cell.way}, agent {agent}: {gap:.0f} ms,"
        f" {found['adds']}, {found['seconds']} s"
    )
    env.remove_pods(pods)
    _settle(env)


def _wait_idle(env: KernelEnvironment) -> None:
    """Return once the agent has done the work of its start, which is no part of a restart.

    An emulated processor needs half a minute for it, and ovs-vswitchd starts later beside it.
    """
    (pid,) = env.agent_pids()
    words = ["awk", "{print $14 + $15}", f"/proc/{pid}/stat"]

    def idle() -> bool:
        before = int(env.bed.node().run(words))
        time.sleep(IDLE_SECONDS)
        return int(env.bed.node().run(words)) - before <= IDLE_TICKS

    wait_for(idle, "the agent to be idle", 120)


def _names(count: int) -> list[str]:
    """Return names of new pods. A pod whose number is odd has no limits."""
    return [f"new{time.monotonic_ns()}1" for _ in range(count)]


def _settle(env: KernelEnvironment) -> None:
    """Return once all pods reach their gateways; raise BedError if one does not."""
    if unreachable := env.traffic(env.targets, 30):
        raise BedError(f"unreachable after a restart: {unreachable}")


def _flows(targets: list[Target]) -> list[tuple[str, str]]:
    """Return flows between pods, which the kernel forwards by itself once it has them cached.

    A ping to the gateway is none: the kernel's datapath cannot write ICMP types, so ovs-vswitchd
    answers each packet, and while it is away nobody does.
    """
    one, two, three, four, five = targets
    return [(one.netns, two.ips[0]), (three.netns, four.ips[1]), (five.netns, one.ips[0])]


def _found() -> list[dict[str, Any]]:
    """Return all restarts that were measured so far."""
    return [json.loads(line) for line in FOUND.read_text().splitlines()] if FOUND.exists() else []


def _write() -> tuple[str, bool]:
    return write(_found(), [(cell.daemon, cell.way) for cell in CELLS])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="proofs.kernel.restart", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="default: %(default)s")
    parser.add_argument("--resume", action="store_true", help="continue an interrupted run")
    parser.add_argument("--bed", help="name of the test bed")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
