"""`python -m proofs.drift`: run the proof, or a part of it on a smaller bed for development."""

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

from proofs.drift import checks, control, node_trials, rest, restarts, trials
from proofs.drift.environment import EVIDENCE, Environment
from proofs.drift.outages import OUTAGES
from proofs.drift.provision import provisioned
from proofs.drift.report import Report, RunAborted
from testbed import progress
from testbed.service import BedError

# A run of each kind once: pods, and the longest outage in seconds.
ONCE_PODS, ONCE_OUTAGE = 24, 10


def main() -> int:
    """Run the proof and write its report. Return 0 if everything in it is good, else 1."""
    args = _arguments()
    if args.once:
        args.repeats, args.pairs, args.pods = 1, 0, args.pods or ONCE_PODS
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    mode = "rest" if args.rest else ""
    began = time.monotonic()
    report = _make_report(
        args,
        EVIDENCE / "-".join(filter(None, ("drift", mode))),
        100 if args.rest else 50,
    )
    try:
        with provisioned(report.pods, report.evidence, args.bed, keep=args.keep) as env:
            if args.rest:
                rest.run(env, report, args.rest)
            else:
                _run_table(env, report, args, report.seed)
    except (BedError, RunAborted, KeyboardInterrupt) as error:
        progress.say(f"stopped: {error!r}")
        report.prove("the run was completed", False, str(error)[:300] or "it was interrupted")
    finally:
        minutes = (time.monotonic() - began) / 60
        started = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        head = f"{report.pods} pods, seed {report.seed}, {started}, {minutes:.1f} min"
        report.write(mode, head)
        report.show(Console(width=None if sys.stdout.isatty() else 150), head)
    return 0 if (_is_complete(report) if args.once else report.good) else 1


def _is_complete(report: Report) -> bool:
    """Return whether all rows and proofs are good. One trial of a kind is too few for an aim."""
    return all(row.good for row in report.rows) and all(holds for _, holds, _ in report.proofs)


def _make_report(args: argparse.Namespace, evidence: Path, pods: int) -> Report:
    """Return the report of the run to resume, or an empty one after deleting the old evidence."""
    if args.resume:
        return Report.resumed(evidence)
    shutil.rmtree(evidence, ignore_errors=True)
    return Report(
        evidence,
        args.seed if args.seed is not None else random.randrange(1_000_000),
        args.pods or pods,
    )


def _run_table(env: Environment, report: Report, args: argparse.Namespace, seed: int) -> None:
    """Run all trials, outages and checks, then their control runs without an agent."""
    faults = trials.select_faults(args.only)
    node_faults = node_trials.select_node_faults(args.only)
    if args.once:
        # First those that spend a remedy: the agent has two in a row, and others may spend one too.
        node_faults.sort(key=lambda fault: -fault.min_interval)
    chosen = trials.draw(faults, args.pairs, seed)
    trials.fast(env, report, faults, args.repeats, seed)
    trials.pairs(env, report, chosen, seed)
    trials.slow(env, report, faults, args.repeats, seed)
    node_trials.run(env, report, node_faults, args.repeats, seed)
    outages_to_run = [
        outage
        for outage in OUTAGES
        if (not args.only or any(word in outage.name for word in args.only))
        and not (args.once and outage.seconds > ONCE_OUTAGE)
    ]
    restarts.run(env, report, outages_to_run, seed)
    checks_to_run = [
        check
        for check in checks.CHECKS
        if (not args.only or any(word in check.name for word in args.only)) and not args.once
    ]
    if not (args.only or args.once):
        checks.restart(env, report)
    checks.run(env, report, checks_to_run, seed)
    if not args.no_control:
        control.run(env, report, faults, chosen)
        node_trials.control(env, report, node_faults)
        restarts.control(env, report, outages_to_run, seed)
        checks.control(env, report, checks_to_run, seed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="drift", description=__doc__)
    parser.add_argument("--pods", type=int, help="pods on the node (default: 50; --rest 100)")
    parser.add_argument(
        "--rest",
        type=float,
        nargs="?",
        const=5,
        metavar="MINUTES",
        help="count all writes on a node at rest",
    )
    parser.add_argument(
        "--repeats", type=int, default=10, help="trials of each fast fault (default: %(default)s)"
    )
    parser.add_argument(
        "--pairs", type=int, default=100, help="random pairs of faults (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, help="seed of every choice (default: random, printed)")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue an interrupted run, with its seed and pods",
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="WORDS",
        help="run only faults whose name contains this",
    )
    parser.add_argument(
        "--once",
        action="store_true",
        help="each kind once: no pairs, no long outages, no sequences of their own",
    )
    parser.add_argument(
        "--no-control", action="store_true", help="skip the control run; then no row counts as good"
    )
    parser.add_argument("--bed", help="name of the test bed")
    parser.add_argument("--keep", action="store_true", help="leave the test bed running")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
