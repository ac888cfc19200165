"""Restarts of kubelet and the agent: running pods lose no packet of a 20 ms ping, others start."""

import json
import time
from collections.abc import Callable

import pytest

from testbed import deploy
from testbed.service import wait_for
from testbed.workloads import Cluster, Running, deployment, pod

NAMESPACE = deploy.NAMESPACE


def _restart_kubelet(cluster: Cluster) -> None:
    cluster.node.restart("kubelet")


def _kill_agent(cluster: Cluster) -> None:
    """Send SIGKILL to the agent's process, after which kubelet starts the container again."""
    (pid,) = deploy.agent_processes(cluster.node)
    cluster.node.run(["kill", "-KILL", str(pid)])
    wait_for(
        lambda: deploy.agent_processes(cluster.node) not in ([], [pid]), "another agent", timeout=60
    )


def _delete_agent_pod(cluster: Cluster) -> None:
    (old,) = deploy.agent_pods(cluster.bed)
    cluster.bed.kubectl("-n", NAMESPACE, "delete", "pod", old, timeout=deploy.POD_END_TIMEOUT)


def _change_image(cluster: Cluster) -> None:
    """Roll out another reference of the same content, which the rollout takes for a change."""
    shown = cluster.bed.kubectl("-n", NAMESPACE, "get", deploy.DAEMONSET, "-o", "json")
    image = json.loads(shown)["spec"]["template"]["spec"]["containers"][0]["image"]
    other = f"{image.partition(':')[0]}:again-{time.monotonic_ns()}"
    ctr = ["ctr", "--address=/run/containerd/containerd.sock", "--namespace=k8s.io"]
    for node in cluster.bed.nodes:
        node.run([*ctr, "images", "tag", image, other])
    cluster.bed.kubectl("-n", NAMESPACE, "set", "image", deploy.DAEMONSET, f"agent={other}")
    deploy.rolled_out(cluster.bed, deploy.DAEMONSET)


@pytest.mark.parametrize(
    "restart", [_restart_kubelet, _kill_agent, _delete_agent_pod, _change_image]
)
def test_running_pods_lose_nothing_and_new_ones_start(
    cluster: Cluster, restart: Callable[[Cluster], None]
) -> None:
    cluster.apply(deployment("old", 2))
    one, two = cluster.running(2)
    pings = [one.ping(address) for address in two.ips]
    before = _state(one)
    began = time.monotonic()
    restart(cluster)
    cluster.apply(pod("new"))
    running = cluster.running(3, timeout=90)
    seconds = time.monotonic() - began
    counts = [ping.stop() for ping in pings]
    print(f"{restart.__name__}: {counts}, a new pod {seconds:.1f} s after the restart began")
    assert all(sent == received > 10 for sent, received in counts), counts
    (new,) = [each for each in running if each.name == "new"]
    assert new.reaches(one.ips[0])
    assert _state(one) == before


def _state(each: Running) -> object:
    """Return what a restart must not change: the pod's own network and its row.

    Link-local addresses are left out: the kernel makes them.
    """
    columns = "--columns=_uuid,name,external_ids,ofport"
    row = each.space.run(["ovs-vsctl", columns, "list", "Interface", each.port])
    (link,) = each.ip("address", "show", "eth0")
    addresses = [entry for entry in link.pop("addr_info") if entry["scope"] == "global"]
    return link, addresses, each.ip("route"), each.ip("-6", "route", "show", "proto", "157"), row
