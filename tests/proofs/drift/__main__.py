"""`python -m drift`: the whole proof; parts of it and smaller beds for development."""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from proofs.drift import checks, control, rest, restarts, soak, trials
from proofs.drift.environment import EVIDENCE, Environment, provisioned
from proofs.drift.outages import OUTAGES
from proofs.drift.report import Report, RunAborted
from testbed import progress
from testbed.service import BedError


def main() -> int:
    args = _arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    mode = "rest" if args.rest else "soak" if args.soak else ""
    began = time.monotonic()
    report = _make_report(
        args,
        EVIDENCE / "-".join(filter(None, ("drift", mode))),
        100 if args.rest else 30 if args.soak else 50,
    )
    try:
        with provisioned(report.pods, report.evidence, args.bed, keep=args.keep) as env:
            if args.rest:
                rest.run(env, report, args.rest)
            elif args.soak:
                soak.run(env, report, args.soak, report.seed)
            else:
                _run_table(env, report, args, report.seed)
    except (BedError, RunAborted, KeyboardInterrupt) as error:
        progress.say(f"stopped: {error!r}")
        report.prove("the run came to its end", False, str(error)[:300] or "it was stopped")
    finally:
        minutes = (time.monotonic() - began) / 60
        head = f"{report.pods} pods, seed {report.seed}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {minutes:.1f} min"
        report.write(mode, head)
        report.show(Console(width=None if sys.stdout.isatty() else 150), head)
    return 0 if report.good else 1


def _make_report(args: argparse.Namespace, evidence: Path, pods: int) -> Report:
    if args.resume:
        return Report.resumed(evidence)
    shutil.rmtree(evidence, ignore_errors=True)
    return Report(
        evidence,
        args.seed if args.seed is not None else random.randrange(1_000_000),
        args.pods or pods,
    )


def _run_table(env: Environment, report: Report, args: argparse.Namespace, seed: int) -> None:
    faults = trials.select_faults(args.only)
    chosen = trials.draw(faults, args.pairs, seed)
    trials.fast(env, report, faults, args.repeats, seed)
    trials.pairs(env, report, chosen, seed)
    trials.slow(env, report, faults, args.repeats, seed)
    outages_to_run = [
        outage
        for outage in OUTAGES
        if not args.only or any(word in outage.name for word in args.only)
    ]
    restarts.run(env, report, outages_to_run, seed)
    checks_to_run = [
        check
        for check in checks.CHECKS
        if not args.only or any(word in check.name for word in args.only)
    ]
    if not args.only:
        checks.restart(env, report)
    checks.run(env, report, checks_to_run, seed)
    if not args.no_control:
        control.run(env, report, faults, chosen)
        restarts.control(env, report, outages_to_run, seed)
        checks.control(env, report, checks_to_run, seed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="drift", description=__doc__)
    parser.add_argument(
        "--pods", type=int, help="on the node (default: 50, at rest 100, in a soak 30)"
    )
    parser.add_argument(
        "--rest", type=float, nargs="?", const=5, metavar="MINUTES", help="look who writes at rest"
    )
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="chaos instead of the table")
    parser.add_argument(
        "--repeats", type=int, default=10, help="of each fast kind (default: %(default)s)"
    )
    parser.add_argument(
        "--pairs", type=int, default=100, help="random pairs (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, help="of every choice; drawn and printed without")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="take up a run that was cut off, with its seed and pods",
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="WORDS",
        help="kinds whose name contains this",
    )
    parser.add_argument(
        "--no-control", action="store_true", help="leave the control run out; then nothing counts"
    )
    parser.add_argument("--bed", help="name of the bed")
    parser.add_argument("--keep", action="store_true", help="leave the bed up")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
