"""`python -m proofs.bench`: the comparison, hostile pods, a large node, DELs without a port.

Also pods with three interfaces, ADDs in a resync, and counts that no load disturbs. Pods that come
and go for minutes only with --only churn.

With --profile, where the agent spends its time.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from proofs.bench import (
    attachments,
    churn,
    comparison,
    deletion,
    hostile,
    large,
    measures,
    profile,
    ratios,
    report,
    resyncing,
    rows,
    turning,
)
from proofs.bench.environment import ROOT, BenchError, build, provisioned
from proofs.bench.implementations import all_implementations
from testbed import progress
from testbed.service import BedError

PLUGIN = ROOT / "cni" / "plugin" / "ovnlet"

# Each part on a bed of its own, with what the names of its rows begin with.
PARTS = {
    "hostile": (hostile.run, ("hostile", "fight")),
    "large": (large.run, ("large",)),
    "deletion": (deletion.run, ("DEL, port",)),
    "attachments": (attachments.run, ("attachments",)),
    "resync": (resyncing.run, ("resync",)),
    "turns": (turning.run, ("counted",)),
}


def main() -> int:
    """Run the comparison or the profile. Return 1 if the run failed."""
    args, name = _arguments(), f"bench-{os.getpid()}"
    try:
        if args.profile:
            profile.run(name, args.ports, args.seed)
        elif args.ratios:
            good = ratios.judged(lambda: _samples(name, args.seed), commit=args.commit)
            return 0 if good else 1
        else:
            if args.only in (None, "compare", "bursts"):
                _compare(name, _size(args), args.seed, args.without)
            if args.only == "churn":
                measures.add(churn.run(name, PLUGIN, args.seed, args.minutes), ("churn",))
            for only, (run, prefixes) in PARTS.items():
                if args.only in (None, only):
                    measures.add(run(name, PLUGIN, args.seed), prefixes)
    except (BedError, BenchError, subprocess.CalledProcessError) as error:
        progress.say(f"the run failed: {error}")
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds, for development")
    parser.add_argument(
        "--seed", type=int, default=1, help="seed of the order of the implementations"
    )
    parser.add_argument(
        "--profile", action="store_true", help="run the agent under cProfile instead"
    )
    parser.add_argument(
        "--ports", type=int, default=100, help="ports for --profile (default: %(default)s)"
    )
    parser.add_argument(
        "--only",
        choices=("compare", "bursts", "churn", *PARTS),
        help="one part of it (default: all but churn)",
    )
    parser.add_argument(
        "--burst-rounds", type=int, metavar="N", help="rounds of each burst (default: 5 to 20)"
    )
    parser.add_argument(
        "--without", action="append", default=[], metavar="NAME", help="leave one of these out"
    )
    parser.add_argument(
        "--ratios", action="store_true", help="compare a few ratios with the committed ones instead"
    )
    parser.add_argument(
        "--commit", action="store_true", help="with --ratios: commit those of this run instead"
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=churn.MINUTES,
        help="how long --only churn goes on (default: %(default)s)",
    )
    return parser.parse_args()


def _size(args: argparse.Namespace) -> comparison.Size:
    size = comparison.QUICK if args.quick else comparison.FULL
    size = comparison.ONLY_BURSTS if args.only == "bursts" else size
    return size.with_bursts(args.burst_rounds) if args.burst_rounds else size


def _compare(name: str, size: comparison.Size, seed: int, without: list[str]) -> None:
    floor, empty = build()
    every = all_implementations(PLUGIN, floor)
    head = report.describe_run(seed, size)
    with provisioned(name, size.pods, seed) as env:
        chosen = {name: each for name, each in every.items() if name not in without}
        samples = comparison.run(env, chosen, empty, size)
    head += report.describe_end()
    result, aims = samples.rows(), rows.aims(samples)
    report.write(head, result, aims)
    report.show(head, result, aims)


def _samples(name: str, seed: int) -> rows.Samples:
    """Measure the agent and the floor for the ratios."""
    floor, empty = build()
    every = all_implementations(PLUGIN, floor)
    with provisioned(name, comparison.RATIOS.pods, seed) as env:
        return comparison.run(
            env, {each: every[each] for each in ratios.NAMES}, empty, comparison.RATIOS
        )


if __name__ == "__main__":
    sys.exit(main())
