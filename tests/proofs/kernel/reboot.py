"""The virtual machine is rebooted by cutting its power, with all pods on it.

Sandboxes and everything under /run end with it, and OVSDB keeps their ports. Where there is no
kubelet, the exec agent makes the new sandboxes, once the old ports are gone.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from proofs.drift import sentinels
from proofs.drift.checks import Check
from proofs.drift.environment import Environment
from proofs.drift.observe import Target
from proofs.drift.reboot import NAME
from proofs.drift.report import Outcome, Report, Row
from proofs.kernel import gateway
from proofs.kernel.stage import KernelEnvironment
from testbed.service import BedError, wait_for

STAYED_SECONDS = 15.0  # in which the old ports must stay without an agent
GONE_SECONDS = 120.0  # of which an emulated processor needs many for the agent's imports


def run(env: Environment, report: Report, seed: int) -> list[Row]:
    """Time ovnlet's own part: from the start of its process to the removal of the last old port.

    Then make new sandboxes for all pods. Nothing of the old ones may be left.
    """
    assert isinstance(env, KernelEnvironment)
    old, began = list(env.targets), time.monotonic()
    env.reboot()
    booted, floor = time.monotonic(), env.measure_floor(rounds=5)["floor"]
    env.restore_agent()
    since = time.monotonic()
    _wait_gone(env, old)
    repaired = round((time.monotonic() - since) * 1000, 2)
    changed = _restore(env, old)
    reachable = time.monotonic() - booted
    ids = [target.container_id for target in old]
    traces = env.exec_agent.ask("traces", container_ids=ids)["traces"]
    failed, left = (
        env.cni_check(env.targets),
        {one: where for one, where in traces.items() if where},
    )
    report.outage_windows[NAME] = (
        f"all {len(old)} pods reachable {reachable:.1f} s after a boot of {booted - began:.1f} s"
    )
    report.dump("reboot", changed=changed, failed=failed, left=left, reachable_s=reachable)
    outcome = Outcome(repaired, not (failed or left), False, changed, floor_ms=floor)
    return [outcome.row(NAME, "restart", seed)]


def control_run(env: Environment, report: Report, _seed: int) -> dict[str, bool]:
    """Return whether, without an agent, every old port stays."""
    assert isinstance(env, KernelEnvironment)
    old = list(env.targets)
    env.remove_agent()
    env.reboot()
    time.sleep(STAYED_SECONDS)
    names = env.names()
    broken = all(target.port in names for target in old)
    report.dump("reboot", control=True, stayed=sorted(names))
    env.restore_agent()
    _wait_gone(env, old)
    _restore(env, old)
    return {NAME: broken}


def left_of(env: Environment, gone: Iterable[Target]) -> dict[str, list[str]]:
    """Return where something of these sandboxes is left."""
    found = env.traces(*(target.container_id for target in gone))
    return {each: places for each, places in found.items() if places}


CHECK = Check(NAME, "restart", run, control_run)


def _wait_gone(env: KernelEnvironment, old: list[Target]) -> None:
    ports = {target.port for target in old}
    wait_for(lambda: not ports & env.names(), "the old ports to go", GONE_SECONDS, every=0.05)


def _restore(env: KernelEnvironment, old: list[Target]) -> list[str]:
    """Make all pods and the sentinels again, and the present state the baseline.

    Return how the sentinels' rows, which a reboot does not remove, changed. Raise BedError if a pod
    does not become reachable.
    """
    env.start_agent()
    changed = env.changed_sentinel_rows()
    if env.forwards:
        gateway.wait(env.bed)
    env.attach_again(old)
    if unreachable := env.traffic(env.targets, 60):
        raise BedError(f"unreachable after the reboot: {unreachable}")
    env.tools(sentinels.IN_KERNEL)
    env.create_scratch_space()
    env.tools(sentinels.in_pod(env.sentinel_pod.netns))
    env.record_sentinels()
    env.facts()
    return changed
