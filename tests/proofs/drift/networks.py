"""Faults of further interfaces, and of a virtual machine's: repaired, or untouched if not ours.

Each kind has a pod of its own, most with two interfaces of one network beside its first. The
stand-in for Multus attaches them. Other pods stand for launchers of KubeVirt's, some of them with a
bridge binding.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

from proofs.drift.control import CONTROL_WAIT
from proofs.drift.environment import Environment
from proofs.drift.faults import GATEWAYS, FaultClass
from proofs.drift.network_kinds import (
    ANNOUNCE,
    BARE,
    KINDS,
    MOVED,
    OLDER,
    SILENT,
    SUBNET,
    UNDEFINED,
    Kind,
)
from proofs.drift.observe import HOLD, Target
from proofs.drift.pods import target_of
from proofs.drift.report import Outcome, Report, Row
from testbed import deploy, layout, meta_networks, workloads
from testbed.service import BedError, wait_for
from testbed.workloads import OVN, Cluster

NAME = "further interfaces"
LABEL = NAME.replace(" ", "-")
REPAIR_SECONDS, START_SECONDS, UNTOUCHED_SECONDS = 10.0, 60.0, 4.0
QUIET_SECONDS = 2.5  # an announcement is sent at once, and again after a second


def _pod(number: int, kind: Kind, suffix: str = "") -> dict[str, Any]:
    machine = {f"{OVN}/virtualmachine": f"vm{number}", "kubevirt.io/domain": f"vm{number}"}
    networks = [{"name": name, "interface": ifname} for name, ifname in kind.listed]
    listed = {meta_networks.NETWORKS: json.dumps([] if kind.machine else networks)}
    given = dict(kind.given) | (machine if kind.machine else {})
    body = workloads.pod(f"many{number}{suffix}", **given, **listed)
    body["metadata"]["labels"] = {"made-by": LABEL}
    return body


@contextmanager
def _networks(env: Environment) -> Iterator[None]:
    """Define the networks, and the Subnet of the one that will lose it."""
    meta_networks.install(env.bed)
    defined = [
        meta_networks.definition(name, {"type": "ovnlet", "provider": f"{name}.default.ovn"})
        for name in ("n1", UNDEFINED, MOVED, BARE)
    ]
    # More than the other ports have: Open vSwitch gives internal ports the smallest of all.
    moved = workloads.subnet(SUBNET, layout.PODS, provider=f"{MOVED}.default.ovn", mtu=1420)
    listed = {"apiVersion": "v1", "kind": "List", "items": [*defined, moved]}
    env.bed.kubectl("apply", "-f", "-", stdin=json.dumps(listed))
    try:
        yield
    finally:
        env.bed.node().run(["rm", "-f", meta_networks.CONFIG])
        env.bed.kubectl("delete", "--ignore-not-found", "subnet", SUBNET)


@contextmanager
def _pods(env: Environment) -> Iterator[list[tuple[Kind, Target]]]:
    """Give each kind with the target that it breaks, in a pod of its own."""
    cluster = Cluster(env.bed, label=LABEL)
    with _networks(env):
        try:
            older = [_pod(n, kind, OLDER) for n, kind in enumerate(KINDS) if kind.older]
            if older:  # their interfaces come first
                cluster.apply(*older)
                cluster.running(len(older))
            cluster.apply(*(_pod(number, kind) for number, kind in enumerate(KINDS)))
            found = cluster.running(len(KINDS) + len(older), timeout=200)
            running = {each.name: each for each in found}
            records = [record["attachment"] for record in cluster.records()]
            chosen = [
                (kind, _target(target_of(running[f"many{number}"]), kind, records))
                for number, kind in enumerate(KINDS)
            ]
            env.exec_agent.ask("baseline", targets=[asdict(target) for _, target in chosen])
            yield chosen
        finally:
            cluster.clear()


def _target(first: Target, kind: Kind, records: Sequence[dict[str, Any]]) -> Target:
    (own,) = (
        each
        for each in records
        if (each["container_id"], each["ifname"]) == (first.container_id, kind.ifname)
    )
    return replace(
        first, ifname=kind.ifname, port=own["host_link"], iface_id=own["iface_id"], ingress=0
    )


def _sh(env: Environment, target: Target, line: str) -> bool:
    """Run a shell line about a target on the node; return whether it succeeds."""
    words = {"port": target.port, "ns": target.netns.rpartition("/")[2], "id": target.iface_id}
    filled = line.format(**words, v4=target.ips[0], gw4=GATEWAYS[0])
    return env.bed.node().result(["sh", "-euc", filled]).returncode == 0


def _break(env: Environment, kind: Kind, target: Target) -> None:
    for words in kind.cluster:
        env.bed.kubectl(*(word.replace("{pod}", target.pod + OLDER) for word in words))
    for line in kind.tools:
        if not _sh(env, target, line):
            raise BedError(f"{kind.title}: {line} failed")
    edits = [f"{key}-" if text is None else f"{key}={text}" for key, text in kind.edit]
    if edits:
        env.bed.kubectl("annotate", "--overwrite", "pod", target.pod, *edits)


def _break_under_agent(env: Environment, kind: Kind, target: Target) -> None:
    """Break it, where the kind says so between an agent's end and the next one's start."""
    if kind.away:
        env.remove_agent()
    try:
        _break(env, kind, target)
    finally:
        if kind.away:
            env.restore_agent()


def _is_right(env: Environment, kind: Kind, target: Target) -> bool:
    """Return whether the interface is as it should be; with a command of its own, by that alone."""
    if kind.right:
        return _sh(env, target, kind.right)
    return not env.wrong([target], allow_extra=kind.allow_extra)


def run(env: Environment, report: Report, seed: int) -> list[Row]:
    """Break each interface, and time its repair, or see that nothing is done for some seconds."""
    rows = []
    with _pods(env) as chosen:
        unreachable = env.traffic([replace(target, ifname="eth0") for _, target in chosen], 30)
        report.prove(f"{NAME}: every pod reaches its gateways", not unreachable, str(unreachable))
        for kind, target in chosen:
            klass: FaultClass = "restart" if kind.away else "event"
            rows.append(_row(env, report, kind, target).row(kind.title, klass, seed))
    return rows


def _row(env: Environment, report: Report, kind: Kind, target: Target) -> Outcome:
    """Carry out one kind."""
    _break_under_agent(env, kind, target)
    since = time.monotonic()
    took = _untouched(env, kind, target) if kind.untouched else _took(env, kind, target)
    wrong = env.wrong([target])
    report.dump("networks", kind=kind.title, ms=took, wrong=wrong)
    if kind.quiet and took is not None:
        time.sleep(QUIET_SECONDS)
        took = took if _sh(env, target, SILENT) else None
    # A machine's own network stack is its guest's: there is nothing in it to ping with.
    cut = {} if kind.machine else env.traffic([replace(target, ifname="eth0")], 10)
    done, seconds = took is not None, time.monotonic() - since
    outcome = Outcome(took, done, cut, changed := env.changed_sentinels(2))
    report.dump("networks", kind=kind.title, seconds=seconds, done=done, changed=changed)
    return outcome


def _took(env: Environment, kind: Kind, target: Target) -> float | None:
    """Return after how many ms the interface was right, None if it was not in time."""
    since = time.monotonic()
    within = START_SECONDS if kind.away else REPAIR_SECONDS
    while time.monotonic() - since < within * env.patience:
        if _is_right(env, kind, target):
            took = time.monotonic() - since
            time.sleep(HOLD)
            return round(1000 * took, 2) if _is_right(env, kind, target) else None
        time.sleep(0.01)
    return None


def _untouched(env: Environment, kind: Kind, target: Target) -> float | None:
    """Return 0 if what was done stays for some seconds, else None."""
    deadline = time.monotonic() + UNTOUCHED_SECONDS
    while time.monotonic() < deadline:
        if not _is_right(env, kind, target):
            return None
        time.sleep(0.2)
    return 0.0


def control_run(env: Environment, _report: Report, _seed: int) -> dict[str, bool]:
    """Return for each kind whether it stays broken without an agent.

    Where nothing may be done or announced, whether the observer sees what an eager agent would do.
    """
    with _pods(env) as chosen:
        env.remove_agent()
        try:
            for kind, target in chosen:
                _break(env, kind, target)
                if kind.untouched:
                    assert _is_right(env, kind, target), kind.title
                    _break(env, replace(kind, tools=kind.eager, edit=(), cluster=()), target)
            time.sleep(CONTROL_WAIT)
            return {
                kind.title: not _is_right(env, kind, target) and _is_heard(env, kind, target)
                for kind, target in chosen
            }
        finally:
            env.restore_agent()
            # The pods' DEL needs an agent that serves.
            deploy.rolled_out(env.bed, deploy.DAEMONSET)


def _is_heard(env: Environment, kind: Kind, target: Target) -> bool:
    """Return whether an announcement would have been seen; True where any is allowed."""
    if not kind.quiet:
        return True
    assert _sh(env, target, SILENT), kind.title
    _break(env, replace(kind, tools=ANNOUNCE, edit=(), cluster=()), target)
    wait_for(lambda: not _sh(env, target, SILENT), "the announcement", timeout=10)
    return True
