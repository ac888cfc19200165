"""Pods that kubelet starts through ovnlet: late annotations, deletions, static pods, live edits."""

import json
import statistics
import time
from contextlib import closing
from http.client import HTTPConnection
from socket import AF_UNIX, socket
from typing import Any

from testbed import audit
from testbed.bed import Bed
from testbed.service import wait_for
from testbed.workloads import OVN, SANDBOXES, Cluster, Running, deployment, pod, subnet

AGENT = "system:serviceaccount:ovnlet-system:ovnlet"
SLACK = 1.0  # seconds; the aim is 50 ms, but the machine does other work as well


def test_pods_of_two_deployments_reach_each_other_by_both_families(cluster: Cluster) -> None:
    cluster.apply(deployment("one", 2), deployment("two", 2))
    pods = cluster.running(4)
    assert len({address for each in pods for address in each.ips}) == 8
    for here in pods:
        shown = [
            address["local"]
            for link in here.ip("address", "show", "eth0")
            for address in link["addr_info"]
        ]
        assert set(here.ips) <= set(shown)
        for there in pods:
            assert all(here.reaches(address) for address in there.ips), (here.name, there.name)


def test_an_add_ends_with_the_annotations_that_come_late(cluster: Cluster) -> None:
    """Measure from the API server's time of `routed` to OVN's time of the port's installation.

    The agent makes neither of these stamps.
    """
    delays = {"late-0": 0.1, "late-1": 5, "late-2": 25}
    cluster.apply(*(_of(name, f"{name}-{number}") for name in delays for number in range(3)))
    wait_for(lambda: len(waiting(cluster)) == 9, "nine ADDs that wait", timeout=60)
    began = time.monotonic()
    for number, (name, delay) in enumerate(delays.items()):
        time.sleep(max(0.0, began + delay - time.monotonic()))
        cluster.make_subnet(subnet(name, f"10.20.{number}.0/24,fd00:10:20:{number}::/64"))
    pods = cluster.running(9, timeout=90)
    lateness = {each.name: _installed(each) - _routed(cluster.bed, each.name) for each in pods}
    for name, delay in delays.items():
        mine = [
            seconds for pod_name, seconds in lateness.items() if pod_name.startswith(f"{name}-")
        ]
        print(
            f"annotated after {delay:>3} s: "
            f"ADD in force {statistics.median(mine) * 1000:.0f} ms later (median)"
        )
    assert all(0 < seconds < SLACK for seconds in lateness.values()), lateness
    cluster.clear()
    cluster.bed.kubectl("delete", "subnet", *delays, "--timeout=30s")


def waiting(cluster: Cluster) -> list[str]:
    """Return the pods whose ADD waits, as the agent of the node says: it has no record yet."""
    with closing(HTTPConnection("agent")) as connection:
        connection.sock = socket(AF_UNIX)
        connection.sock.connect(str(cluster.node.path("/run/ovnlet/cni.sock")))
        connection.request("GET", "/v1/attachments")
        shown = json.load(connection.getresponse())
    return [each["pod"] for each in shown if each["state"].startswith("waiting")]


def _of(switch: str, name: str) -> dict[str, Any]:
    """Return a pod that asks for a subnet."""
    return pod(name, **{f"{OVN}/logical_switch": switch})


def _routed(bed: Bed, name: str) -> float:
    """Return when the API server received the patch with `routed`."""
    writes = audit.annotated(bed, "pods")
    return max(
        write.at for write in writes if write.name == name and f"{OVN}/routed" in write.annotations
    )


def _installed(each: Running) -> float:
    text = each.space.run(
        ["ovs-vsctl", "get", "Interface", each.port, "external_ids:ovn-installed-ts"]
    )
    return int(text.strip().strip('"')) / 1000


def test_a_pod_deleted_while_its_add_waits_is_answered(cluster: Cluster) -> None:
    cluster.apply(_of("nowhere", "deleted"))
    wait_for(lambda: waiting(cluster), "an ADD that waits", timeout=30)
    cluster.bed.kubectl("delete", "pod", "deleted", "--force", "--grace-period=0")
    began = time.monotonic()
    wait_for(lambda: not waiting(cluster), "the ADD's answer", timeout=10)
    seconds = time.monotonic() - began
    print(f"answered {seconds * 1000:.0f} ms after the deletion")
    assert seconds < 3


