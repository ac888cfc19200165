"""Adoption of a pod that kube-ovn-cni made, which has no record.

ovnlet must recognize it by names and labels, keep it running and repair it. The pod is rewritten
to what kube-ovn-cni leaves behind while no agent runs; then ovnlet starts for the first time.
"""

from __future__ import annotations

import time

from proofs.drift.control import CONTROL_WAIT
from proofs.drift.deletion import replace, traces, victim_of
from proofs.drift.environment import Environment
from proofs.drift.faults import CUSTOM, GATEWAYS, Tools
from proofs.drift.observe import Target
from proofs.drift.report import Outcome, Report, Row
from proofs.drift.table import BY_NAME
from testbed.deploy import POD_END_TIMEOUT
from testbed.service import BedError, wait_for

NAME = "pod made by kube-ovn-cni, broken"
# Only the first twelve characters of its container ID are known, so mark and record differ.
EXPECTED_DIFFERENCES = (
    "record",
    "external_ids ovnlet",
    "pod link eth0",
    "qos",
    "queue 0",
)


def _inside(victim: Target) -> list[str]:
    """Return what the kernel and netlink's defaults make of kube-ovn-cni's calls.

    These are prefix routes, and routes without our protocol and without a source address.
    """
    v4, v6 = victim.ips
    return [
        "address flush dev eth0 scope global",
        "route flush dev eth0",
        "-6 route flush dev eth0 proto 157",
        f"address add {v4}/16 dev eth0",
        f"address add {v6}/64 dev eth0 nodad",
        *(f"route replace default via {gateway} dev eth0" for gateway in GATEWAYS),
        *(
            f"route replace {to} via {gateway} dev eth0"
            for to, gateway in zip(CUSTOM, GATEWAYS, strict=True)
        ),
        f"link set eth0 alias {victim.container_id[:12]}_c",
    ]


def disguise(victim: Target) -> Tools:
    """Return commands that turn a pod of ovnlet into one of kube-ovn-cni.

    Kube-OVN sets no mark and no `iface-id-ver`, adds no queue of its own to the class, and
    configures nothing in the pod but addresses and routes.
    """
    name, port = victim.netns.rpartition("/")[2], victim.port
    rows = f"external_ids:iface-id={victim.iface_id}"
    unmark = [
        ["sh", "-ec", f"for u in $(ovs-vsctl --bare --columns=_uuid find {table} {rows}); do"
         f" ovs-vsctl remove {table} $u external_ids ovnlet; done"]
        for table in ("qos", "queue")
    ]  # fmt: skip
    limits = [
        f"tc qdisc del dev {port} parent 1:1".split(),
        f"tc -n {name} qdisc del dev eth0 root".split(),
    ]
    return [
        *unmark,
        [
            "ovs-vsctl",
            "remove",
            "interface",
            port,
            "external_ids",
            "ovnlet",
            "ovnlet-fixed",
            "iface-id-ver",
        ],
        ["ovs-vsctl", "remove", "port", port, "external_ids", "ovnlet"],
        *(limits if victim.limited else []),
        ["ip", "link", "set", port, "alias", ""],
        *(["ip", "-n", name, *line.split()] for line in _inside(victim)),
        ["rm", str(victim.record)],
    ]


def _faults(victim: Target) -> Tools:
    faults = ("iface-id removed", "pod MTU changed", "default route removed", "host veth set down")
    return [line for name in faults for line in BY_NAME[name].tools(victim)]


def _disguise_victim(env: Environment, seed: int) -> Target:
    env.remove_agent()
    victim = victim_of(env, seed)
    env.tools(disguise(victim) + _faults(victim))
    return victim


def _wait_adopted(env: Environment, victim: Target, since: float) -> float | None:
    """Return the milliseconds until everything but the marks is as before, or None after 30 s."""

    def left() -> list[str]:
        wrong = env.wrong([victim], allow_extra=True).get(victim.pod, [])
        return [line for line in wrong if not line.startswith(EXPECTED_DIFFERENCES)]

    try:
        wait_for(lambda: not left(), "the adoption", timeout=30, every=0.02)
    except BedError:
        return None
    return round((time.monotonic() - since) * 1000, 2)


def run(env: Environment, report: Report, seed: int) -> list[Row]:
    """Time the adoption, then delete the pod.

    The DEL has the whole container ID, and must find everything although the adopted record has
    only a part of it.
    """
    victim = _disguise_victim(env, seed)
    env.restore_agent()
    since = time.monotonic()

    repaired = _wait_adopted(env, victim, since)
    wrong, unreachable, failed = (
        env.wrong([victim], allow_extra=True),
        env.traffic([victim]),
        env.cni_check([victim]),
    )
    env.bed.kubectl("delete", "pod", victim.pod, timeout=POD_END_TIMEOUT)
    replace(env, victim)
    changed = env.changed_sentinels(2)
    report.dump(
        "adoption",
        victim=victim.pod,
        repaired_ms=repaired,
        wrong=wrong,
        check=failed,
        changed=changed,
    )
    gone = not traces(env, victim)
    done = repaired is not None and not failed and gone
    return [Outcome(repaired, done, unreachable, changed).row(NAME, "restart", seed)]


def control_run(env: Environment, _report: Report, seed: int) -> dict[str, bool]:
    """Return whether the pod stays broken without an agent."""
    victim = _disguise_victim(env, seed)
    time.sleep(CONTROL_WAIT)
    broken = victim.pod in env.wrong([victim], allow_extra=True)
    env.restore_agent()
    _wait_adopted(env, victim, time.monotonic())
    env.bed.kubectl("delete", "pod", victim.pod, timeout=POD_END_TIMEOUT)
    replace(env, victim)
    return {NAME: broken}
