"""Two nodes that stand alone: a StatefulSet's pod that moves, and a leader that is killed."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from integration.e2e.assignment import given, pinned
from testbed import deploy
from testbed.bed import Bed
from testbed.service import wait_for
from testbed.workloads import OVN, Cluster, Running, pod, stateful_set, web_deployment

TAKEOVER_TIMEOUT = 20.0
AWAY = "ovnlet-away"
STAYS_AWAY = {
    "spec": {
        "updateStrategy": {"type": "OnDelete", "rollingUpdate": None},
        "template": {
            "spec": {
                "affinity": {
                    "nodeAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": {
                            "nodeSelectorTerms": [
                                {"matchExpressions": [{"key": AWAY, "operator": "DoesNotExist"}]}
                            ]
                        }
                    }
                }
            }
        },
    }
}

pytestmark = pytest.mark.long


def test_a_pod_of_a_stateful_set_moves_while_its_old_nodes_agent_is_down(two: Cluster) -> None:
    bed = two.bed
    bed.kubectl("cordon", "n0")
    two.apply(stateful_set("db", 1))
    (old,) = two.running(1)
    two.apply(pod("peer"))
    bed.kubectl("uncordon", "n0")
    peer = next(each for each in two.running(2) if each.name == "peer")
    assert (old.space.role, peer.space.role) == ("n1", "n1")
    with _without_agent(bed, "n1"):
        bed.kubectl("cordon", "n1")
        bed.kubectl("delete", "pod", "db-0", "--force", "--grace-period=0")
        began = time.monotonic()
        new = wait_for(partial(_moved, two, old), "the pod on its new node", timeout=60, every=0.2)
        assert (new.ips, new.mac) == (old.ips, old.mac), "it keeps its address"
        for address in new.ips:
            wait_for(partial(peer.reaches, address), f"{address} at its new place", timeout=20)
        print(
            f"reached at its new node {time.monotonic() - began:.1f} s "
            "after it was deleted at the old one"
        )
        assert "iface-id=db-0.default" in bed.node(1).sh(
            "ovs-vsctl --bare --columns=external_ids list Interface"
        )
        ping = peer.ping(new.ips[0])
        places = {_chassis(bed, "db-0.default") for _ in range(30)}
        bed.kubectl("uncordon", "n1")
    wait_for(
        lambda: (
            "iface-id=db-0.default"
            not in bed.node(1).sh("ovs-vsctl --bare --columns=external_ids list Interface")
        ),
        "the old port's end",
        timeout=90,
        every=0.2,
    )
    places |= {_chassis(bed, "db-0.default") for _ in range(10)}
    sent, received = ping.stop()
    print(f"20 ms ping while the old node's agent came back: {sent} sent, {received} received")
    assert places == {bed.node(0).name}, "another chassis claimed the port"
    assert sent == received


def _moved(cluster: Cluster, old: Running) -> Running | None:
    pods = [body for body in cluster.pods() if body["metadata"]["name"] == old.name]
    if not pods or pods[0]["metadata"]["uid"] == old.body["metadata"]["uid"]:
        return None
    if pods[0]["status"]["phase"] != "Running":
        return None
    return next(each for each in cluster.running(2) if each.name == old.name)


def _chassis(bed: Bed, port: str) -> str:
    row = bed.sbctl(
        "--bare", "--columns=chassis", "find", "Port_Binding", f"logical_port={port}"
    ).strip()
    return bed.sbctl("--bare", "--columns=name", "list", "Chassis", row).strip() if row else ""


@contextmanager
def _without_agent(bed: Bed, node: str) -> Iterator[None]:
    bed.kubectl(
        "-n",
        deploy.NAMESPACE,
        "patch",
        deploy.DAEMONSET,
        "--type=merge",
        "-p",
        json.dumps(STAYS_AWAY),
    )
    bed.kubectl("label", "node", node, f"{AWAY}=yes")
    deploy.dismissed(bed, node)
    yield
    bed.kubectl("label", "node", node, f"{AWAY}-")
    wait_for(lambda: deploy.agent_pods(bed, node), f"{node}'s agent", timeout=60, every=0.1)


def test_a_leader_killed_in_the_middle_is_followed_by_another(two: Cluster) -> None:
    bed = two.bed
    leader = _leader(bed)
    body = json.loads(bed.kubectl("-n", deploy.NAMESPACE, "get", "pod", leader, "-o", "json"))
    node = bed.space(body["spec"]["nodeName"])
    two.apply(web_deployment("many", 10))
    node.run(["kill", "-KILL", *map(str, deploy.controller_processes(node))])
    began = time.monotonic()
    bed.kubectl(
        "-n",
        deploy.NAMESPACE,
        "delete",
        "pod",
        leader,
        "--wait=false",
        "--force",
        "--grace-period=0",
    )
    two.apply(web_deployment("more", 6))
    annotated = [f"{OVN}/routed" in each["metadata"].get("annotations", {}) for each in two.pods()]
    routed = sum(annotated)
    wait_for(lambda: _leader(bed) not in ("", leader), "another leader", timeout=60)
    seconds = time.monotonic() - began
    pods = two.running(16, timeout=120)
    print(
        f"killed with {routed} of 16 annotated; another led {seconds:.1f} s later, "
        f"all ran after {time.monotonic() - began:.1f} s"
    )
    assert routed <= 10, "a pod was annotated without a leader"
    assert seconds < TAKEOVER_TIMEOUT
    assert len({ip for each in pods for ip in each.ips}) == 32
    assert given(pods).items() <= pinned(bed).items()
    mine = {name for name in pinned(bed) if name.startswith(("many-", "more-"))}
    assert mine == given(pods).keys(), "a port has no pod"


def _leader(bed: Bed) -> str:
    words = ("get", "lease", "ovnlet-controller", "--output=jsonpath={.spec.holderIdentity}")
    return bed.kubectl("-n", deploy.NAMESPACE, *words)