def test_a_custom_route_is_edited_live_and_a_bad_one_gets_an_event(cluster: Cluster) -> None:
    cluster.apply(pod("routed"))
    (routed,) = cluster.running(1)

    def route() -> list[dict[str, Any]]:
        return [r for r in routed.ip("route", "show") if r["dst"] == "192.0.2.0/24"]

    assert not route()
    cluster.annotate("routed", routes='[{"dst":"192.0.2.0/24","gw":"10.16.0.1"}]')
    began = time.monotonic()
    assert wait_for(route, "the route", timeout=5)[0]["gateway"] == "10.16.0.1"
    print(f"in force {1000 * (time.monotonic() - began):.0f} ms after kubectl returned")
    cluster.annotate("routed", routes='[{"dst":"192.0.2.0/24","gw":"172.16.0.1"}]')

    def warning() -> list[dict[str, Any]]:
        return [
            event for event in cluster.events("routed") if event["reason"] == "InvalidAnnotation"
        ]

    (event,) = wait_for(warning, "the Event", timeout=5)
    assert f"{OVN}/routes" in event["message"]
    assert "172.16.0.1" in event["message"]
    assert "a gateway inside 10.16.0.0/16" in event["message"]
    assert route()[0]["gateway"] == "10.16.0.1"
    cluster.bed.kubectl("annotate", "pod", "routed", f"{OVN}/routes-")
    wait_for(lambda: not route(), "the route's removal", timeout=5)


def test_an_edited_address_gets_an_event_and_is_not_applied(cluster: Cluster) -> None:
    cluster.apply(pod("steady"))
    (steady,) = cluster.running(1)
    ping = steady.ping("10.16.0.1")
    cluster.annotate("steady", ip_address="10.16.77.77,fd00:10:16::7777")

    def reported() -> bool:
        return any(
            "takes effect in a new pod" in event["message"] for event in cluster.events("steady")
        )

    wait_for(reported, "the Event", timeout=5)
    sent, received = ping.stop()
    assert sent == received
    shown = [
        address["local"]
        for link in steady.ip("address", "show", "eth0")
        for address in link["addr_info"]
    ]
    assert set(steady.ips) <= set(shown)


def test_a_deleted_port_comes_back(cluster: Cluster) -> None:
    cluster.apply(pod("broken"))
    (broken,) = cluster.running(1)
    cluster.node.run(["ovs-vsctl", "del-port", "br-int", broken.port])
    began = time.monotonic()
    wait_for(lambda: broken.reaches("10.16.0.1"), "the repair", timeout=10)
    print(f"traffic {1000 * (time.monotonic() - began):.0f} ms after ovs-vsctl returned")

    def repairs() -> list[dict[str, Any]]:
        return [event for event in cluster.events("broken") if event["reason"] == "NetworkRepaired"]

    assert broken.port in wait_for(repairs, "the Event", timeout=5)[0]["message"]


def test_deleted_pods_leave_nothing(cluster: Cluster) -> None:
    look = (
        "ip -br link | awk '{print $1}' | sort; "
        f"ovs-vsctl --columns=name,external_ids list Interface; ls {SANDBOXES}"
    )
    before = cluster.node.sh(look)
    cluster.apply(deployment("gone", 3))
    cluster.running(3)
    assert cluster.node.sh(look) != before
    cluster.clear()
    assert cluster.node.sh(look) == before


def test_a_static_pod_gets_its_network(cluster: Cluster) -> None:
    manifest = "/etc/kubernetes/manifests/fixed.json"
    body = json.dumps(pod("fixed"))
    cluster.node.run(["tee", manifest], stdin=body)
    try:
        (fixed,) = cluster.running(1)
        assert fixed.name == "fixed-n0"
        assert "kubernetes.io/config.mirror" in fixed.body["metadata"]["annotations"]
        assert fixed.reaches("10.16.0.1")
        assert fixed.reaches("fd00:10:16::1")
        # If a static pod is removed before kubelet 1.20 has reported it, kubelet starts it again.
        wait_for(lambda: _is_ready(cluster.pods()[0]), "kubelet's status", timeout=30)
    finally:
        cluster.node.run(["rm", manifest])


def _is_ready(body: dict[str, Any]) -> bool:
    return any(
        c["type"] == "Ready" and c["status"] == "True" for c in body["status"].get("conditions", [])
    )


def test_the_agent_wrote_nothing_to_any_pod(bed: Bed) -> None:
    """By the audit log it writes only Events and its Node's condition, and is refused nothing."""
    ours: set[tuple[str, str, int]] = set()
    for line in bed.audit_log.read_text().splitlines():
        event = json.loads(line)
        if (
            event["user"]["username"] == "system:serviceaccount:ovnlet-system:ovnlet"
            and event["stage"] != "RequestReceived"
        ):
            reference = event.get("objectRef", {})
            code = event.get("responseStatus", {}).get("code", 0)
            what = reference.get("resource", event["requestURI"])
            ours.add(
                (
                    event["verb"],
                    "/".join(filter(None, (what, reference.get("subresource")))),
                    code // 100,
                )
            )
    # `ovnlet doctor` in the agent's pod asks for its rights, which writes nothing.
    questions = {("create", "selfsubjectaccessreviews")}
    writes = {
        (verb, what) for verb, what, _ in ours if verb not in ("get", "list", "watch")
    } - questions
    assert writes <= {("create", "events"), ("patch", "events"), ("patch", "nodes/status")}
    assert not [
        entry
        for entry in ours
        if entry[2] == 4 and entry[1] in ("pods", "events", "nodes", "nodes/status")
    ], ours
