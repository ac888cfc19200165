"""Run the lanes of CI, which `lanes.toml` lists, and print what each one tried and passed.

Each lane is a make target. Lanes run two at once, but for those that run alone. A lane that fails
stops no other one. Under build/: ci.json has the rows
of the table, ci/<lane>.log what a lane printed. Numbers come from the report that a lane writes;
one of an earlier run is deleted first.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
TABLE = Path(__file__).with_suffix(".toml")
AT_ONCE = 2
# Seconds that a lane has to remove its beds once it is ended.
_ENDING = 60
# Shown of each lane that is not good, after the table.
_LINES = 30
Process = subprocess.Popen[str]


@dataclass(frozen=True, slots=True)
class Lane:
    """One line of lanes.toml, which explains the columns."""

    name: str
    make: str
    minutes: float
    report: str = ""
    kind: tuple[str, ...] = ()
    good: tuple[str, ...] = ()
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """The result of a lane: ``kinds`` were tried, ``passed`` of them are good."""

    lane: str
    kinds: int
    passed: int
    seconds: float
    ok: bool


def lanes(path: Path = TABLE) -> list[Lane]:
    """Return the lanes in the order of the file."""
    return [_lane(name, **keys) for name, keys in tomllib.loads(path.read_text()).items()]


def _lane(name: str, *, kind: Sequence[str] = (), good: Sequence[str] = (), **keys: Any) -> Lane:
    return Lane(name, kind=tuple(kind), good=tuple(good), **keys)


def chosen(names: Sequence[str], table: Sequence[Lane]) -> list[Lane]:
    """Return the lanes of these names in the table's order, all without names.

    Raise SystemExit with code 2 on an unknown name.
    """
    known = [lane.name for lane in table]
    if unknown := [name for name in names if name not in known]:
        print(f"no lane {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        raise SystemExit(2)
    return [lane for lane in table if not names or lane.name in names]


def main(arguments: list[str]) -> int:
    """Run the lanes. Return 0 only if all are good."""
    parser = argparse.ArgumentParser(prog="lanes.py", description=__doc__.partition("\n")[0])
    parser.add_argument("lanes", nargs="*", metavar="LANE", help="only these (default: all)")
    table = chosen(parser.parse_args(arguments).lanes, lanes())
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    rows: list[Row] = []
    began = time.monotonic()
    for alone, group in groupby(table, key=lambda lane: lane.alone):
        rows += run(list(group), 1 if alone else AT_ONCE)
        write(rows)
    show(rows, time.monotonic() - began)
    bad = {row.lane for row in rows if not row.ok}
    for lane in table:
        if lane.name in bad:
            print("\n".join(evidence(lane)))
    return 0 if all(row.ok for row in rows) else 1


def run(group: Sequence[Lane], at_once: int = 1, root: Path = ROOT) -> list[Row]:
    """Run lanes, this many at once, and return their rows once all have ended.

    An interrupt ends those that run, with what they started, and begins no other.
    """
    processes: list[Process] = []
    starting, interrupted = threading.Lock(), threading.Event()

    def one(lane: Lane) -> list[Row]:
        with starting:
            if interrupted.is_set():
                return []
            process = _start(lane, root)
            processes.append(process)
        return _carried_out(lane, root / "build", process, lane.name if at_once > 1 else "")

    with ThreadPoolExecutor(at_once) as pool:
        try:
            return list(chain.from_iterable(pool.map(one, group)))
        except KeyboardInterrupt:
            interrupted.set()
            with starting:
                running = [process for process in processes if process.returncode is None]
            for process in running:
                _end(process)
            raise


def _start(lane: Lane, root: Path) -> Process:
    """Delete the lane's report of an earlier run, and start the lane in a group of its own."""
    print(f"── lane {lane.name}: make {lane.make}", flush=True)
    for stale in (root / "build").glob(lane.report) if lane.report else ():
        stale.unlink()
    return subprocess.Popen(
        ["make", "--no-print-directory", *lane.make.split()],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )


def _carried_out(lane: Lane, build: Path, process: Process, prefix: str) -> list[Row]:
    """Show what a lane prints until it ends, at most for its minutes; return its rows."""
    began = time.monotonic()
    bound = threading.Timer(lane.minutes * 60, _end, (process,))
    bound.start()
    (log := build / "ci" / f"{lane.name}.log").parent.mkdir(parents=True, exist_ok=True)
    assert process.stdout is not None
    with log.open("w") as file:
        for line in process.stdout:
            file.write(line)
            print(f"{prefix} | {line}" if prefix else line, end="", flush=True)
    code = process.wait()
    bound.cancel()
    return counted(lane, build, code, time.monotonic() - began)


