"""`python -m proofs.drift`: run the proof, or a part of it on a smaller bed for development."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
from pathlib import Path

from proofs.drift import checks, rest
from proofs.drift.carrying import carry_out
from proofs.drift.environment import EVIDENCE, Environment
from proofs.drift.node_faults import NODE_FAULTS
from proofs.drift.outages import OUTAGES
from proofs.drift.plan import Plan
from proofs.drift.provision import provisioned
from proofs.drift.report import Report
from proofs.drift.table import FAULTS

# A run of each kind once: pods, and the longest outage in seconds.
ONCE_PODS, ONCE_OUTAGE = 24, 10


def main() -> int:
    """Run the proof and write its report. Return 0 if everything in it is good, else 1."""
    args = _arguments()
    if args.once:
        args.repeats, args.pairs, args.pods = 1, 0, args.pods or ONCE_PODS
    mode = "rest" if args.rest else ""
    report = _make_report(
        args,
        EVIDENCE / "-".join(filter(None, ("drift", mode))),
        100 if args.rest else 50,
    )

    def work(env: Environment) -> None:
        if args.rest:
            rest.run(env, report, args.rest)
        else:
            _plan(args).run(env, report)

    stage = provisioned(report.pods, report.evidence, args.bed, keep=args.keep)
    carry_out(report, stage, work, mode)
    return 0 if (report.complete if args.once else report.good) else 1


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


def _plan(args: argparse.Namespace) -> Plan:
    """Return what the arguments ask for."""
    whole = Plan(
        FAULTS,
        NODE_FAULTS,
        OUTAGES,
        checks.CHECKS,
        args.repeats,
        args.pairs,
        agent_restart=True,
        control=not args.no_control,
    )
    return (whole.once(ONCE_OUTAGE) if args.once else whole).containing(*args.only)


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
