"""`python -m proofs.soak --minutes 60 --seed 7`: run the soak and write its report."""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import time
from datetime import UTC, datetime

from proofs.drift.environment import EVIDENCE
from proofs.drift.provision import provisioned
from proofs.drift.report import Report
from proofs.soak import report, stage
from proofs.soak.report import Row
from proofs.soak.run import Soak
from testbed import progress
from testbed.gate import Gate
from testbed.service import BedError

HOME = EVIDENCE / "soak"


def main() -> int:
    """Run the soak and write its report. Return 0 if everything in it holds, else 1."""
    args = _arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    seed = args.seed if args.seed is not None else random.randrange(1_000_000)
    shutil.rmtree(HOME, ignore_errors=True)
    began, rows = time.monotonic(), [Row("seed", seed, "", "", ok=True)]
    soak: Soak | None = None
    try:
        with provisioned(args.pods, HOME, args.bed, keep=args.keep, prepare=stage.prepare) as env:
            there = stage.Stage(env, Gate.attach(env.bed))
            soak = Soak(there, Report(HOME, seed, args.pods), seed, args.minutes * 60)
            soak.run(args.only)
    except (BedError, OSError, KeyboardInterrupt) as error:
        progress.say(f"stopped: {error!r}"[:2000])
        rows.append(Row("the run was completed", 0, "", "", ok=False, note=repr(error)[:300]))
    rows += soak.rows() if soak else []
    started = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    minutes = (time.monotonic() - began) / 60
    head = f"{args.minutes:g} minutes, {args.pods} pods, seed {seed}, {started}, {minutes:.1f} min"
    report.write(head, rows)
    print(f"{head}\n{report.markdown(rows)}")
    return 0 if all(row.ok for row in rows) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="(default: %(default)s)")
    parser.add_argument("--pods", type=int, default=30, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, help="seed of every choice (default: random, printed)")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="WORDS",
        help="inflict only faults whose name contains this",
    )
    parser.add_argument("--bed", help="name of the test bed")
    parser.add_argument("--keep", action="store_true", help="leave the test bed running")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
