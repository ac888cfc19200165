"""Garbage of each sort: what a deleted pod or sandbox left on the node, with our marks on it.

The agent must remove it, but only after two observations with a complete list of pods. The
sentinels have foreign objects of the same sorts. What the agent reads only at its start is created
while it is away.
"""

from __future__ import annotations

import json
import shlex
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from proofs.drift.control import CONTROL_WAIT
from proofs.drift.environment import Environment
from proofs.drift.faults import FaultClass, Tools
from proofs.drift.observe import PENDING_DELETES, RECORDS
from proofs.drift.report import Report, Row
from testbed.service import BedError, wait_for

NAME, AT_START = "garbage of every kind", "garbage found at the agent's start"
REMOVAL_TIMEOUT = 200.0  # seconds: two observations a resync apart, and one to spare
_NETNS = "/run/netns/{short}"
_BOOT_ID = "/proc/sys/kernel/random/boot_id"


@dataclass(frozen=True, slots=True)
class Leftover:
    """A sort of garbage: `lines` create it for one container ID.

    `cleanup` removes what the agent does not remove. A running agent does not read what
    `needs_start`.
    """

    name: str
    lines: tuple[str, ...]
    cleanup: tuple[str, ...] = ()
    needs_start: bool = False

    def tools(self, lines: Sequence[str], container_id: str) -> Tools:
        """Return these template lines for one container ID, as command lines."""
        known = {
            "id": container_id,
            "short": container_id[:12],
            "uid": str(uuid.UUID(container_id[:32])),
        }
        known |= {
            "record": _record(container_id, known["uid"]),
            "records": str(RECORDS),
            "pending": str(PENDING_DELETES),
        }
        return [[word.format(**known) for word in shlex.split(line)] for line in lines]


def _record(container_id: str, uid: str) -> str:
    """Return the record of a pod whose name exists with another UID, as of a StatefulSet.

    The pod's netns is gone. The boot ID must be the present one: the agent discards a record of
    another boot without looking further.
    """
    attachment = {
        "container_id": container_id,
        "ifname": "eth0",
        "netns": _NETNS.format(short=container_id[:12]),
        "namespace": "default",
        "pod": "p01",
        "uid": uid,
        "provider": "ovn",
        "boot_id": "BOOT",
        "sequence": 1,
        "routes": [],
    }
    good = {
        "ovn.kubernetes.io/ip_address": "10.16.250.1",
        "ovn.kubernetes.io/mac_address": "0a:00:00:00:00:01",
    }
    good |= {"ovn.kubernetes.io/cidr": "10.16.0.0/16", "ovn.kubernetes.io/gateway": "10.16.0.1"}
    return json.dumps({"version": 1, "attachment": attachment, "good": good})


_PORT = (
    "ovs-vsctl --no-wait add-port br-int {short}_h"
    " -- set port {short}_h external_ids:ovnlet={id}/eth0"
    " -- set interface {short}_h external_ids:ovnlet={id}/eth0 external_ids:vendor=kube-ovn"
    " external_ids:pod_name=p01 external_ids:pod_namespace=default external_ids:iface-id-ver={uid}"
    " external_ids:pod_netns=" + _NETNS
)
_LABELS = (
    " external_ids:ovnlet={id}/eth0 external_ids:pod=default/gone"
    " external_ids:iface-id=gone.default"
)
_QUEUE = "-- --id=@k create queue other_config:max-rate=1000000" + _LABELS
LEFTOVERS = [
    Leftover("port of a dead sandbox", (_PORT,)),
    Leftover(
        "port and veth of a pod that is gone",
        (
            "ip netns add {short}",
            "ip link add {short}_h alias ovnlet:{id}/eth0 type veth peer name eth0 netns {short}",
            "ip -n {short} link set eth0 alias ovnlet:{id}/eth0",
            "ip link set {short}_h up",
            _PORT,
        ),
        cleanup=("ip netns del {short}",),
    ),
    Leftover(
        "QoS and Queue rows",
        (f"ovs-vsctl {_QUEUE[3:]} -- create qos type=linux-htb queues:0=@k{_LABELS}",),
    ),
    Leftover("Queue row alone", (f"ovs-vsctl {_QUEUE[3:]}",)),
    Leftover(
        "note of a deletion",
        ("sh -c 'mkdir -p {pending}; echo \"{id} eth0\" >{pending}/{id}.eth0'",),
    ),
    Leftover(
        "record of a dead sandbox",
        (
            f"sh -c 'sed s/BOOT/$(cat {_BOOT_ID})/"
            " >{records}/{id}.eth0.json <<E\n{record}\nE\n'",
        ),
        needs_start=True,
    ),
]


