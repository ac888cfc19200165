"""Run the test floors one after the other, then print what they counted and which code they ran.

Reports of the last run, all under build/: junit/<floor>.xml, figures/<floor>.txt (what the tests
of a floor printed) and coverage/ (branch coverage of all floors together).
"""

import argparse
import json
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from subprocess import run
from xml.etree import ElementTree

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
FOLDERS = {
    "unit": ("unit", "docs", "integration/testbed"),
    "node": ("integration/node",),
    "apiserver": ("integration/apiserver",),
    "controller": ("integration/controller",),
    "cni": ("integration/cni",),
    "e2e": ("integration/e2e",),
    "tools": ("integration/tools",),
    "kernel": ("integration/kernel",),
}
# Which tests of a floor run: those of every run, the slow ones only, or all but the slow ones.
MARKS = {
    "": ("-m", "not long and not whole"),
    "long": ("-m", "long", "-o", "timeout=1500"),
    "whole": ("-m", "not long", "-o", "timeout=1500"),
}
LEAST_COVERED = 10


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line and the environment ask for."""

    floors: tuple[str, ...]
    marks: tuple[str, ...]
    verbose: bool
    coverage: bool


@dataclass(frozen=True, slots=True)
class Floor:
    """The counts of one floor's run."""

    name: str
    passed: int
    failed: int
    skipped: int
    seconds: float


def options(arguments: list[str], coverage: str = "1") -> Options:
    """Return the options that ``arguments`` name; exit with 2 and a message on an unknown one.

    ``coverage`` is the environment's COVERAGE. The slow tests measure times and memory of many
    minutes, so they run without coverage in any case.
    """
    parser = argparse.ArgumentParser(
        prog="floors.py",
        description="Run the test floors. COVERAGE=0 in the environment turns coverage off.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "floors", nargs="*", type=_floor_name, metavar="FLOOR", help=f"of {', '.join(FOLDERS)}"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="show what tests print")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--long", action="store_true", help="only the tests of many minutes")
    which.add_argument("--whole", action="store_true", help="all tests but those of many minutes")
    chosen = parser.parse_intermixed_args(arguments)
    marks = MARKS["long" if chosen.long else "whole" if chosen.whole else ""]
    measured = coverage != "0" and not chosen.long
    return Options(tuple(chosen.floors) or tuple(FOLDERS), marks, chosen.verbose, measured)


def _floor_name(word: str) -> str:
    if word not in FOLDERS:
        raise argparse.ArgumentTypeError(f"no floor {word!r}; there are {', '.join(FOLDERS)}")
    return word


def main(arguments: list[str]) -> int:
    """Return 0 only if every floor ran at least one test and none failed."""
    chosen = options(arguments, os.environ.get("COVERAGE", "1"))
    data = BUILD / "coverage" / "data"
    if chosen.coverage:
        shutil.rmtree(data.parent, ignore_errors=True)
        data.parent.mkdir(parents=True)
    floors = [_run(name, chosen, data) for name in chosen.floors]
    if chosen.coverage:
        _report_coverage(data)
    table = Table("floor", "passed", "failed", "skipped", "seconds", title="test floors")
    for floor in floors:
        counts = (floor.passed, floor.failed, floor.skipped)
        table.add_row(floor.name, *map(str, counts), f"{floor.seconds:.0f}")
    Console().print(table)
    passed, failed, skipped = (
        sum(getattr(f, key) for f in floors) for key in ("passed", "failed", "skipped")
    )
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 0 if failed == 0 and all(floor.passed for floor in floors) else 1


def _run(name: str, chosen: Options, data: Path) -> Floor:
    print(f"── floor {name}", flush=True)
    report = BUILD / "junit" / f"{name}.xml"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    measured = ("coverage", "run", "-m") if chosen.coverage else ()
    shown = ("--capture=tee-sys", "--durations=5") if chosen.verbose else ()
    folders = [str(ROOT / "tests" / folder) for folder in FOLDERS[name]]
    command = [sys.executable, "-m", *measured, "pytest", *folders, *chosen.marks, *shown]
    command += [f"--junitxml={report}", "-o", "junit_logging=system-out"]
    begun = time.monotonic()
    environment = os.environ | ({"COVERAGE_FILE": str(data)} if chosen.coverage else {})
    code = run(command, cwd=ROOT, env=environment, check=False).returncode
    seconds = time.monotonic() - begun
    if not report.exists():
        return Floor(name, 0, 1, 0, seconds)
    tree = ElementTree.parse(report).getroot()
    _write(BUILD / "figures" / f"{name}.txt", figures(tree))
    return counted(name, tree, code, seconds)


def counted(name: str, report: ElementTree.Element, code: int, seconds: float) -> Floor:
    """Return the counts of a junit report; pytest's exit ``code`` counts as one failure at least.

    Code 5 is no failure of its own: pytest found no test, and `main` refuses a floor without one.
    """
    suite = next(report.iter("testsuite"))
    bad = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    skipped = int(suite.get("skipped", 0))
    passed = int(suite.get("tests", 0)) - bad - skipped
    return Floor(name, passed, max(bad, int(code not in (0, 5))), skipped, seconds)


def figures(report: ElementTree.Element) -> str:
    """Return what each test of a junit report printed, under the test's name; nothing of others."""
    found = []
    for case in report.iter("testcase"):
        # pytest puts a line of dashes with a title in front.
        printed = [
            (out.text or "").partition("\n")[2].strip("\n") for out in case.iter("system-out")
        ]
        if text := "\n".join(filter(None, printed)):
            found.append(f"{case.get('classname')}::{case.get('name')}\n{text}\n")
    return "\n".join(found)


def _report_coverage(data: Path) -> None:
    """Combine what the floors' processes measured, print its summary and write the reports."""
    tool = [sys.executable, "-m", "coverage"]
    environment = os.environ | {"COVERAGE_FILE": str(data)}
    told = BUILD / "coverage" / "coverage.json"
    for words in (["combine", "-q"], ["json", "-q", "-o", str(told)]):
        if run([*tool, *words], cwd=ROOT, env=environment, check=False).returncode:
            print(f"coverage {words[0]} failed: no report of coverage")
            return
    report = run(
        [*tool, "report"], cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    ).stdout
    _write(BUILD / "coverage" / "report.txt", report)
    measured = json.loads(told.read_text())
    table = Table("module", "covered", "lines missed", title="least covered modules")
    for name, percent, missed in least_covered(measured["files"]):
        table.add_row(name, f"{percent:.0f} %", str(missed))
    Console().print(table)
    print(f"branch coverage: {measured['totals']['percent_covered']:.1f} %")


def least_covered(files: dict[str, dict[str, dict[str, float]]]) -> list[tuple[str, float, int]]:
    """Return the path, the percent and the missed lines of the least covered modules, worst first.

    ``files`` is that part of coverage's JSON report.
    """
    rows = [
        (name, each["summary"]["percent_covered"], int(each["summary"]["missing_lines"]))
        for name, each in files.items()
    ]
    return sorted(rows, key=lambda row: (row[1], -row[2], row[0]))[:LEAST_COVERED]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
