"""Garbage of each kind: what a pod or a sandbox that is gone left on the node, with our marks on it.

It goes, but only after two looks with a complete list of pods; a stranger's things of the same sorts are among the
witnesses. What the agent knows only from its start is laid while it is away.
"""

from __future__ import annotations

import json
import shlex
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from proofs.drift import parts
from proofs.drift.kinds import Class, Tools
from proofs.drift.look import NOTES, RECORDS
from proofs.drift.report import Book, Row
from proofs.drift.stage import Stage
from testbed.service import BedError, wait_for

NAME, AT_START = "garbage of every kind", "garbage found at the agent's start"
PATIENCE = 200.0  # two looks, each a resync apart, and one to spare
_NETNS = "/run/netns/{short}"
_BOOT_ID = "/proc/sys/kernel/random/boot_id"


@dataclass(frozen=True, slots=True)
class Litter:
    """`lines` lay it, for one container ID. What `needs_start` is not read by an agent that runs."""

    name: str
    lines: tuple[str, ...]
    tidy: tuple[str, ...] = ()
    needs_start: bool = False

    def tools(self, lines: Sequence[str], container_id: str) -> Tools:
        known = {
            "id": container_id,
            "short": container_id[:12],
            "uid": str(uuid.UUID(container_id[:32])),
        }
        known |= {
            "record": _record(container_id, known["uid"]),
            "records": str(RECORDS),
            "notes": str(NOTES),
        }
        return [[word.format(**known) for word in shlex.split(line)] for line in lines]


def _record(container_id: str, uid: str) -> str:
    """Of a pod whose name lives on with another UID, as of a StatefulSet; its namespace is gone. Of another boot, the
    agent would drop it unseen."""
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
    "ovs-vsctl --no-wait add-port br-int {short}_h -- set port {short}_h external_ids:ovnlet={id}/eth0"
    " -- set interface {short}_h external_ids:ovnlet={id}/eth0 external_ids:vendor=kube-ovn external_ids:pod_name=p01"
    " external_ids:pod_namespace=default external_ids:iface-id-ver={uid} external_ids:pod_netns="
    + _NETNS
)
_LABELS = " external_ids:ovnlet={id}/eth0 external_ids:pod=default/gone external_ids:iface-id=gone.default"
_QUEUE = "-- --id=@k create queue other_config:max-rate=1000000" + _LABELS
LITTER = [
    Litter("port of a dead sandbox", (_PORT,)),
    Litter(
        "port and veth of a pod that is gone",
        (
            "ip netns add {short}",
            "ip link add {short}_h alias ovnlet:{id}/eth0 type veth peer name eth0 netns {short}",
            "ip -n {short} link set eth0 alias ovnlet:{id}/eth0",
            "ip link set {short}_h up",
            _PORT,
        ),
        tidy=("ip netns del {short}",),
    ),
    Litter(
        "QoS and Queue rows",
        (f"ovs-vsctl {_QUEUE[3:]} -- create qos type=linux-htb queues:0=@k{_LABELS}",),
    ),
    Litter("Queue row alone", (f"ovs-vsctl {_QUEUE[3:]}",)),
    Litter(
        "note of a deletion", ("sh -c 'mkdir -p {notes}; echo \"{id} eth0\" >{notes}/{id}.eth0'",)
    ),
    Litter(
        "record of a dead sandbox",
        (
            f"sh -c 'sed s/BOOT/$(cat {_BOOT_ID})/ >{{records}}/{{id}}.eth0.json <<E\n{{record}}\nE\n'",
        ),
        needs_start=True,
    ),
]


def _lay(stage: Stage, pieces: Sequence[Litter], what: str) -> dict[str, str]:
    """Container IDs by the rows' names."""
    laid = {}
    for piece in pieces:
        container_id = uuid.uuid4().hex * 2
        stage.tools(piece.tools(piece.lines, container_id))
        laid[f"{what}: {piece.name}"] = container_id
    if unseen := [name for name, places in stage.traces(*laid.values()).items() if not places]:
        raise BedError(f"not there after it was laid: {unseen}")
    return laid


def _watched(stage: Stage, laid: dict[str, str], since: float, timeout: float) -> dict[str, float]:
    """Milliseconds until nothing is left of each."""
    gone: dict[str, float] = {}

    def look() -> bool:
        left = stage.traces(*laid.values())
        for name, container_id in laid.items():
            if not left[container_id]:
                gone.setdefault(name, round((time.monotonic() - since) * 1000, 2))
        return len(gone) == len(laid)

    with suppress(BedError):
        wait_for(look, "the garbage to go", timeout, every=0.02)
    return gone


def _tidy(stage: Stage, pieces: Sequence[Litter], laid: dict[str, str]) -> None:
    for piece, container_id in zip(pieces, laid.values(), strict=True):
        stage.tools(piece.tools(piece.tidy, container_id))


def _judged(
    stage: Stage, book: Book, laid: dict[str, str], gone: dict[str, float], row: Row
) -> list[Row]:
    """No living pod may feel it."""
    left, wrong, silent = (
        stage.traces(*laid.values()),
        stage.wrong(),
        stage.traffic(stage.targets, 10),
    )
    harmed = stage.harmed(2)
    book.dump("garbage", laid=laid, gone=gone, left=left, wrong=wrong, silent=silent, harmed=harmed)
    row = replace(row, traffic_ok=not (silent or wrong), witnesses_ok=not harmed)
    return [
        replace(
            row,
            kind=name,
            detected_ms=at,
            repaired_ms=at,
            repaired=at is not None and not left[container_id],
        )
        for name, container_id in laid.items()
        for at in (gone.get(name),)
    ]


def _row(klass: Class, seed: int) -> Row:
    return Row("", klass, seed, None, None, repaired=False, traffic_ok=False, witnesses_ok=False)


def laid_under(stage: Stage, book: Book, seed: int) -> list[Row]:
    pieces = [piece for piece in LITTER if not piece.needs_start]
    laid = _lay(stage, pieces, "garbage")
    gone = _watched(stage, laid, time.monotonic(), PATIENCE)
    rows = _judged(stage, book, laid, gone, _row("resync", seed))
    _tidy(stage, pieces, laid)
    return rows


def laid_before(stage: Stage, book: Book, seed: int) -> list[Row]:
    stage.agent_away()
    laid = _lay(stage, LITTER, "at start, garbage")
    stage.agent_back()
    gone = _watched(stage, laid, time.monotonic(), PATIENCE)
    rows = _judged(stage, book, laid, gone, _row("restart", seed))
    _tidy(stage, LITTER, laid)
    return rows


def _without(stage: Stage, pieces: Sequence[Litter], what: str) -> dict[str, bool]:
    stage.agent_away()
    laid = _lay(stage, pieces, what)
    time.sleep(parts.GENEROUS)
    left = stage.traces(*laid.values())
    stage.agent_back()
    _watched(stage, laid, time.monotonic(), PATIENCE)
    _tidy(stage, pieces, laid)
    return {name: bool(left[container_id]) for name, container_id in laid.items()}


def stays(stage: Stage, _book: Book, _seed: int) -> dict[str, bool]:
    return _without(stage, [piece for piece in LITTER if not piece.needs_start], "garbage")


def stays_before(stage: Stage, _book: Book, _seed: int) -> dict[str, bool]:
    return _without(stage, LITTER, "at start, garbage")
