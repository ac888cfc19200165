"""Faults of further interfaces, and of a virtual machine's: repaired, or untouched if not ours.

Each kind has a pod of its own, with two interfaces of one network beside its first. The stand-in
for Multus attaches them. Another pod stands for a launcher of KubeVirt's with a bridge binding.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from proofs.drift.control import CONTROL_WAIT
from proofs.drift.environment import NS, Environment
from proofs.drift.faults import GATEWAYS
from proofs.drift.observe import HOLD, Target
from proofs.drift.pods import target_of
from proofs.drift.report import Outcome, Report, Row
from testbed import deploy, meta_networks, workloads
from testbed.service import BedError
from testbed.workloads import OVN, Cluster

NAME = "further interfaces"
REPAIR_SECONDS, UNTOUCHED_SECONDS = 10.0, 4.0
N1 = "n1.default.ovn"
LISTED = [{"name": "n1", "interface": each} for each in ("net1", "net2")]
# What KubeVirt's bridge binding does to the interface in a launcher.
BIND = (
    "ip -n {ns} link set eth0 down",
    "ip -n {ns} address flush dev eth0 scope global",
    "ip -n {ns} link set eth0 name eth0-nic address 02:00:00:00:00:99",
    "ip -n {ns} link add k6t-eth0 type bridge",
    "ip -n {ns} link set eth0-nic master k6t-eth0 up",
    "ip -n {ns} link add eth0 type bridge",
    "ip -n {ns} address add {v4}/16 dev eth0",
)
BOUND = (
    "ip -n {ns} -o link show eth0-nic | grep -q 02:00:00:00:00:99"
    " && ip -n {ns} -o link show eth0-nic | grep -q k6t-eth0"
    " && ! ip -n {ns} -o address show dev eth0-nic scope global | grep -q ."
    " && ip -n {ns} -o address show dev eth0 | grep -q {v4}"
    " && ip -o link show {port} up | grep -q . && ! ip link show {port} | grep -q 'mtu 1280 '"
    " && ovs-vsctl port-to-br {port} | grep -q br-int"
    " && ovs-vsctl get interface {port} external_ids:iface-id | grep -q {id}"
)


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to break or change an interface, named like an interface of the pod.

    It is right when the facts are as before, or when the shell command ``right`` succeeds.
    ``untouched`` means that nothing may be done: ``eager`` is what a wrong agent would do, which
    the control run does in its place. ``edit`` are annotations of the pod, None for one to remove.
    With ``allow_extra``, what the tool added may stay behind what was repaired.
    """

    name: str
    ifname: str
    tools: tuple[str, ...] = ()
    right: str = ""
    untouched: bool = False
    eager: tuple[str, ...] = ()
    edit: tuple[tuple[str, str | None], ...] = ()
    machine: bool = False
    allow_extra: bool = False

    @property
    def title(self) -> str:
        """The name of the row."""
        what = "a virtual machine's interface" if self.machine else "further interface"
        return f"{what}: {self.name}"


DELETE_PORT = ("ovs-vsctl del-port br-int {port}",)
KINDS = (
    Kind("its port removed", "net1", DELETE_PORT),
    Kind("deleted in the pod", "net1", ("ip -n {ns} link del net1",)),
    Kind(
        "default route moved to it",
        "eth0",
        ("ip -n {ns} route replace default via {gw4} dev net1",),
        allow_extra=True,  # a foreign route by another link than ours competes with none of ours
    ),
    Kind(
        "one of two in a network loses its iface-id",
        "net2",
        ("ovs-vsctl remove interface {port} external_ids iface-id",),
    ),
    Kind("its addresses flushed", "net2", ("ip -n {ns} address flush dev net2 scope global",)),
    Kind(
        "its rate edited",
        "net2",
        right="tc class show dev {port} | grep -q 'ceil 7Mbit'",
        edit=((f"{N1}.net2.kubernetes.io/ingress_rate", "7"),),
    ),
    Kind(
        "its routes edited",
        "net1",
        right="ip -n {ns} route show 192.0.2.0/24 | grep -q 'via {gw4} dev net1'",
        edit=(
            (
                f"{N1}.net1.kubernetes.io/routes",
                json.dumps([{"dst": "192.0.2.0/24", "gw": GATEWAYS[0]}]),
            ),
        ),
    ),
    Kind(
        "a foreign address on it",
        "net1",
        ("ip -n {ns} address add 10.99.0.1/24 dev net1",),
        right="ip -n {ns} -o address show dev net1 | grep -q 10.99.0.1",
        untouched=True,
        eager=("ip -n {ns} address del 10.99.0.1/24 dev net1",),
    ),
    Kind(
        "its annotations gone before its DEL",
        "net2",
        right="ovs-vsctl port-to-br {port} && ip -n {ns} link show net2",
        untouched=True,
        eager=DELETE_PORT,
        edit=tuple(
            (f"{N1}.net2.kubernetes.io/{name}", None)
            for name in (
                *("ip_address", "mac_address", "cidr", "gateway", "logical_switch"),
                *("allocated", "routed", "pod_nic_type"),
            )
        ),
    ),
    Kind("bound by a bridge", "eth0", BIND, BOUND, untouched=True, eager=DELETE_PORT, machine=True),
    Kind(
        "MTU and state of the node's end after that",
        "eth0",
        (*BIND, "ip link set {port} mtu 1280 down"),
        BOUND,
        machine=True,
    ),
    Kind("its port removed after that", "eth0", (*BIND, *DELETE_PORT), BOUND, machine=True),
)


