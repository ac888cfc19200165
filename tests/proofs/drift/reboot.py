"""The node is rebooted.

Its namespaces and its /run are gone; its database and the cluster's objects stay.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from proofs.drift import sentinels
from proofs.drift.environment import Environment
from proofs.drift.exec_client import ExecClient
from proofs.drift.observe import Target
from proofs.drift.pods import target_of
from proofs.drift.report import Report, Row
from testbed.service import BedError, wait_for

NAME = "node rebooted"


def _reboot(env: Environment) -> set[str]:
    """Reboot the node and start a new exec agent. Return the ports of the old sandboxes."""
    old = {each.port for each in env.targets}
    env.exec_agent.close()
    env.bed.reboot()
    env.exec_agent = ExecClient.start(env.bed, env.evidence)
    return old


def _wait_new_sandboxes(env: Environment, old: Sequence[Target]) -> None:
    """Wait until all pods are reachable in new sandboxes, then make their state the baseline."""
    before, count = {each.container_id for each in old}, len(old)

    def new_targets() -> list[Target] | None:
        found = [target_of(pod) for pod in env.cluster.running(count, timeout=5)]
        return None if any(each.container_id in before for each in found) else found

    def poll() -> list[Target] | None:
        try:
            return new_targets()
        except (BedError, ValueError, LookupError):  # some pods have no record yet
            return None

    env.targets = wait_for(poll, "all pods in new sandboxes", 120 + 4 * count, every=0.5)
    if unreachable := env.traffic(env.targets, 60):
        raise BedError(f"unreachable after the reboot: {unreachable}")
    env.facts()


def _recreate_sentinels(env: Environment) -> list[str]:
    """Recreate the sentinels that the reboot removed.

    Return how their rows, which a reboot does not remove, changed.
    """
    changed = env.changed_sentinel_rows()
    env.tools(sentinels.IN_KERNEL)
    env.create_scratch_space()
    env.tools(sentinels.in_pod(env.sentinel_pod.netns))
    env.record_sentinels()
    env.facts()
    return changed


def run(env: Environment, report: Report, seed: int) -> list[Row]:
    """Time ovnlet's own part: from its process to the removal of the last old port.

    How fast pods start is kubelet's part, and not counted.
    """
    old_targets, began = list(env.targets), time.monotonic()
    old = _reboot(env)
    booted = time.monotonic()
    wait_for(env.agent_pids, "the agent's process", timeout=120, every=0.05)
    since = time.monotonic()
    wait_for(
        lambda: not old & env.names(), "the old sandboxes' ports to go", timeout=60, every=0.01
    )
    repaired = round((time.monotonic() - since) * 1000, 2)
    _wait_new_sandboxes(env, old_targets)
    reachable = time.monotonic() - booted
    report.outage_windows[NAME] = (
        f"all {len(old)} pods reachable {reachable:.1f} s after a boot of {booted - began:.1f} s"
    )
    changed = _recreate_sentinels(env)
    failed = env.cni_check(env.targets)
    done = not failed and not old & env.names()
    report.dump("reboot", old=sorted(old), failed=failed, changed=changed, reachable_s=reachable)
    return [
        Row(NAME, "restart", seed, repaired, repaired if done else None, done, True, not changed)
    ]


def control_run(env: Environment, report: Report, _seed: int) -> dict[str, bool]:
    """Return whether, without an agent, no pod comes back and every old port stays."""
    old_targets = list(env.targets)
    env.remove_agent()
    old = _reboot(env)
    time.sleep(15)
    broken = old <= env.names() and not env.cluster.records()
    env.restore_agent()
    wait_for(lambda: not old & env.names(), "the old sandboxes' ports to go", timeout=60, every=0.1)
    _wait_new_sandboxes(env, old_targets)
    _recreate_sentinels(env)
    return {NAME: broken}
