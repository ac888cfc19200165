"""What ovnlet may not do: repair a pod that is exempted, and fight for ever with whoever undoes its repairs at once."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

from proofs.drift import parts, trials
from proofs.drift.look import Target
from proofs.drift.report import Book, Row
from proofs.drift.stage import KEEPER, Stage
from testbed.service import BedError, wait_for
from testbed.space import Inside

EXEMPTION = "pod exempted by ovnlet.io/repair, then no more"
PATIENCE = "repairs undone at once, for 15 s"
KEY = "ovnlet.io/repair"
BROKEN = ("pod MTU changed", "iface-id removed", "host qdisc deleted")
KNOWN = 3.0  # seconds in which an annotation has reached the agent
EXEMPT, STRUGGLE = 5.0, 15.0
# Fifteen repairs are free; then come rests of 1, 2, 4 and 8 s.
MOST = 21
LONGEST_REST = 60.0


def _victim(stage: Stage, seed: int) -> Target:
    pods = [each for each in stage.targets if each.pod != KEEPER and each.limited]
    return pods[seed % len(pods)]


def _told(stage: Stage, victim: Target, reason: str, words: str) -> bool:
    return any(
        e["reason"] == reason and words in e["message"] for e in stage.cluster.events(victim.pod)
    )


def _exempt(stage: Stage, victim: Target, mode: str) -> None:
    stage.bed.kubectl("annotate", "--overwrite", "pod", victim.pod, f"{KEY}={mode}")
    time.sleep(KNOWN)


def _lift(stage: Stage, victim: Target) -> float:
    stage.bed.kubectl("annotate", "pod", victim.pod, f"{KEY}-")
    return time.monotonic()


def _break(stage: Stage, victim: Target) -> None:
    stage.tools([line for name in BROKEN for line in parts.BY_NAME[name].tools(victim)])


def _stays_broken(stage: Stage, victim: Target, seconds: float) -> bool:
    """All of it, from now to the end."""
    before = stage.wrong([victim])
    time.sleep(seconds)
    return bool(before) and stage.wrong([victim]) == before


def exemption(stage: Stage, book: Book, seed: int) -> list[Row]:
    """Once only told of, once not even that; each time repaired as soon as the annotation goes."""
    rows = []
    for number, mode in enumerate(("report", "off")):
        victim, name = _victim(stage, seed + number), f"{EXEMPTION}: {mode}"
        _exempt(stage, victim, mode)
        _break(stage, victim)
        stayed = _stays_broken(stage, victim, EXEMPT)
        told = _told(stage, victim, "NetworkDrifted", "eth0") or _told(
            stage, victim, "NetworkDrifted", victim.port
        )
        since = _lift(stage, victim)
        result = stage.right(victim, since, trials.FAST_SECONDS)
        silent, failed, harmed = stage.traffic([victim]), stage.check([victim]), stage.harmed(2)
        book.dump(
            "rules", kind=name, stayed=stayed, told=told, result=result, silent=silent, check=failed
        )
        book.prove(
            f"{name}: drift stayed for {EXEMPT:g} s", stayed, "yes" if stayed else "it was repaired"
        )
        if mode == "report":
            book.prove(f"{name}: an Event names what is left", told, "NetworkDrifted")
        done = stayed and result["repaired_ms"] is not None and not failed
        rows.append(
            Row(
                name,
                "rule",
                seed,
                None,
                result["repaired_ms"] if done else None,
                done,
                not silent,
                not harmed,
            )
        )
    return rows


def never_lifted(stage: Stage, _book: Book, seed: int) -> dict[str, bool]:
    broken = {}
    for number, mode in enumerate(("report", "off")):
        victim = _victim(stage, seed + number)
        stage.agent_away()
        _exempt(stage, victim, mode)
        _break(stage, victim)
        _lift(stage, victim)
        broken[f"{EXEMPTION}: {mode}"] = _stays_broken(stage, victim, parts.GENEROUS)
        stage.agent_back()
        parts.watched(stage, time.monotonic())
    return broken


@contextmanager
def _struggle(stage: Stage, victim: Target) -> Iterator[Inside]:
    """Somebody sets the pod's MTU again and again, and somebody else writes down every change of it."""
    node, name = stage.bed.node(), victim.netns.rpartition("/")[2]
    monitor = node.popen(["ip", "-n", name, "-o", "monitor", "link"])
    loop = node.popen(
        ["sh", "-c", f"while :; do ip -n {name} link set eth0 mtu 1300; sleep 0.05; done"]
    )
    try:
        yield monitor
    finally:
        for process in (loop, monitor):
            process.kill()
            process.wait(timeout=10)


def _repairs(text: str) -> int:
    """How often the MTU went from the stranger's to another."""
    seen = re.findall(r" mtu (\d+) ", text)
    return sum(one == "1300" != other for one, other in pairwise(seen))


def patience(stage: Stage, book: Book, seed: int) -> list[Row]:
    """The time is from the stranger's last word: at most the rest that was under way then."""
    victim = _victim(stage, seed + 2)
    with _struggle(stage, victim) as monitor:
        time.sleep(STRUGGLE)
    since = time.monotonic()
    stage.tools(parts.BY_NAME["pod MTU changed"].tools(victim))
    repairs = _repairs(monitor.communicate(timeout=10)[0])
    result = stage.right(victim, since, LONGEST_REST)
    try:
        told = wait_for(
            lambda: _told(stage, victim, "NetworkDrifted", "undone at once"), "the Event", timeout=5
        )
    except BedError:
        told = False
    silent, failed, harmed = stage.traffic([victim]), stage.check([victim]), stage.harmed(2)
    book.dump(
        "rules",
        kind=PATIENCE,
        repairs=repairs,
        told=told,
        result=result,
        silent=silent,
        check=failed,
    )
    book.prove(
        f"{PATIENCE}: not more than {MOST} repairs, but some",
        5 <= repairs <= MOST,
        f"{repairs} repairs",
    )
    book.prove(
        f"{PATIENCE}: an Event says so", told, "NetworkDrifted: undone at once again and again"
    )
    done = result["repaired_ms"] is not None and not failed
    return [Row(PATIENCE, "rule", seed, None, result["repaired_ms"], done, not silent, not harmed)]


def undone(stage: Stage, _book: Book, seed: int) -> dict[str, bool]:
    victim = _victim(stage, seed + 2)
    stage.agent_away()
    with _struggle(stage, victim):
        time.sleep(1)
    broken = _stays_broken(stage, victim, parts.GENEROUS)
    stage.agent_back()
    parts.watched(stage, time.monotonic())
    return {PATIENCE: broken}
