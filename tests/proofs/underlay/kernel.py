"""`python -m proofs.underlay.kernel`: the node's tests of uplinks on the kernel's datapath.

A stock kernel in a virtual machine, where Open vSwitch takes what comes to a NIC in a bridge: kills
after each step, drift, outages of Open vSwitch, the way back. Each test has its control in itself.
The tests go to build/underlay-kernel.json, their output to build/evidence/underlay-kernel.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from xml.etree import ElementTree

from kit.report import BUILD, write_rows
from testbed import guest, kernel, progress
from testbed.bed import Bed

# Minutes for all tests, and the factor of their own times: the processor may be emulated.
MINUTES, PATIENCE = 40, 10
TESTS = "tests/integration/node/underlay"
EVIDENCE = BUILD / "evidence" / "underlay-kernel"


def main() -> int:
    """Run the tests in a virtual machine; return 0 if all of them pass, else 1."""
    parser = argparse.ArgumentParser(prog="python -m proofs.underlay.kernel")
    parser.add_argument("--bed", default="proof-underlay-kernel", help="the name of the bed")
    parser.add_argument("--only", default="", help="pytest's expression for names of tests")
    chosen = parser.parse_args()
    if Bed.is_alive(chosen.bed):  # of a run that was killed
        Bed.attach(chosen.bed).down()
    stock = kernel.stock()
    with Bed.up(chosen.bed, nodes=1, parts=guest.PARTS) as bed:
        guest.boot_node(bed, stock, kernel.accelerator(stock))
        rows = _tested(bed, chosen.only)
    write_rows("underlay-kernel", rows)
    for row in rows:
        progress.say(f"{'   ' if row['ok'] else 'NOT'} {row['name']}: {row['seconds']} s")
    return 0 if rows and all(row["ok"] for row in rows) else 1


def _tested(bed: Bed, only: str) -> list[dict[str, object]]:
    directory = bed.node().directory
    report, output = directory / "underlay.xml", bed.node().log("underlay")
    words = [sys.executable, "-m", "pytest", TESTS, "-v", "-p", "no:cacheprovider"]
    words += [f"--junitxml={report}", "--timeout=1500", *(["-k", f"'{only}'"] if only else [])]
    env = f"PYTHONDONTWRITEBYTECODE=1 OVNLET_TEST_PATIENCE={PATIENCE} OVNLET_TEST_DATAPATH=system"
    script = f"cd {guest.PROJECT}; modprobe openvswitch; {env} {' '.join(words)} >{output} 2>&1"
    guest.run(bed, f"({script}) || :", timeout=60 * MINUTES)
    EVIDENCE.mkdir(parents=True, exist_ok=True)
    for path in (report, Path(output)):
        (EVIDENCE / path.name).write_bytes(path.read_bytes())
    return [_row(case) for case in ElementTree.parse(report).iter("testcase")]


def _row(case: ElementTree.Element) -> dict[str, object]:
    bad = any(case.find(each) is not None for each in ("failure", "error", "skipped"))
    seconds = round(float(case.get("time", 0)), 1)
    return {"name": str(case.get("name")), "ok": not bad, "seconds": seconds}


if __name__ == "__main__":
    sys.exit(main())