def _create(env: Environment, leftovers: Sequence[Leftover], what: str) -> dict[str, str]:
    """Create the leftovers. Return their container IDs by the names of their rows.

    Raise BedError if one is not found on the node afterwards.
    """
    created = {}
    for leftover in leftovers:
        container_id = uuid.uuid4().hex * 2
        env.tools(leftover.tools(leftover.lines, container_id))
        created[f"{what}: {leftover.name}"] = container_id
    if unseen := [name for name, places in env.traces(*created.values()).items() if not places]:
        raise BedError(f"not found after it was created: {unseen}")
    return created


def _wait_gone(
    env: Environment, created: dict[str, str], since: float, timeout: float
) -> dict[str, float]:
    """Return for each that is gone in time the milliseconds after ``since``."""
    gone: dict[str, float] = {}

    def poll() -> bool:
        left = env.traces(*created.values())
        for name, container_id in created.items():
            if not left[container_id]:
                gone.setdefault(name, round((time.monotonic() - since) * 1000, 2))
        return len(gone) == len(created)

    with suppress(BedError):
        wait_for(poll, "the garbage to go", timeout, every=0.02)
    return gone


def _clean_up(env: Environment, leftovers: Sequence[Leftover], created: dict[str, str]) -> None:
    for leftover, container_id in zip(leftovers, created.values(), strict=True):
        env.tools(leftover.tools(leftover.cleanup, container_id))


def _rows(
    env: Environment, report: Report, created: dict[str, str], gone: dict[str, float], row: Row
) -> list[Row]:
    """Return a row for each leftover. None is good if a pod was broken or a sentinel changed."""
    left, wrong, unreachable = (
        env.traces(*created.values()),
        env.wrong(),
        env.traffic(env.targets, 10),
    )
    changed = env.changed_sentinels(2)
    report.dump(
        "garbage",
        created=created,
        gone=gone,
        left=left,
        wrong=wrong,
        unreachable=unreachable,
        changed=changed,
    )
    row = replace(row, traffic_ok=not (unreachable or wrong), sentinels_ok=not changed)
    return [
        replace(
            row,
            kind=name,
            detected_ms=at,
            repaired_ms=at,
            repaired=at is not None and not left[container_id],
        )
        for name, container_id in created.items()
        for at in (gone.get(name),)
    ]


def _row(klass: FaultClass, seed: int) -> Row:
    return Row("", klass, seed, None, None, repaired=False, traffic_ok=False, sentinels_ok=False)


def run_with_agent(env: Environment, report: Report, seed: int) -> list[Row]:
    """Create the garbage under a running agent, and time its removal."""
    leftovers = [leftover for leftover in LEFTOVERS if not leftover.needs_start]
    created = _create(env, leftovers, "garbage")
    gone = _wait_gone(env, created, time.monotonic(), REMOVAL_TIMEOUT)
    rows = _rows(env, report, created, gone, _row("resync", seed))
    _clean_up(env, leftovers, created)
    return rows


def run_before_start(env: Environment, report: Report, seed: int) -> list[Row]:
    """Create the garbage while no agent runs, and time its removal from the agent's start."""
    env.remove_agent()
    created = _create(env, LEFTOVERS, "at start, garbage")
    env.restore_agent()
    gone = _wait_gone(env, created, time.monotonic(), REMOVAL_TIMEOUT)
    rows = _rows(env, report, created, gone, _row("restart", seed))
    _clean_up(env, LEFTOVERS, created)
    return rows


def _control(env: Environment, leftovers: Sequence[Leftover], what: str) -> dict[str, bool]:
    """Return for each leftover whether it stays without an agent, then let the agent remove it."""
    env.remove_agent()
    created = _create(env, leftovers, what)
    time.sleep(CONTROL_WAIT)
    left = env.traces(*created.values())
    env.restore_agent()
    _wait_gone(env, created, time.monotonic(), REMOVAL_TIMEOUT)
    _clean_up(env, leftovers, created)
    return {name: bool(left[container_id]) for name, container_id in created.items()}


def control_with_agent(env: Environment, _book: Report, _seed: int) -> dict[str, bool]:
    """Return whether what a running agent removes stays without one."""
    return _control(
        env, [leftover for leftover in LEFTOVERS if not leftover.needs_start], "garbage"
    )


def control_before_start(env: Environment, _book: Report, _seed: int) -> dict[str, bool]:
    """Return whether what the agent removes at its start stays without one."""
    return _control(env, LEFTOVERS, "at start, garbage")