def _pod(number: int, kind: Kind) -> dict[str, Any]:
    machine = {f"{OVN}/virtualmachine": f"vm{number}", "kubevirt.io/domain": f"vm{number}"}
    listed = {meta_networks.NETWORKS: json.dumps([] if kind.machine else LISTED)}
    body = workloads.pod(f"many{number}", **(machine if kind.machine else {}), **listed)
    body["metadata"]["labels"] = {"made-by": NAME.replace(" ", "-")}
    return body


@contextmanager
def _pods(env: Environment) -> Iterator[list[tuple[Kind, Target]]]:
    """Give each kind with the target that it breaks, in a pod of its own."""
    meta_networks.install(env.bed)
    network = meta_networks.definition("n1", {"type": "ovnlet", "provider": N1})
    env.bed.kubectl("apply", "-f", "-", stdin=json.dumps(network))
    cluster = Cluster(env.bed, label=NAME.replace(" ", "-"))
    try:
        cluster.apply(*(_pod(number, kind) for number, kind in enumerate(KINDS)))
        running = {each.name: each for each in cluster.running(len(KINDS), timeout=150)}
        records = [record["attachment"] for record in cluster.records()]
        chosen = [
            (kind, _target(target_of(running[f"many{number}"]), kind, records))
            for number, kind in enumerate(KINDS)
        ]
        env.exec_agent.ask("baseline", targets=[asdict(target) for _, target in chosen])
        yield chosen
    finally:
        cluster.clear()
        env.bed.node().run(["rm", "-f", meta_networks.CONFIG])


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
    for line in kind.tools:
        if not _sh(env, target, line):
            raise BedError(f"{kind.title}: {line} failed")
    edits = [f"{key}-" if text is None else f"{key}={text}" for key, text in kind.edit]
    if edits:
        env.bed.kubectl("annotate", "--overwrite", "pod", target.pod, *edits)


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
            _break(env, kind, target)
            since = time.monotonic()
            took = _untouched(env, kind, target) if kind.untouched else _took(env, kind, target)
            report.dump("networks", kind=kind.title, ms=took, wrong=env.wrong([target]))
            # A machine's own network stack is its guest's: there is nothing in it to ping with.
            cut = {} if kind.machine else env.traffic([replace(target, ifname="eth0")], 10)
            done, seconds = took is not None, time.monotonic() - since
            outcome = Outcome(took, done, cut, env.changed_sentinels(2))
            report.dump("networks", kind=kind.title, seconds=seconds)
            rows.append(outcome.row(kind.title, "event", seed))
    return rows


def _took(env: Environment, kind: Kind, target: Target) -> float | None:
    """Return after how many ms the interface was right, None if it was not in time."""
    since = time.monotonic()
    while time.monotonic() - since < REPAIR_SECONDS * env.patience:
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

    Where nothing may be done, whether the observer sees what an eager agent would do.
    """
    with _pods(env) as chosen:
        env.remove_agent()
        try:
            for kind, target in chosen:
                _break(env, kind, target)
                if kind.untouched:
                    assert _is_right(env, kind, target), kind.title
                    _break(env, replace(kind, tools=kind.eager, edit=()), target)
            time.sleep(CONTROL_WAIT)
            return {kind.title: not _is_right(env, kind, target) for kind, target in chosen}
        finally:
            env.restore_agent()
            _wait_ready(env)


def _wait_ready(env: Environment) -> None:
    """Return once the agent serves again: the pods' DEL needs it."""
    words = (*NS, "rollout", "status", deploy.DAEMONSET, "--timeout=60s")
    env.bed.kubectl(*words, timeout=70)
