"""The node-wide kinds: a part of the node goes away or freezes, pods are broken meanwhile, the part comes back.

OVS, OVN and kubelet bring much back by themselves, which would prove nothing of ovnlet: the wounds are what
it has to find when the part is back.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from proofs.drift import trials
from proofs.drift.guard import surviving
from proofs.drift.kinds import ELSEWHERE, Kind
from proofs.drift.look import Target
from proofs.drift.pings import Pings, summary
from proofs.drift.report import Book, Row
from proofs.drift.stage import KEEPER, Stage
from proofs.drift.table import KINDS
from testbed import progress, switch
from testbed.service import wait_for

RIGHT_WITHIN = 60.0
GENEROUS = 8.0
SAMPLE = 6
BY_NAME = {kind.name: kind for kind in KINDS}
IN_KERNEL = ("host veth deleted", "pod addresses flushed", "pod link set down")
IN_OVS = ("iface-id removed", "port removed from br-int", "host veth deleted")
UNPLUGGED = ("iface-id removed", "port removed from br-int")
Away = Callable[[Stage, float], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Part:
    """`away` takes the part away and, at its end, brings it back; `wounds` are inflicted between.

    With `meanwhile`, repairs are expected before it is back. `seconds` is how long it stays away.
    """

    name: str
    away: Away
    wounds: tuple[str, ...]
    seconds: float = 1.0
    meanwhile: bool = False
    keeps_ovsdb: bool = True


@contextmanager
def _vswitchd_stopped(stage: Stage, seconds: float) -> Iterator[None]:
    node = stage.bed.node()
    node.service("ovs-vswitchd").stop()
    yield
    time.sleep(seconds)
    switch.start_vswitchd(node)


@contextmanager
def _ovsdb_stopped(stage: Stage, seconds: float) -> Iterator[None]:
    node = stage.bed.node()
    node.service("ovsdb-server").stop()
    yield
    time.sleep(seconds)
    switch.start_ovsdb(node)
    # ovs-vswitchd tries again after 1, 2, 4 and 8 seconds; until then no port can be made by anybody.
    node.run(
        [
            "ovs-vsctl",
            "--timeout=20",
            "set",
            "bridge",
            ELSEWHERE,
            f"other_config:back={time.monotonic_ns()}",
        ]
    )


@contextmanager
def _both_stopped(stage: Stage, seconds: float) -> Iterator[None]:
    node = stage.bed.node()
    node.service("ovs-vswitchd").stop()
    node.service("ovsdb-server").stop()
    yield
    time.sleep(seconds)
    switch.start_ovsdb(node)
    switch.start_vswitchd(node)


@contextmanager
def _controller_stopped(stage: Stage, seconds: float) -> Iterator[None]:
    node = stage.bed.node()
    node.service("ovn-controller").stop()
    yield
    time.sleep(seconds)
    assert stage.bed.control
    switch.start_controller(node, stage.bed.control)


def _frozen(name: str) -> Away:
    @contextmanager
    def away(stage: Stage, seconds: float) -> Iterator[None]:
        service = stage.bed.node().service(name)
        service.send(signal.SIGSTOP)
        try:
            yield
            time.sleep(seconds)
        finally:
            service.send(signal.SIGCONT)

    return away


@contextmanager
def _api_stopped(stage: Stage, seconds: float) -> Iterator[None]:
    plane, control = stage.bed.control_plane, stage.bed.control
    assert control
    control.service("kube-apiserver").stop()
    yield
    time.sleep(seconds)
    service = plane.start_apiserver(service_accounts=True)
    service.wait_ready(lambda: plane.answers(stage.bed.api_url), timeout=60)


@contextmanager
def _agent_killed(stage: Stage, seconds: float) -> Iterator[None]:
    """kubelet starts the next one; it is back when its process is. Without an agent, nothing is killed."""
    old = stage.agent_pids()
    for pid in old:
        stage.bed.node().run(["kill", "-KILL", str(pid)])
    yield
    time.sleep(seconds if not old else 0)
    if old:
        wait_for(
            lambda: set(stage.agent_pids()) - set(old), "another agent", timeout=90, every=0.02
        )


@contextmanager
def _database_wiped(stage: Stage, seconds: float) -> Iterator[None]:
    """Both daemons come back over an empty database, without bridges and without a chassis."""
    node = stage.bed.node()
    node.service("ovs-vswitchd").stop()
    node.service("ovsdb-server").stop()
    node.sh("rm -f /etc/openvswitch/conf.db /etc/openvswitch/.conf.db.*")
    yield
    time.sleep(seconds)
    switch.start_ovsdb(node)
    node.vsctl("--no-wait", "init")
    switch.start_vswitchd(node)


@contextmanager
def nothing(_stage: Stage, _seconds: float) -> Iterator[None]:
    yield


PARTS = [
    Part("ovs-vswitchd restarted", _vswitchd_stopped, IN_KERNEL),
    Part("ovs-vswitchd frozen for 60 s", _frozen("ovs-vswitchd"), IN_KERNEL, seconds=60),
    Part("ovsdb-server restarted", _ovsdb_stopped, IN_KERNEL),
    Part("ovsdb-server frozen for 60 s", _frozen("ovsdb-server"), IN_KERNEL, seconds=60),
    Part("ovsdb-server and ovs-vswitchd restarted", _both_stopped, IN_KERNEL),
    Part("ovn-controller restarted", _controller_stopped, IN_OVS),
    Part("agent killed", _agent_killed, IN_OVS, seconds=0),
    Part("API server away for 3 min", _api_stopped, IN_OVS, seconds=180, meanwhile=True),
    Part("conf.db wiped", _database_wiped, ("pod addresses flushed",), keeps_ovsdb=False),
]


def run(stage: Stage, book: Book, parts: list[Part], seed: int) -> None:
    for number, part in enumerate(parts):
        if not book.lacks(part.name, seed + number):
            continue
        with (
            progress.step(f"class restart: {part.name}"),
            surviving(stage, book, part.name, "restart", seed + number),
        ):
            book.add(_tried(stage, book, part, seed + number))


def wounded(stage: Stage, part: Part, seed: int) -> list[tuple[Target, Kind]]:
    """Which pods are broken while the part is away, and how."""
    pods = [target for target in stage.targets if target.pod != KEEPER]
    start = seed % len(pods)
    return list(
        zip((pods[start:] + pods[:start]), (BY_NAME[name] for name in part.wounds), strict=False)
    )


def _tried(stage: Stage, book: Book, part: Part, seed: int) -> Row:
    struck = wounded(stage, part, seed)
    spared = [target for target in stage.targets if target not in [hurt for hurt, _ in struck]]
    pings = Pings(
        stage.bed, spared[:SAMPLE], stage.evidence / "pings" / part.name.replace(" ", "-")
    )
    time.sleep(1)
    results = _through(stage, part, struck)
    silent, failed = stage.traffic(stage.targets, 10), stage.check(stage.targets)
    windows = pings.stop()
    left = stage.wrong()
    if not part.keeps_ovsdb:
        stage.lay_witnesses_in_ovs()
    harmed = stage.harmed(5)
    ill = {
        t.pod: result["wrong"]
        for t, result in zip(stage.targets, results, strict=True)
        if result["wrong"]
    }
    repaired = not (ill or left or failed)
    slowest = max((result["repaired_ms"] or 0 for result in results), default=0.0)
    seen = [result["detected_ms"] for result in results if result["detected_ms"] is not None]
    row = Row(
        kind=part.name,
        klass="restart",
        seed=seed,
        detected_ms=min(seen, default=None),
        repaired_ms=slowest if repaired else None,
        repaired=repaired,
        traffic_ok=not silent,
        witnesses_ok=not harmed,
    )
    book.outages[part.name] = summary(windows)
    told = [
        {"pod": w.pod, "address": w.address, "sent": w.sent, "lost": w.lost, "ms": w.outage_ms}
        for w in windows
    ]
    found = {"results": results, "left": left, "silent": silent, "check": failed, "harmed": harmed}
    book.dump("restarts", **row.told(), **found, pings=told)
    if not (row.repaired and row.traffic_ok and row.witnesses_ok):
        progress.say(
            f"    {part.name}: wrong {ill or left}, silent {silent}, CHECK {failed}, {harmed}"[
                :1500
            ]
        )
    return row


def _through(stage: Stage, part: Part, struck: list[tuple[Target, Kind]]) -> list[dict[str, Any]]:
    """Away, wounds, back, and how long every pod of the node then takes to be right."""
    results: list[dict[str, Any]] = []
    with part.away(stage, part.seconds):
        inflict(stage, struck)
        if part.meanwhile:
            results = watched(stage, time.monotonic())
    return results or watched(stage, time.monotonic())


def inflict(stage: Stage, struck: list[tuple[Target, Kind]]) -> None:
    """Nobody waits for an ovs-vswitchd that may be the part that is away."""
    for target, kind in struck:
        lines = kind.tools(target)
        stage.tools(
            [[word, *["--no-wait"] * (word == "ovs-vsctl"), *rest] for word, *rest in lines]
        )


def watched(stage: Stage, since: float) -> list[dict[str, Any]]:
    items = [trials.item(target) | {"since": since} for target in stage.targets]
    return list(stage.hand.ask("trial", items=items, timeout=RIGHT_WITHIN)["results"])


def control(stage: Stage, book: Book, parts: list[Part], seed: int) -> None:
    """The same without an agent and with short absences: what was wounded must stay so; then the agent is started."""
    for number, part in enumerate(parts):
        title = f"control run without an agent: {part.name}"
        if not book.lacks(title):
            continue
        with progress.step(title), surviving(stage, book, title):
            struck = wounded(stage, part, seed + number)
            stage.agent_away()
            with part.away(stage, min(part.seconds, 3)):
                inflict(stage, struck)
            time.sleep(GENEROUS)
            wrong = stage.wrong()
            book.dump(
                "control", kind=part.name, wrong=wrong, wounded=[target.pod for target, _ in struck]
            )
            book.broken_without({part.name: all(target.pod in wrong for target, _ in struck)})
            _healed(stage, book, part)


def _healed(stage: Stage, book: Book, part: Part) -> None:
    stage.agent_back()
    results = watched(stage, time.monotonic())
    if not part.keeps_ovsdb:
        stage.lay_witnesses_in_ovs()
    ill = [
        t.pod
        for t, result in zip(stage.targets, results, strict=True)
        if result["repaired_ms"] is None
    ]
    silent = stage.traffic(stage.targets, 10)
    slowest = max((result["repaired_ms"] or 0 for result in results), default=0.0)
    figures = (
        f"not right {ill}, silent {silent}"
        if ill or silent
        else f"{slowest:.0f} ms after its process began"
    )
    book.prove(
        f"control: the agent's start repairs all after {part.name}",
        not (ill or silent),
        figures[:200],
    )
