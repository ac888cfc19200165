"""`python -m proofs.kernel.qos`: limits on the kernel's datapath, measured by traffic.

Rows as in build/qos.json, in build/qos-kernel.json. iperf3 and the counting run in the virtual
machine, and a row counts whole frames where they arrive.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Any, get_args

from kit.report import read_rows, write_rows
from proofs.drift.carrying import heed_signals
from proofs.drift.environment import EVIDENCE
from proofs.drift.observe import Target
from proofs.kernel import stage
from proofs.kernel.stage import KernelEnvironment
from proofs.qos import record, steady
from proofs.qos.measure import Direction, Protocol, Row
from testbed import guest, progress
from testbed.assign import DOMAIN
from testbed.service import BedError

NAME, RATES = "qos-kernel", (1, 5, 20)  # Mbit/s
EXCESS = 1.5  # times the limit that UDP offers
Key = tuple[str, str, float]


@dataclass(frozen=True, slots=True)
class Pair:
    """A pod with limits, and the pod without limits that it talks to."""

    limited: Target
    peer: Target

    def ends(self, direction: Direction) -> tuple[Target, Target]:
        """Return sender and receiver."""
        return (self.peer, self.limited) if direction == "ingress" else (self.limited, self.peer)


@dataclass(frozen=True, slots=True)
class Cell:
    """What one row measures, at a rate in Mbit/s."""

    direction: Direction
    protocol: Protocol
    rate: int
    label: str = ""

    @property
    def key(self) -> Key:
        """How a row of the report names it."""
        return f"{self.direction}{self.label}", self.protocol, self.rate


def main() -> int:
    """Measure all rows. Return 0 if every asserted row holds, else 1."""
    parser = argparse.ArgumentParser(prog="proofs.kernel.qos", description=__doc__)
    parser.add_argument("--bed", help="name of the test bed")
    parser.add_argument("--resume", action="store_true", help="keep rows measured before")
    args = parser.parse_args()
    heed_signals()
    rows: list[Row] = []
    complete = False
    if not args.resume:
        write_rows(NAME, [])
    done = {(row["direction"], row["protocol"], row["asked_mbit"]) for row in read_rows(NAME)}
    try:
        with stage.serving(EVIDENCE / NAME, args.bed) as env:
            for row in _rows(env, done):
                progress.say(f"{row}{'' if row.holds else '  NOT AS ASKED'}")
                rows.append(row)
            complete = True
    except (BedError, KeyboardInterrupt) as error:
        progress.say(f"stopped: {error!r}")
    record.keep(rows, NAME)
    return 0 if complete and all(row["ok"] for row in read_rows(NAME)) else 1


def _rows(env: KernelEnvironment, done: Container[Key]) -> Iterator[Row]:
    """Measure every cell that is not done; then the police action without the shaper."""
    pairs = {rate: _pair(env, rate) for rate in RATES}
    cells = [
        Cell(direction, protocol, rate)
        for rate in RATES
        for direction in get_args(Direction)
        for protocol in get_args(Protocol)
    ]
    for cell in (cell for cell in cells if cell.key not in done):
        yield _row(env, pairs[cell.rate], cell)
    env.remove_agent()  # it would restore what a pod takes from itself
    policed = [Cell("egress", "udp", rate, " policed") for rate in RATES]
    for cell in (cell for cell in policed if cell.key not in done):
        pair = pairs[cell.rate]
        delete = ["tc", "qdisc", "del", "dev", "eth0", "root"]
        env.tools([["nsenter", f"--net={pair.limited.netns}", *delete]])
        yield _row(env, pair, cell)


def _pair(env: KernelEnvironment, rate: int) -> Pair:
    """Attach a pod with this limit in both directions, and one without limits."""
    both = {f"{DOMAIN}/{way}_rate": str(rate) for way in get_args(Direction)}
    env.attach([f"peer-{rate}"], dict.fromkeys(both))
    env.attach([f"limited-{rate}"], both)
    return Pair(env.targets[-1], env.targets[-2])


def _row(env: KernelEnvironment, pair: Pair, cell: Cell) -> Row:
    rate = cell.rate
    finding = f"--spent={steady.finding(rate)}"  # what TCP needs to find its rate
    words = [f"--udp={rate * EXCESS}M"] if cell.protocol == "udp" else [finding]
    sender, receiver = pair.ends(cell.direction)
    ends = (sender.container_id, receiver.container_id, receiver.ips[0])
    mbit = float(_measure(env, "rate", *ends, *words)["mbit"])
    found = round(mbit, 3), round(mbit / rate, 3)
    return Row("kernel", cell.key[0], cell.protocol, rate, *found, asserted=True)


def _measure(env: KernelEnvironment, *words: str) -> dict[str, Any]:
    program = [sys.executable, "-m", "proofs.kernel.traffic", *words]
    code = {"PYTHONPATH": guest.PYTHONPATH}
    return dict(json.loads(env.bed.node().run(program, env=code, timeout=180)))


if __name__ == "__main__":
    sys.exit(main())
