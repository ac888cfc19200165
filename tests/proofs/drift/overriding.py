"""A foreign CNI configuration that sorts before ours: it is reported, and never touched."""

from __future__ import annotations

import json
import time

from proofs.drift.control import CONTROL_WAIT
from proofs.drift.environment import Environment
from proofs.drift.node_facts import CONF
from proofs.drift.report import Outcome, Report, Row
from testbed.service import BedError, wait_for

NAME = "a foreign conflist that sorts before ours"
FOREIGN = CONF / "00-foreign.conflist"
REASON = "CniConfigOverridden"
REPORTED_SECONDS, UNTOUCHED_SECONDS = 10.0, 5.0
# A valid one of another network, so that the runtime would take it.
_BODY = {"cniVersion": "0.4.0", "name": "foreign", "plugins": [{"type": "loopback"}]}


def _write(env: Environment) -> None:
    env.bed.node().sh(f"printf '%s' '{json.dumps(_BODY)}' >{FOREIGN}")


def _state(env: Environment) -> str:
    """Return inode, size, mode and times of all configurations, as `stat` prints them."""
    return env.bed.node().sh(f"stat -c '%n %i %s %a %Y %Z' {CONF}/*")


def _count(env: Environment) -> int:
    """Return how often the Event was reported on the node."""
    fields = f"--field-selector=involvedObject.kind=Node,reason={REASON}"
    events = json.loads(env.bed.kubectl("get", "events", fields, "-o", "json"))["items"]
    return sum(int(each["count"]) for each in events if FOREIGN.name in each["message"])


def run(env: Environment, report: Report, seed: int) -> list[Row]:
    """Time the Event, and verify that neither file is written for some seconds."""
    before = _count(env)
    _write(env)
    since, placed = time.monotonic(), _state(env)
    try:
        wait_for(lambda: _count(env) > before, f"an Event {REASON}", REPORTED_SECONDS, every=0.1)
        reported: float | None = round((time.monotonic() - since) * 1000, 2)
    except BedError:
        reported = None
    time.sleep(UNTOUCHED_SECONDS)
    untouched = _state(env) == placed
    env.bed.node().sh(f"rm {FOREIGN}")
    unreachable, changed = env.traffic(env.targets[:3]), env.changed_sentinels(2)
    report.dump("overriding", reported_ms=reported, untouched=untouched, changed=changed)
    report.prove(
        f"{NAME}: neither file was written for {UNTOUCHED_SECONDS:g} s",
        untouched,
        f"Event {REASON} after {reported} ms",
    )
    done = reported is not None and untouched
    return [Outcome(reported, done, unreachable, changed).row(NAME, "rule", seed)]


def control_run(env: Environment, _report: Report, _seed: int) -> dict[str, bool]:
    """Return whether nobody reports it without an agent."""
    env.remove_agent()
    before = _count(env)
    _write(env)
    time.sleep(CONTROL_WAIT)
    unreported = _count(env) == before
    env.bed.node().sh(f"rm {FOREIGN}")
    env.restore_agent()
    return {NAME: unreported}
