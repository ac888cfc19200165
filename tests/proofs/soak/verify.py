"""What must hold after each fault."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from proofs.drift.exec_client import ExecClient
from proofs.drift.observe import Target
from proofs.drift.pods import target_of
from proofs.soak.acts import Acts
from proofs.soak.stage import Stage
from testbed.inventory import inventory
from testbed.service import BedError, wait_for

T = TypeVar("T")
SETTLE = 240  # s; kubelet looks for what it has missed about once a minute
PATIENCE = 90
LEFT = 150  # s in which kubelet sends the last DEL
SHORT_ID = re.compile(r"\b([0-9a-f]{12})_[a-z]\b")
PLACES = ("links", "qdiscs", "ovsdb", "files")
RECORD = re.compile(r"/run/ovnlet/(?:sandboxes|deleted)/([0-9a-f]{12})")


@dataclass
class Verdict:
    """What was found after one fault.

    ``seconds`` passed until every pod was right and reached its gateways, ``settled`` until none
    was under way.
    """

    fault: str
    number: int
    within: float
    seconds: float = 0.0
    settled: float = 0.0
    pods: int = 0
    findings: dict[str, Any] = field(default_factory=dict)
    lost: int = 0

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return not any(self.findings.values()) and self.seconds <= self.within


def verify(stage: Stage, acts: Acts, verdict: Verdict) -> None:
    """Wait until the node is at rest, and add what is wrong then. The acts must be paused."""
    env, began = stage.env, time.monotonic()
    _revive_observer(stage)
    acts.restore_routes()
    verdict.findings["wrong"] = _eventually(env.wrong, verdict.within + PATIENCE)
    verdict.findings["unreachable"] = env.traffic(env.targets, verdict.within)
    verdict.seconds = time.monotonic() - began
    pods, verdict.findings["pending"] = _settled(stage)
    verdict.pods, verdict.settled = len(pods), time.monotonic() - began
    verdict.findings |= {
        "CHECK": _eventually(lambda: env.cni_check(pods), PATIENCE, every=1),
        "new and unreachable": env.traffic([pod for pod in pods if pod not in env.targets], 15),
        "left": _eventually(lambda: left(stage, pods), LEFT, every=2),
        "sentinels": env.changed_sentinels(5),
    }


def left(stage: Stage, pods: list[Target]) -> list[str]:
    """Return every thing on the node that is of a sandbox of none of these pods."""
    sentinels = _sandboxes("", json.dumps(stage.env.reference))
    alive = {pod.container_id[:12] for pod in pods} | sentinels
    found = inventory(stage.node)
    return [
        f"{section}: {key}"
        for section in PLACES
        for key, facts in found[section].items()
        if _sandboxes(key, json.dumps(facts)) - alive
    ]


def _sandboxes(key: str, facts: str) -> set[str]:
    """Return the short IDs of the sandboxes that a thing of the inventory names."""
    return {*SHORT_ID.findall(f"{key} {facts}"), *RECORD.findall(key)}


def _settled(stage: Stage) -> tuple[list[Target], list[str]]:
    """Return the running pods once no other is under way, and after a time those that are."""

    def under_way() -> list[str]:
        return [
            pod["metadata"]["name"]
            for pod in stage.env.cluster.pods()
            if "deletionTimestamp" in pod["metadata"] or pod["status"]["phase"] != "Running"
        ]

    pending = _eventually(under_way, SETTLE, every=1)
    for name in pending:  # the next fault does not wait for them again
        stage.env.bed.kubectl("delete", "pod", name, "--force", "--grace-period=0", "--wait=false")
    if pending:
        wait_for(lambda: not under_way(), "the pods to be gone", timeout=120, every=1)
    count = len(stage.env.cluster.pods())
    return [target_of(pod) for pod in stage.env.cluster.running(count, timeout=30)], pending


def _eventually(look: Callable[[], T], timeout: float, every: float = 0.2) -> T:
    """Return the first answer that is empty, or the last one of the time."""
    answers: list[T] = []

    def empty() -> bool:
        answers.append(look())
        return not answers[-1]

    try:
        wait_for(empty, "nothing", timeout, every)
    except BedError:
        if not answers:
            raise
    return answers[-1]


def _revive_observer(stage: Stage) -> None:
    """Start the exec agent again if it has ended."""
    env = stage.env
    if env.exec_agent.process.poll() is not None:
        env.exec_agent = ExecClient.start(env.bed, env.evidence)
        env.exec_agent.ask("baseline", targets=[], facts=env.baseline)
