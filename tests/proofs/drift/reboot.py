"""The node is rebooted: its namespaces and its /run are gone, its database and what is in the cluster are not."""

from __future__ import annotations

import time
from collections.abc import Sequence

from proofs.drift import witnesses
from proofs.drift.look import Target
from proofs.drift.report import Book, Row
from proofs.drift.stage import Hand, Stage, target
from testbed.service import BedError, wait_for

NAME = "node rebooted"


def _cut_power(stage: Stage) -> set[str]:
    """The ports of the dead sandboxes."""
    old = {each.port for each in stage.targets}
    stage.hand.close()
    stage.bed.reboot()
    stage.hand = Hand.reach(stage.bed, stage.evidence)
    return old


def _resettle(stage: Stage, old: Sequence[Target]) -> None:
    """All pods in new sandboxes, reachable; they and the witnesses become the new baseline."""
    before, count = {each.container_id for each in old}, len(old)

    def renewed() -> list[Target] | None:
        found = [target(pod) for pod in stage.cluster.running(count, timeout=5)]
        return None if any(each.container_id in before for each in found) else found

    def look() -> list[Target] | None:
        try:
            return renewed()
        except (BedError, ValueError, LookupError):  # some have no record yet
            return None

    stage.targets = wait_for(look, "all pods in new sandboxes", 120 + 4 * count, every=0.5)
    if silent := stage.traffic(stage.targets, 60):
        raise BedError(f"silent after the reboot: {silent}")
    stage.facts()


def _relay(stage: Stage) -> list[str]:
    """What the reboot took of the strangers' things is laid anew; what of their rows ovnlet harmed."""
    harmed = stage.harmed_rows()
    stage.tools(witnesses.IN_KERNEL)
    stage.lay_workshop()
    stage.tools(witnesses.in_pod(stage.keeper.netns))
    stage.refer()
    stage.facts()
    return harmed


def play(stage: Stage, book: Book, seed: int) -> list[Row]:
    """Timed is ovnlet's own part: from its process to the last dead port's end. How fast pods start is kubelet's."""
    old_targets, began = list(stage.targets), time.monotonic()
    old = _cut_power(stage)
    booted = time.monotonic()
    wait_for(stage.agent_pids, "the agent's process", timeout=120, every=0.05)
    since = time.monotonic()
    wait_for(
        lambda: not old & stage.names(), "the dead sandboxes' ports to go", timeout=60, every=0.01
    )
    repaired = round((time.monotonic() - since) * 1000, 2)
    _resettle(stage, old_targets)
    reachable = time.monotonic() - booted
    book.outages[NAME] = (
        f"all {len(old)} pods reachable {reachable:.1f} s after a boot of {booted - began:.1f} s"
    )
    harmed = _relay(stage)
    failed = stage.check(stage.targets)
    done = not failed and not old & stage.names()
    book.dump("reboot", old=sorted(old), failed=failed, harmed=harmed, reachable_s=reachable)
    return [
        Row(NAME, "restart", seed, repaired, repaired if done else None, done, True, not harmed)
    ]


def without(stage: Stage, book: Book, _seed: int) -> dict[str, bool]:
    """Without an agent no pod comes back, and every dead port stays."""
    old_targets = list(stage.targets)
    stage.agent_away()
    old = _cut_power(stage)
    time.sleep(15)
    broken = old <= stage.names() and not stage.cluster.records()
    stage.agent_back()
    wait_for(
        lambda: not old & stage.names(), "the dead sandboxes' ports to go", timeout=60, every=0.1
    )
    _resettle(stage, old_targets)
    _relay(stage)
    return {NAME: broken}
