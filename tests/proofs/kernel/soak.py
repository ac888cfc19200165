"""`python -m proofs.kernel.soak --minutes 10`: faults, ADDs, DELs, edits on the kernel's datapath.

They come in rounds. After each, every pod must be right and reach its gateways within a time, CHECK
must pass for all, nothing of a deleted sandbox and no foreign thing may have changed, and what pods
that no fault touches send each other must have arrived. Every third round is an outage, which may
lose some, unless it is the agent's. The rows go to build/soak-kernel.json, raw findings to
build/evidence/soak-kernel.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from kit.report import write_page, write_rows
from proofs.drift import tables
from proofs.drift.carrying import heed_signals
from proofs.drift.environment import EVIDENCE
from proofs.drift.report import Report
from proofs.kernel import stage
from proofs.kernel.churn import Churn
from proofs.kernel.rounds import Round, Rounds
from proofs.soak import report
from proofs.soak.report import Row
from testbed import progress
from testbed.service import BedError

NAME, PODS = "soak-kernel", 15
FAILURES = (BedError, OSError, LookupError, ValueError, subprocess.SubprocessError)


def main() -> int:
    """Run the soak and write its report. Return 0 if everything in it holds, else 1."""
    args = _arguments()
    heed_signals()
    evidence = EVIDENCE / NAME
    shutil.rmtree(evidence, ignore_errors=True)
    seed = args.seed if args.seed is not None else random.randrange(1_000_000)
    began, rows, rounds = time.monotonic(), [Row("seed", seed, "", "", ok=True)], None
    try:
        with stage.provisioned(args.pods, evidence, args.bed, forwards=True) as env:
            churn = Churn(env, random.Random(seed))
            rounds = Rounds(env, Report(evidence, seed, args.pods), churn)
            rounds.run(args.minutes * 60)
    except (*FAILURES, KeyboardInterrupt) as error:
        progress.say(f"stopped: {error!r}"[:2000])
        rows.append(Row("the run was completed", 0, "", "", ok=False, note=repr(error)[:300]))
    rows += list(_rows(rounds)) if rounds else []
    started = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    minutes = (time.monotonic() - began) / 60
    head = f"{args.minutes:g} minutes, {args.pods} pods, seed {seed}, {started}, {minutes:.1f} min"
    write_rows(NAME, rows)
    write_page(NAME, page := f"{head}\n\n{report.markdown(rows)}")
    print(page)
    return 0 if rounds and all(row.ok for row in rows) else 1


def _rows(rounds: Rounds) -> Iterator[Row]:
    done = rounds.done
    counts = ", ".join(f"{count} {what}" for what, count in sorted(rounds.churn.counts.items()))
    yield Row("rounds", len(done), "", "> 0", bool(done), counts)
    bad = [each for each in done if each.findings]
    note = "; ".join(f"{each.title}: {each.findings}" for each in bad)[:600]
    yield Row("rounds after which something is wrong", len(bad), "", "0", not bad, note)
    yield _times(done)
    yield from _packets([each for each in done if not each.outage])
    kills = rounds.churn.counts["agents killed"]
    ends = len(rounds.lives) - 1 - kills
    yield Row("ends of the agent that no fault asked for", ends, "", "0", ends <= 0)
    yield from rounds.growth()


def _packets(done: list[Round]) -> Iterator[Row]:
    """Yield what untouched pods lost in these rounds.

    What the kernel forwards by itself may lose nothing, and what ovs-vswitchd answers not more than
    the datapath says that it dropped on the way to it.
    """
    between, gateways = ([getattr(r, name) for r in done] for name in ("between", "gateways"))
    lost, sent = sum(each.lost for each in between), sum(each.sent for each in between)
    note = f"of {sent}, in {len(done)} rounds without an outage"
    yield Row("packets between untouched pods lost", lost, "", "0", bool(sent) and not lost, note)
    lost, sent = sum(each.lost for each in gateways), sum(each.sent for each in gateways)
    dropped = sum(each.dropped for each in done)
    note = f"of {sent}; dropped by the datapath on the way to ovs-vswitchd: {dropped}, of all pods"
    name, good = "packets to the gateways lost", bool(sent) and lost <= dropped
    yield Row(name, lost, "", f"<= {dropped}", good, note)


def _times(done: list[Round]) -> Row:
    times = [each.seconds for each in done]
    p50, most = tables.percentile(times, 0.5), max(times, default=float("nan"))
    note = f"median {p50:.1f} s, traffic, CHECK and traces included"
    return Row("all right after a round", round(most, 1), "s", "a round's bound", bool(times), note)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="proofs.kernel.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="default: %(default)s")
    parser.add_argument("--pods", type=int, default=PODS, help="default: %(default)s")
    parser.add_argument("--seed", type=int, help="default: random, and printed")
    parser.add_argument("--bed", help="name of the test bed")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
