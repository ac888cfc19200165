"""The control run: the same table without an agent. What is right again all the same does not count.

Afterwards the agent is started, and all of it must be repaired by its start alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from proofs.drift.guard import surviving
from proofs.drift.kinds import Kind
from proofs.drift.look import Target
from proofs.drift.report import Book
from proofs.drift.stage import Stage
from proofs.drift.trials import candidates, item, pair_name
from testbed import progress

GENEROUS = 8.0  # seconds; the slowest repair of class event takes a tenth of that
START_SECONDS = 60
Named = tuple[str, tuple[Kind, ...]]


def run(
    stage: Stage, book: Book, kinds: Sequence[Kind], chosen: Sequence[tuple[Kind, Kind]]
) -> None:
    """Each kind and each pair on a pod of its own, as many at a time as there are pods."""
    waiting: list[Named] = [(kind.name, (kind,)) for kind in kinds]
    waiting += [(pair_name(pair), pair) for pair in chosen]
    waiting = [named for named in waiting if book.lacks(_title(named[0]))]
    waiting.sort(
        key=lambda named: not any(kind.limited for kind in named[1])
    )  # fewer pods are fit for those
    with progress.step(f"control run without an agent: {len(waiting)} kinds and pairs") as step:
        while waiting:
            step.note(f"{len(waiting)} to go")
            struck = _assign(stage, waiting)
            with surviving(stage, book, f"control: {', '.join(name for name, *_ in struck)}"):
                book.broken_without(broken := _batch(stage, book, struck))
                for name in broken:
                    book.finish(_title(name))


def _title(name: str) -> str:
    return f"control run without an agent: {name}"


def _assign(stage: Stage, waiting: list[Named]) -> list[tuple[str, Target, tuple[Kind, ...]]]:
    """Take from `waiting` what fits on the pods there are."""
    struck = []
    for target in stage.targets:
        fits = (
            number
            for number, (_, kinds) in enumerate(waiting)
            if target in candidates(stage, *kinds)
        )
        if (number := next(fits, None)) is not None:
            name, kinds = waiting.pop(number)
            struck.append((name, target, kinds))
    return struck


def _batch(
    stage: Stage, book: Book, struck: Sequence[tuple[str, Target, tuple[Kind, ...]]]
) -> dict[str, bool]:
    stage.agent_away()
    for _, target, kinds in struck:
        stage.hand.ask("tools", tools=item(target, *kinds)["tools"])
    time.sleep(GENEROUS)
    broken = {}
    for name, target, kinds in struck:
        keeps = any(kind.keeps for kind in kinds)
        told = stage.wrong([target], keeps=keeps).get(target.pod, [])
        broken[name] = bool(told)
        book.dump("control", kind=name, pod=target.pod, wrong=told)
    heal(stage, book, struck, f"control: {len(struck)} broken pods are right by the agent's start")
    return broken


def heal(
    stage: Stage, book: Book, struck: Sequence[tuple[str, Target, tuple[Kind, ...]]], title: str
) -> None:
    """Start the agent; everything that was broken is right without a further sign."""
    began = time.monotonic()
    stage.agent_back()
    since = time.monotonic()
    items = [item(target, *kinds) | {"tools": [], "since": since} for _, target, kinds in struck]
    results = stage.hand.ask("trial", items=items, timeout=START_SECONDS)["results"]
    for _, target, kinds in struck:
        stage.hand.ask("tools", tools=[line for kind in kinds for line in kind.tidy(target)])
    targets = [target for _, target, _ in struck]
    ill = {
        t.pod: r["wrong"]
        for (_, t, _), r in zip(struck, results, strict=True)
        if r["repaired_ms"] is None
    }
    silent, failed = stage.traffic(targets), stage.check(targets)
    slowest = max(
        (r["repaired_ms"] for r in results if r["repaired_ms"] is not None), default=float("nan")
    )
    figures = f"{slowest:.0f} ms after the process began, {time.monotonic() - began:.1f} s in all"
    trouble = {"wrong": ill, "silent": silent, "CHECK": failed}
    holds = not (ill or silent or failed)
    if not holds:
        progress.say(f"    not right after the agent's start: {str(trouble)[:1500]}")
    book.prove(title, holds, figures if holds else str(trouble)[:300])
