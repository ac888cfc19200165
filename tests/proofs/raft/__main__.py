"""`python -m proofs.raft`: faults of the databases' cluster, written to build/raft.json.

Fifty pods a minute are created all the while. A fault is good if every pod had its addresses at
most 5 s after there was a quorum, no address was given twice, and no port of a running pod changed.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from kit.report import markdown_table, read_rows, write_rows
from proofs.raft import deposed
from proofs.raft.faults import FAULTS, Durations
from proofs.raft.load import Load
from proofs.raft.observer import Observer, Port, duplicates
from proofs.raft.stage import PARTS, Stage
from testbed import progress
from testbed.bed import Bed
from testbed.service import BedError, wait_for

AGAIN = 5.0  # seconds, at most, from a quorum to addresses
LEASE = 5.0  # seconds; a stopped leader costs them too
PAUSED, CONTROL = "controller's leader paused and woken", "the same without the fence (control)"


@dataclass(frozen=True, slots=True)
class Row:
    """One fault. Seconds without allocation are the longest wait of a pod for its addresses.

    Seconds after quorum are the longest wait while a member led with a quorum.
    """

    fault: str
    seconds_without_allocation: float
    seconds_without_quorum: float
    seconds_after_quorum: float
    pods: int
    duplicates: int
    ports_changed: int
    writes_by_deposed: int
    ok: bool


@dataclass(frozen=True, slots=True)
class Run:
    """What observes each fault."""

    stage: Stage
    load: Load
    observer: Observer

    def row(self, fault: str, inflict: Callable[[], int], allowed: float = AGAIN) -> Row:
        """Inflict a fault, wait until every pod has its addresses, and judge what happened."""
        progress.say(f"  {fault}")
        before, began = self._given(), time.monotonic()
        wrote = inflict()
        ended = time.monotonic()
        try:
            wait_for(lambda: not self.load.waiting(), "all pods", timeout=60)
        except BedError as error:
            progress.say(str(error))
        after = self.observer.ports()
        waits = self.load.waits(began, ended)
        longest = max((end - start for start, end in waits.values()), default=0.0)
        late = [
            end - start - self.observer.without_quorum(start, end) for start, end in waits.values()
        ]
        twice = duplicates(list(after.values())) + self.load.duplicates()
        changed = sum(after.get(name) != port for name, port in before.items())
        good = not self.load.waiting() and max(late, default=0.0) <= allowed
        return Row(
            fault,
            round(longest, 2),
            round(self.observer.without_quorum(began, ended), 2),
            round(max(late, default=0.0), 2),
            len(waits),
            twice,
            changed,
            wrote,
            ok=good and not twice and not changed and not wrote,
        )

    def _given(self) -> dict[str, Port]:
        """Return the ports of the pods that have their addresses."""
        known = {f"{name}.default" for name in tuple(self.load.allocated)}
        return {name: port for name, port in self.observer.ports().items() if name in known}


def main() -> int:
    """Run the chosen faults, write the rows and print them. Return 0 if all are good."""
    options = _options()
    if Bed.is_alive(options.bed):  # left by a killed run
        Bed.attach(options.bed).down()
    with Bed.up(options.bed, parts=PARTS) as bed:
        stage = Stage(bed)
        try:
            rows = _rows(stage, options)
        finally:
            stage.stop()
    mine = {row.fault for row in rows}
    others = [row for row in read_rows("raft") if row["fault"] not in mine] if options.only else []
    write_rows("raft", [*others, *map(asdict, rows)])
    lines = [[str(getattr(row, name)) for name in Row.__slots__] for row in rows]
    print(markdown_table(list(Row.__slots__), lines))
    return 0 if all(row.ok for row in rows) else 1


def _rows(stage: Stage, options: argparse.Namespace) -> list[Row]:
    stage.prepare()
    load, observer = Load(stage.bed.api, options.rate), Observer(stage.bed)
    for name in ("a", "b"):
        stage.start(name, LEASE)
    stage.subnet()
    observer.start()
    load.start()
    wait_for(lambda: len(load.allocated) > 2, "the first pods", timeout=60)
    run, durations = Run(stage, load, observer), Durations(options.seconds, options.cut)
    rows = []
    for fault, inflict in FAULTS.items():
        if options.only in fault:
            rows.append(run.row(fault, lambda act=inflict: act(stage.bed, durations) or 0))  # type: ignore[misc]
    if options.only in PAUSED:
        rows += _deposed(run)
    load.stop()
    observer.stop()
    return rows


def _deposed(run: Run) -> list[Row]:
    """Return the rows of a paused leader: with the fence, then without, which must write."""

    def woken(*, fenced: bool) -> Callable[[], int]:
        return lambda: deposed.wake(run.stage, run.load, run.observer, fenced=fenced)

    # Both leaders are stopped for a while, and then the successor's Lease has to run out.
    with_fence = run.row(PAUSED, woken(fenced=True), allowed=60)
    control = run.row(CONTROL, woken(fenced=False), allowed=60)
    return [with_fence, replace(control, ok=control.writes_by_deposed > 0)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="raft", description=__doc__)
    parser.add_argument("--rate", type=float, default=50, help="pods a minute (%(default)s)")
    parser.add_argument("--seconds", type=float, default=20, help="of a fault (%(default)s)")
    parser.add_argument("--cut", type=float, default=60, help="seconds cut off (%(default)s)")
    parser.add_argument(
        "--only",
        default="",
        metavar="WORDS",
        help="only faults whose name has this; rows of other faults stay in the file",
    )
    parser.add_argument("--bed", default="raft", help="name of the test bed (%(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
