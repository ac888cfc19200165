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

from proofs.drift import control, exams, parts, rest, soak, trials
from proofs.drift.report import Book, Spoilt
from proofs.drift.stage import BUILD, EVIDENCE, Stage, staged
from testbed import progress
from testbed.service import BedError


def main() -> int:
    told = _arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    mode = "rest" if told.rest else "soak" if told.soak else ""
    began = time.monotonic()
    book = _book(
        told,
        EVIDENCE / "-".join(filter(None, ("drift", mode))),
        100 if told.rest else 30 if told.soak else 50,
    )
    try:
        with staged(book.pods, book.evidence, told.bed, keep=told.keep) as stage:
            if told.rest:
                rest.run(stage, book, told.rest)
            elif told.soak:
                soak.run(stage, book, told.soak, book.seed)
            else:
                _table(stage, book, told, book.seed)
    except (BedError, Spoilt, KeyboardInterrupt) as error:
        progress.say(f"stopped: {error!r}")
        book.prove("the run came to its end", False, str(error)[:300] or "it was stopped")
    finally:
        minutes = (time.monotonic() - began) / 60
        head = f"{book.pods} pods, seed {book.seed}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {minutes:.1f} min"
        book.write(BUILD, mode, head)
        book.show(Console(width=None if sys.stdout.isatty() else 150), head)
    return 0 if book.good else 1


def _book(told: argparse.Namespace, evidence: Path, pods: int) -> Book:
    if told.resume:
        return Book.resumed(evidence)
    shutil.rmtree(evidence, ignore_errors=True)
    return Book(
        evidence,
        told.seed if told.seed is not None else random.randrange(1_000_000),
        told.pods or pods,
    )


def _table(stage: Stage, book: Book, told: argparse.Namespace, seed: int) -> None:
    kinds = trials.all_kinds(told.only)
    chosen = trials.draw(kinds, told.pairs, seed)
    trials.fast(stage, book, kinds, told.repeats, seed)
    trials.pairs(stage, book, chosen, seed)
    trials.slow(stage, book, kinds, told.repeats, seed)
    wanted = [
        part
        for part in parts.PARTS
        if not told.only or any(word in part.name for word in told.only)
    ]
    parts.run(stage, book, wanted, seed)
    played = [
        exam
        for exam in exams.EXAMS
        if not told.only or any(word in exam.name for word in told.only)
    ]
    if not told.only:
        exams.restart(stage, book)
    exams.run(stage, book, played, seed)
    if not told.no_control:
        control.run(stage, book, kinds, chosen)
        parts.control(stage, book, wanted, seed)
        exams.control(stage, book, played, seed)


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
