"""Run the test floors one after the other, show each as it goes, and count at the end."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from subprocess import run
from xml.etree import ElementTree

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {
    "unit": ("unit", "docs", "integration/testbed"),
    "node": ("integration/node",),
    "apiserver": ("integration/apiserver",),
    "controller": ("integration/controller",),
    "cni": ("integration/cni",),
    "e2e": ("integration/e2e",),
    "kernel": ("integration/kernel",),
}
# Which tests of a floor: those of every run, those of many minutes alone, or the whole floor but for these.
MARKS = {
    "": ("-m", "not long and not whole"),
    "--long": ("-m", "long", "-o", "timeout=1500"),
    "--whole": ("-m", "not long", "-o", "timeout=1500"),
}


@dataclass(frozen=True, slots=True)
class Floor:
    name: str
    passed: int
    failed: int
    skipped: int
    seconds: float


def main(arguments: list[str]) -> int:
    """Returns 0 only if every floor ran at least one test and none failed."""
    marks = next((MARKS[argument] for argument in arguments if argument in MARKS), MARKS[""])
    names = [argument for argument in arguments if not argument.startswith("-")] or list(FOLDERS)
    floors = [_floor(name, marks) for name in names]
    table = Table("floor", "passed", "failed", "skipped", "seconds", title="test floors")
    for floor in floors:
        table.add_row(
            floor.name,
            str(floor.passed),
            str(floor.failed),
            str(floor.skipped),
            f"{floor.seconds:.0f}",
        )
    Console().print(table)
    passed, failed, skipped = (
        sum(getattr(f, key) for f in floors) for key in ("passed", "failed", "skipped")
    )
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 0 if failed == 0 and all(floor.passed for floor in floors) else 1


def _floor(name: str, marks: tuple[str, ...]) -> Floor:
    print(f"── floor {name}", flush=True)
    report = ROOT / "build" / "junit" / f"{name}.xml"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    folders = [str(ROOT / "tests" / folder) for folder in FOLDERS[name]]
    begun = time.monotonic()
    # Not captured: the figures that tests print are part of what they show.
    command = [
        sys.executable,
        "-m",
        "pytest",
        *folders,
        *marks,
        f"--junitxml={report}",
        "--durations=5",
        "-s",
    ]
    code = run(command, cwd=ROOT, check=False).returncode
    seconds = time.monotonic() - begun
    if not report.exists():
        return Floor(name, 0, 1, 0, seconds)
    suite = next(ElementTree.parse(report).iter("testsuite"))
    bad, skipped = (
        int(suite.get("failures", 0)) + int(suite.get("errors", 0)),
        int(suite.get("skipped", 0)),
    )
    passed = int(suite.get("tests", 0)) - bad - skipped
    return Floor(name, passed, max(bad, int(code not in (0, 5))), skipped, seconds)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