def _end(process: Process) -> None:
    """End a lane: SIGINT, on which proofs and tests remove their beds, and a minute later SIGKILL.

    SIGKILL goes to what is left of its process group in any case: such a process would keep the
    lane's output open.
    """
    with suppress(ProcessLookupError, subprocess.TimeoutExpired):
        os.killpg(process.pid, signal.SIGINT)
        process.wait(timeout=_ENDING)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def counted(lane: Lane, build: Path, code: int, seconds: float) -> list[Row]:
    """Return the row of a lane that ended with ``code``, and one for each floor that it ran.

    A lane with a report is good only if the report is there and counts something.
    """
    if not lane.report:
        return [Row(lane.name, 0, 0, round(seconds, 1), ok=code == 0)]
    paths = sorted(build.glob(lane.report), key=lambda path: path.stat().st_mtime)
    if not lane.report.endswith(".xml"):
        results = [result for path in paths for result in _results(lane, path)]
        ok = code == 0 and bool(results) and all(results)
        return [Row(lane.name, len(results), sum(results), round(seconds, 1), ok)]
    floors = [_floor(lane, path) for path in paths]
    kinds, passed = sum(floor.kinds for floor in floors), sum(floor.passed for floor in floors)
    ok = code == 0 and kinds > 0 and all(floor.ok for floor in floors)
    return [Row(lane.name, kinds, passed, round(seconds, 1), ok), *floors]


def _results(lane: Lane, path: Path) -> Iterable[bool]:
    """Return for each kind of a JSON report whether all its rows are good.

    A row that lacks a column is not good. Of a report that was not written to its end, return none.
    """
    kinds: dict[tuple[object, ...], bool] = {}
    try:
        rows = json.loads(path.read_text())
    except ValueError:
        return ()
    for row in rows:
        good = all(row.get(column) is True for column in lane.good)
        kind = tuple(row.get(column) for column in lane.kind)
        kinds[kind] = kinds.get(kind, True) and good
    return kinds.values()


def evidence(lane: Lane, build: Path = BUILD) -> list[str]:
    """Return what is not good in a lane's report, a line each; without such, how its log ends."""
    rows: list[Any] = []
    for path in build.glob(lane.report) if lane.report.endswith(".json") else ():
        with suppress(ValueError):
            rows += json.loads(path.read_text())
    bad = [json.dumps(row) for row in rows if not all(row.get(name) is True for name in lane.good)]
    printed = (build / "ci" / f"{lane.name}.log").read_text().splitlines()
    bad += [line for line in printed if line.startswith(("FAILED ", "ERROR "))]
    return [f"── lane {lane.name} is not good:", *(bad or printed)[-_LINES:]]


def _floor(lane: Lane, path: Path) -> Row:
    """Return the row of a floor: skipped tests are neither tried nor passed."""
    suite = next(ElementTree.parse(path).getroot().iter("testsuite"))
    bad = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    tried = int(suite.get("tests", 0)) - int(suite.get("skipped", 0))
    seconds = round(float(suite.get("time", 0)), 1)
    return Row(f"{lane.name}: {path.stem}", tried, tried - bad, seconds, ok=bad == 0)


def write(rows: Sequence[Row], build: Path = BUILD) -> None:
    """Write build/ci.json."""
    build.mkdir(exist_ok=True)
    (build / "ci.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


def show(rows: Sequence[Row], seconds: float) -> None:
    """Print the table, with the seconds that all lanes together took.

    That is less than their sum, where lanes ran at once; floors are part of a lane's time.
    """
    table = Table("lane", "kinds or tests", "passed", "seconds", "", title="lanes of CI")
    for row in rows:
        counts = (str(row.kinds), str(row.passed)) if row.kinds else ("", "")
        style = None if row.ok else "red"
        table.add_row(row.lane, *counts, f"{row.seconds:.0f}", "" if row.ok else "BAD", style=style)
    console = Console(width=None if sys.stdout.isatty() else 100)
    console.print(table)
    bad = [row.lane for row in rows if not row.ok]
    verdict = f"not good: {', '.join(bad)}" if bad else "all good"
    print(f"{seconds / 60:.1f} minutes; {verdict}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
