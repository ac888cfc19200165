"""What foreign hands break on a running cluster, and that ovnlet mends it while traffic waits."""

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

PING_MARGIN = 0.4  # seconds of traffic before and after
BREAK_OVN0 = "ip addr flush dev ovn0 || [ $? = 255 ]; ip link set ovn0 down"


@dataclass(frozen=True, slots=True)
class Break:
    """``strike`` is done to a running pod or its node; ``whole`` sees by traffic that it is mended."""

    title: str
    apply: Callable[[], Any]
    is_repaired: Callable[[], bool]


def repair_breaks(report: Report, cluster: Cluster, pods: list[Running]) -> None:
    pod, remote = pods[1], next(each for each in pods if each.space is not pods[1].space)
    node = pod.space

    def reaches_all() -> bool:
        return all(pod.reaches(address) for address in (*remote.ips, *GATEWAYS))

    def node_reaches_pods() -> bool:
        """From the node itself, as kubelet asks."""
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
        with report.step(f"{each.title}: mended, and pods of both nodes meet again") as step:
            _break(step, each, pod, remote)
    with report.step(
        "what was mended was told as Events, and no pod was restarted or ceased to be Ready"
    ) as step:
        events = [e for e in cluster.events(pod.name) if e["reason"] == "NetworkRepaired"]
        step.check(bool(events), "no Event tells of a repair")
        step.record(*(event["message"] for event in events))
        (agent,) = deploy.agent_pods(cluster.bed, node.role)
        log = cluster.bed.kubectl("-n", deploy.NAMESPACE, "logs", agent).splitlines()
        own = [line for line in log if "repaired" in line and "ovn0" in line]
        step.check(bool(own), "the agent's log tells of no repair of ovn0")
        step.record(*own)
        for body in cluster.pods():
            (status,) = body["status"]["containerStatuses"]
            step.record(
                f"{body['metadata']['name']}: ready {status['ready']}, restarts {status['restartCount']}"
            )
            step.check(
                status["ready"] and not status["restartCount"],
                f"{body['metadata']['name']} is not as it was",
            )


def _flush(pod: Running, what: str) -> None:
    """Both families. `ip` gives up where what it deletes is put back as fast: it ends with status 255 then."""
    pod.inside("sh", "-c", f"for f in -4 -6; do ip $f {what} flush dev eth0 || [ $? = 255 ]; done")


def _break(step: Step, each: Break, pod: Running, remote: Running) -> None:
    running = pod.ping(remote.ips[0])
    time.sleep(PING_MARGIN)
    each.apply()
    began = time.monotonic()
    wait_for(each.is_repaired, each.title, timeout=30)
    step.measure("whole again, s", time.monotonic() - began)
    time.sleep(PING_MARGIN)
    sent, received = running.stop()
    step.record(f"20 ms ping to the other node meanwhile: {sent} sent, {received} received")
