"""`python -m proofs.kernel.drift`: the drift table on a stock kernel's datapath.

Its rows go to build/drift-kernel.json, those of a slice to build/drift-kernel-slice.json. They have
the columns of drift.json, and the ratio of each repair to the floor of the same node: one rtnetlink
batch and one OVSDB transaction, measured just before.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys

from proofs.drift import tables
from proofs.drift.carrying import carry_out
from proofs.drift.environment import EVIDENCE
from proofs.drift.report import Report
from proofs.kernel import faults, stage, unharmed
from proofs.kernel.stage import KernelEnvironment

NAME, SLICE = "drift-kernel", "drift-kernel-slice"
PODS = 21  # one for each kind of the slice, and the sentinel pod


def main() -> int:
    """Run the table and write its report. Return 0 if everything in it is good, else 1."""
    args = _arguments()
    report = _make_report(args)
    plan = faults.a_slice(1) if args.slice else faults.whole(args.repeats, args.pairs)

    def work(env: KernelEnvironment) -> None:
        plan.containing(*args.only).run(env, report)
        if not args.only:
            unharmed.run(env, report)
        _judge(env, report)

    with_pods = stage.provisioned(
        report.pods, report.evidence, args.bed, forwards=not args.slice, keep=args.keep
    )
    carry_out(report, with_pods, work)
    return 0 if report.good else 1


def _judge(env: KernelEnvironment, report: Report) -> None:
    """Record p50 and p99 of all event kinds as a ratio to the floor, and the floor itself."""
    ratios = [row.ratio for row in report.rows if row.klass == "event" and row.ratio is not None]
    if not ratios:
        return
    p50, p99 = (tables.percentile(ratios, share) for share in (0.5, 0.99))
    aims = tables.RATIO_AIMS["event"]
    floor = env.measure_floor()
    figures = f"{p50:.0f} and {p99:.0f} times the floor over {len(ratios)} trials; floor {floor} ms"
    holds = p50 <= aims["p50"] and p99 <= aims["p99"]
    report.prove("p50 and p99 of all event kinds, as a ratio to the floor", holds, figures)


def _make_report(args: argparse.Namespace) -> Report:
    name = args.name or (SLICE if args.slice else NAME)
    evidence = EVIDENCE / name
    if args.resume:
        return Report.resumed(evidence)
    shutil.rmtree(evidence, ignore_errors=True)
    seed = args.seed if args.seed is not None else random.randrange(1_000_000)
    return Report(evidence, seed, args.pods, name=name)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="proofs.kernel.drift", description=__doc__)
    parser.add_argument("--slice", action="store_true", help="20 kinds, once each")
    parser.add_argument("--pods", type=int, default=PODS, help="default: %(default)s")
    parser.add_argument("--repeats", type=int, default=3, help="trials of each fast fault")
    parser.add_argument("--pairs", type=int, default=20, help="random pairs of faults")
    parser.add_argument("--seed", type=int, help="default: random, and printed")
    parser.add_argument("--resume", action="store_true", help="continue an interrupted run")
    parser.add_argument("--only", action="append", default=[], metavar="WORDS")
    parser.add_argument("--name", help="of the report")
    parser.add_argument("--bed", help="name of the test bed")
    parser.add_argument("--keep", action="store_true", help="leave the test bed running")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
