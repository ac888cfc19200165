"""What foreign hands break on a running cluster, and that ovnlet mends it while traffic waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from proofs.demo.scenes import GATEWAYS
from proofs.demo.story import Scene, Story
from testbed import deploy
from testbed.service import wait_for
from testbed.workloads import Cluster, Running

AROUND = 0.4  # seconds of traffic before and after
NO_NIC = "ip addr flush dev ovn0 || [ $? = 255 ]; ip link set ovn0 down"


@dataclass(frozen=True, slots=True)
class Break:
    """``strike`` is done to a running pod or its node; ``whole`` sees by traffic that it is mended."""

    title: str
    strike: Callable[[], Any]
    whole: Callable[[], bool]


def heal(story: Story, cluster: Cluster, pods: list[Running]) -> None:
    pod, far = pods[1], next(each for each in pods if each.space is not pods[1].space)
    node = pod.space

    def meets() -> bool:
        return all(pod.reaches(address) for address in (*far.ips, *GATEWAYS))

    def probed() -> bool:
        """From the node itself, as kubelet asks."""
        words = " && ".join(
            f"ping -n -q -c1 -W0.3 {address} >/dev/null" for address in (*pod.ips, *far.ips)
        )
        return node.result(["sh", "-c", words]).returncode == 0

    breaks = [
        Break(
            "ovs-vsctl del-port of a pod",
            lambda: node.run(["ovs-vsctl", "del-port", "br-int", pod.port]),
            meets,
        ),
        Break("ip route flush inside a pod", lambda: _flush(pod, "route"), meets),
        Break("ip addr flush inside a pod", lambda: _flush(pod, "addr"), meets),
        Break("ovn0 of a node flushed and set down", lambda: node.sh(NO_NIC), probed),
    ]
    for each in breaks:
        with story.scene(f"{each.title}: mended, and pods of both nodes meet again") as scene:
            _break(scene, each, pod, far)
    with story.scene(
        "what was mended was told as Events, and no pod was restarted or ceased to be Ready"
    ) as scene:
        events = [e for e in cluster.events(pod.name) if e["reason"] == "NetworkRepaired"]
        scene.check(bool(events), "no Event tells of a repair")
        scene.saw(*(event["message"] for event in events))
        (agent,) = deploy.agent_pods(cluster.bed, node.role)
        log = cluster.bed.kubectl("-n", deploy.NAMESPACE, "logs", agent).splitlines()
        own = [line for line in log if "repaired" in line and "ovn0" in line]
        scene.check(bool(own), "the agent's log tells of no repair of ovn0")
        scene.saw(*own)
        for body in cluster.pods():
            (status,) = body["status"]["containerStatuses"]
            scene.saw(
                f"{body['metadata']['name']}: ready {status['ready']}, restarts {status['restartCount']}"
            )
            scene.check(
                status["ready"] and not status["restartCount"],
                f"{body['metadata']['name']} is not as it was",
            )


def _flush(pod: Running, what: str) -> None:
    """Both families. `ip` gives up where what it deletes is put back as fast: it ends with status 255 then."""
    pod.inside("sh", "-c", f"for f in -4 -6; do ip $f {what} flush dev eth0 || [ $? = 255 ]; done")


def _break(scene: Scene, each: Break, pod: Running, far: Running) -> None:
    running = pod.ping(far.ips[0])
    time.sleep(AROUND)
    each.strike()
    began = time.monotonic()
    wait_for(each.whole, each.title, timeout=30)
    scene.measure("whole again, s", time.monotonic() - began)
    time.sleep(AROUND)
    sent, received = running.stop()
    scene.saw(f"20 ms ping to the other node meanwhile: {sent} sent, {received} received")
