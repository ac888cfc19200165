"""The table carried out on single pods: each kind alone on several pods, those the resync finds, and random pairs."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from proofs.drift.guard import surviving
from proofs.drift.kinds import Kind
from proofs.drift.look import Target
from proofs.drift.report import PAIR, Book, Row
from proofs.drift.stage import KEEPER, Stage
from proofs.drift.table import KINDS
from testbed import progress

FAST_SECONDS = 10
TIDY_SECONDS = 2
RESYNC = "class resync"
RESYNC_SECONDS = 200  # three intervals of the agent's default
# `ip address flush` looks again after each round, and gives up after ten: what it removes is back by then.
_OUTRUN = "Flush remains incomplete"


def _left(stage: Stage, targets: Sequence[Target]) -> dict[str, list[str]]:
    """What is wrong in the end. To tidy up is a fault too, of tools whose end the repair need not precede."""
    end = time.monotonic() + TIDY_SECONDS
    while (wrong := stage.wrong(targets)) and time.monotonic() < end:
        time.sleep(0.1)
    return wrong


def candidates(stage: Stage, *kinds: Kind) -> list[Target]:
    """The keeper's inside holds a stranger's things: only what leaves that alone may strike it."""
    spared = {KEEPER} if any(kind.where in ("pod", "link") for kind in kinds) else set()
    fit = [
        target
        for target in stage.targets
        if target.limited or not any(kind.limited for kind in kinds)
    ]
    return [target for target in fit if target.pod not in spared | stage.silent] or fit


def item(target: Target, *kinds: Kind) -> dict[str, Any]:
    lines = [line for kind in kinds for line in kind.tools(target)]
    return {"target": asdict(target), "tools": lines, "keeps": any(kind.keeps for kind in kinds)}


def fast(stage: Stage, book: Book, kinds: Sequence[Kind], repeats: int, seed: int) -> None:
    """Each kind of class event, one pod at a time, several pods."""
    wanted = [kind for kind in kinds if kind.fast]
    with progress.step(
        f"class event: {len(wanted)} kinds, {repeats} times each, seed {seed}"
    ) as step:
        for number, kind in enumerate(wanted):
            for repeat in range(repeats):
                step.note(f"{number + 1}/{len(wanted)} {kind.name}")
                own = seed + 1000 * number + repeat
                target = random.Random(own).choice(candidates(stage, kind))
                if book.lacks(kind.name, own):
                    _guarded(stage, book, (kind.name, target, (kind,)), own)


def pairs(stage: Stage, book: Book, chosen: Sequence[tuple[Kind, Kind]], seed: int) -> None:
    """Two kinds at once on one pod: the second often strikes while the first is being repaired."""
    with progress.step(f"{len(chosen)} random pairs of the fast kinds, seed {seed}") as step:
        for number, pair in enumerate(chosen):
            step.note(f"{number + 1}/{len(chosen)}")
            target = random.Random(seed + number).choice(candidates(stage, *pair))
            if book.lacks(pair_name(pair), seed + number):
                _guarded(stage, book, (pair_name(pair), target, pair), seed + number)


def slow(stage: Stage, book: Book, kinds: Sequence[Kind], repeats: int, seed: int) -> None:
    """What no notification tells of: all at the same time, as each waits for a resync."""
    wanted = [kind for kind in kinds if kind.klass == "resync"]
    if not wanted or not book.lacks(RESYNC, seed):
        return
    pods = [target for target in stage.targets if target.pod != KEEPER]
    random.Random(seed).shuffle(pods)
    repeats = max(1, min(repeats, len(pods) // len(wanted)))
    struck = list(zip([kind for kind in wanted for _ in range(repeats)], pods, strict=False))
    title = f"class resync: {len(wanted)} kinds, {repeats} times each, seed {seed}"
    with progress.step(title), surviving(stage, book, RESYNC, "resync", seed):
        for row in _tried(
            stage, book, [(k.name, t, (k,)) for k, t in struck], seed, RESYNC_SECONDS
        ):
            book.add(row)


def draw(kinds: Sequence[Kind], count: int, seed: int) -> list[tuple[Kind, Kind]]:
    """Random pairs of different fast kinds."""
    chance, wanted = random.Random(seed), [kind for kind in kinds if kind.fast]
    return (
        [(one, other) for one, other in (chance.sample(wanted, 2) for _ in range(count))]
        if len(wanted) > 1
        else []
    )


def pair_name(pair: tuple[Kind, Kind]) -> str:
    return PAIR + " + ".join(kind.name for kind in pair)


def _keep_apart(kinds: Iterable[Kind]) -> None:
    for kind in kinds:
        time.sleep(max(0.0, _last.get(kind.name, 0.0) + kind.apart - time.monotonic()))
        _last[kind.name] = time.monotonic()


_last: dict[str, float] = {}
Struck = tuple[str, Target, tuple[Kind, ...]]


def _guarded(stage: Stage, book: Book, struck: Struck, seed: int) -> None:
    with surviving(stage, book, struck[0], struck[2][0].klass, seed):
        for row in _tried(stage, book, [struck], seed, FAST_SECONDS):
            book.add(row)


def _tried(
    stage: Stage, book: Book, struck: Sequence[Struck], seed: int, timeout: float
) -> Iterator[Row]:
    """Break, watch, then traffic, CHECK, another look, and the witnesses."""
    _keep_apart(kind for _, _, kinds in struck for kind in kinds)
    items = [item(target, *kinds) for _, target, kinds in struck]
    results = stage.hand.ask("trial", items=items, timeout=timeout)["results"]
    targets = [target for _, target, _ in struck]
    silent, failed = stage.traffic(targets), stage.check(targets)
    stage.revive(silent, targets)
    for _, target, kinds in struck:
        stage.hand.ask("tools", tools=[line for kind in kinds for line in kind.tidy(target)])
    left, harmed = _left(stage, targets), stage.harmed(2)
    for (name, target, kinds), result in zip(struck, results, strict=True):
        pod = target.pod
        failures = [
            answer
            for answer in result["exits"]
            if answer["status"] and _OUTRUN not in answer["said"]
        ]
        fooled = len(kinds) == 1 and bool(failures)
        repaired = (
            result["repaired_ms"] is not None
            and pod not in failed
            and pod not in left
            and not fooled
        )
        row = Row(
            kind=name,
            klass=kinds[0].klass,
            seed=seed,
            detected_ms=result["detected_ms"],
            repaired_ms=result["repaired_ms"] if repaired else None,
            repaired=repaired,
            traffic_ok=pod not in silent,
            witnesses_ok=not harmed,
        )
        book.dump(
            "trials",
            pod=pod,
            **row.told(),
            result=result,
            silent=silent,
            check=failed,
            left=left,
            harmed=harmed,
        )
        if not (row.repaired and row.traffic_ok and row.witnesses_ok):
            why = [
                *result["wrong"],
                *left.get(pod, []),
                *silent.get(pod, []),
                failed.get(pod, ""),
                *harmed,
            ]
            progress.say(f"    {name} on {pod}: {'; '.join(filter(None, why))[:400]}")
        yield row


def all_kinds(wanted: Sequence[str]) -> list[Kind]:
    """Those whose name contains one of the words; without words all."""
    return [kind for kind in KINDS if not wanted or any(word in kind.name for word in wanted)]
