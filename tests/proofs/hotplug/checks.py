"""What must hold once nothing is under way: nothing is left, and nothing has grown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from proofs.hotplug.stage import FIRST, N1, PATIENCE, Stage
from testbed import deploy
from testbed.service import BedError, wait_for
from testbed.space import Space

DATABASE = "/etc/openvswitch/conf.db"
TABLES = ("Port", "Interface", "QoS", "Queue")
PLANTED = "0badc0de_net2_h"
KIB = 1024.0


def left(stage: Stage) -> list[str]:
    """Return what is missing, or is of no interface that a pod lists, on the nodes and in OVN."""
    pods = {"n0": [pod.name for pod in stage.hot], "n1": [stage.peer.name]}
    found: list[str] = []
    for node in stage.bed.nodes:
        records = [each["attachment"] for each in _records(node)]
        known = {f"{each['pod']}/{each['ifname']}" for each in records}
        wanted = {f"{pod}/{ifname}" for pod in pods[node.role] for ifname in ("eth0", *FIRST)}
        found += _differing(f"{node.role}: record", known, wanted)
        names = {str(each["host_link"]) for each in records}
        found += _differing(f"{node.role}: link", _links(node), names)
        found += _differing(f"{node.role}: port", _ports(node), names)
    every = [name for names in pods.values() for name in names]
    ports = {f"{name}.default{suffix}" for name in every for suffix in ("", f".{N1}.net1")}
    ports |= {f"{name}.default.{N1}" for name in every}
    found += [f"logical port {name}" for name in _logical(stage) - ports]
    found += [f"{pod.name}: annotations" for pod in stage.hot if stage.is_allocated(pod.name)]
    return found


def rest(stage: Stage) -> list[str]:
    """Wait until nothing is left, and return what is left in the end."""
    try:
        wait_for(lambda: not left(stage), "nothing to be left", PATIENCE, every=1)
    except BedError:
        return left(stage)
    return []


def planned(stage: Stage) -> list[str]:
    """Return the steps that the agents would take now: none, once they are done."""
    steps = []
    for node in stage.bed.nodes:
        pod = deploy.agent_pods(stage.bed, node.role)[0]
        words = ("-n", deploy.NAMESPACE, "exec", pod, "--", "sh", "-c")
        shown = stage.bed.kubectl(*words, "ovnlet plan -o json || true")
        steps += [f"{each['pod']}/{each['ifname']} {line}" for each in json.loads(shown)
                  for line in [*each["steps"], *filter(None, [each.get("error")])]]  # fmt: skip
    return steps


@contextmanager
def planted(stage: Stage) -> Iterator[None]:
    """Leave a link that no attachment has, as an unplug that did half of its work would."""
    node = stage.bed.node(0)
    node.run(["ip", "link", "add", PLANTED, "type", "veth", "peer", "name", "planted"])
    try:
        yield
    finally:
        node.run(["ip", "link", "del", PLANTED])


@dataclass(frozen=True, slots=True)
class Figures:
    """What must not grow: the first node's agent, and its OVSDB once compacted."""

    pid: int
    rss: float  # MiB
    descriptors: int
    threads: int
    rows: int
    database: float  # KiB

    @classmethod
    def of(cls, stage: Stage) -> Figures:
        """Take the figures now."""
        node = stage.bed.node(0)
        node.run(["ovs-appctl", "-t", "ovsdb-server", "ovsdb-server/compact"], timeout=30)
        pid = max(deploy.agent_processes(node))
        proc = node.path(f"/proc/{pid}")
        status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
        count = "for t in {}; do ovs-vsctl --bare --columns=_uuid list $t; done | grep -c ."
        return cls(
            pid,
            float(status["VmRSS"].split()[0]) / KIB,
            len(list((proc / "fd").iterdir())),
            int(status["Threads"]),
            int(node.sh(count.format(" ".join(TABLES)))),
            node.path(DATABASE).stat().st_size / KIB,
        )


def _records(node: Space) -> list[dict[str, dict[str, str]]]:
    look = "for f in /run/ovnlet/sandboxes/*.json; do cat $f; echo; done"
    return [json.loads(line) for line in node.sh(look).splitlines() if line]


def _links(node: Space) -> set[str]:
    """Return the names of the links that are like those of attachments."""
    shown = json.loads(node.run(["ip", "-j", "link"]))
    return {each["ifname"] for each in shown if each["ifname"].endswith("_h")}


def _ports(node: Space) -> set[str]:
    return {
        name for name in node.run(["ovs-vsctl", "list-ports", "br-int"]).split() if "_h" in name
    }


def _logical(stage: Stage) -> set[str]:
    """Return the enabled logical ports of pods."""
    words = ("--bare", "--columns=name", "find", "Logical_Switch_Port", "enabled!=false")
    return {name for name in stage.bed.nbctl(*words).split() if ".default" in name}


def _differing(what: str, found: set[str], wanted: set[str]) -> list[str]:
    lines = [f"{what} {name} is left" for name in sorted(found - wanted)]
    return lines + [f"{what} {name} is missing" for name in sorted(wanted - found)]
