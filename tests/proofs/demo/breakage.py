"""Break a running cluster with foreign tools, and show its repair while traffic waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from proofs.demo.report import Report, Step
from proofs.demo.steps import GATEWAYS
from testbed import deploy
from testbed.service import wait_for
from testbed.workloads import Cluster, Running

PING_MARGIN = 0.4  # seconds of ping before the break and after the repair
BREAK_OVN0 = "ip addr flush dev ovn0 || [ $? = 255 ]; ip link set ovn0 down"


@dataclass(frozen=True, slots=True)
class Break:
    """One break of a running pod or its node.

    ``apply`` breaks it, ``is_repaired`` tests the repair by traffic.
    """

    title: str
    apply: Callable[[], Any]
    is_repaired: Callable[[], bool]


def repair_breaks(report: Report, cluster: Cluster, pods: list[Running]) -> None:
    """Apply all breaks, one after the other. Then verify Events, logs and that no pod restarted."""
    pod, remote = pods[1], next(each for each in pods if each.space is not pods[1].space)
    node = pod.space

    def reaches_all() -> bool:
        return all(pod.reaches(address) for address in (*remote.ips, *GATEWAYS))

    def node_reaches_pods() -> bool:
        """Ping both pods from the node itself, as kubelet asks them."""
        words = " && ".join(
            f"ping -n -q -c1 -W0.3 {address} >/dev/null" for address in (*pod.ips, *remote.ips)
        )
        return node.result(["sh", "-c", words]).returncode == 0

    breaks = [
        Break(
            "ovs-vsctl del-port of a pod",
            lambda: node.run(["ovs-vsctl", "del-port", "br-int", pod.port]),
            reaches_all,
        ),
        Break("ip route flush inside a pod", lambda: _flush(pod, "route"), reaches_all),
        Break("ip addr flush inside a pod", lambda: _flush(pod, "addr"), reaches_all),
        Break(
            "ovn0 of a node flushed and set down", lambda: node.sh(BREAK_OVN0), node_reaches_pods
        ),
    ]
    for each in breaks:
        with report.step(f"{each.title}: repaired, pods of both nodes reach each other") as step:
            _break(step, each, pod, remote)
    with report.step(
        "repairs were reported as Events; no pod was restarted or ceased to be Ready"
    ) as step:
        _verify_reports(step, cluster, pod)


def _verify_reports(step: Step, cluster: Cluster, pod: Running) -> None:
    events = [e for e in cluster.events(pod.name) if e["reason"] == "NetworkRepaired"]
    step.check(bool(events), "no Event reports a repair")
    step.record(*(event["message"] for event in events))
    (agent,) = deploy.agent_pods(cluster.bed, pod.space.role)
    log = cluster.bed.kubectl("-n", deploy.NAMESPACE, "logs", agent).splitlines()
    own = [line for line in log if "repaired" in line and "ovn0" in line]
    step.check(bool(own), "the agent's log reports no repair of ovn0")
    step.record(*own)
    for body in cluster.pods():
        (status,) = body["status"]["containerStatuses"]
        name, restarts = body["metadata"]["name"], status["restartCount"]
        step.record(f"{name}: ready {status['ready']}, restarts {restarts}")
        step.check(
            status["ready"] and not restarts,
            f"{name} is not Ready or was restarted",
        )


def _flush(pod: Running, what: str) -> None:
    """Flush both address families.

    `ip` gives up with status 255 if what it deletes is restored as fast.
    """
    pod.inside("sh", "-c", f"for f in -4 -6; do ip $f {what} flush dev eth0 || [ $? = 255 ]; done")


def _break(step: Step, each: Break, pod: Running, remote: Running) -> None:
    running = pod.ping(remote.ips[0])
    time.sleep(PING_MARGIN)
    each.apply()
    began = time.monotonic()
    wait_for(each.is_repaired, each.title, timeout=30)
    step.measure("repaired after, s", time.monotonic() - began)
    time.sleep(PING_MARGIN)
    sent, received = running.stop()
    step.record(f"20 ms ping to the other node meanwhile: {sent} sent, {received} received")
