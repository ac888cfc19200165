"""The steps of the demo: install, make a Subnet, then start, ping, edit and delete pods."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from proofs.demo.report import Report
from proofs.qos import measure
from proofs.qos.measure import Flow
from testbed import audit, deploy, layout, workloads
from testbed.bed import Bed
from testbed.node import Node
from testbed.service import BedError, wait_for
from testbed.workloads import OVN, PORT, Cluster, Running

SUBNET = "ovn-default"
GATEWAYS = ("10.16.0.1", "fd00:10:16::1")
PODS = "/api/v1/namespaces/default/pods?labelSelector=made-by%3Dtest"
CONTROLLER = "system:serviceaccount:ovnlet-system:ovnlet-controller"
ADDRESSES = frozenset({f"{OVN}/ip_address", f"{OVN}/mac_address"})
LIMIT = 10


def install(report: Report, bed: Bed) -> None:
    with report.step(
        "kubectl apply -k manifests/standalone: the agent, two controllers, nodes Ready"
    ) as step:
        step.record(deploy.apply(bed))
        step.record(bed.kubectl("get", "nodes,pods", "-A", "-o", "wide"))
        for node in bed.nodes:
            step.record(
                f"{node.role}: {wait_for(partial(_node_interface, node), f'{node.role}: ovn0')}"
            )


def _node_interface(node: Node) -> str:
    return node.result(["ip", "-brief", "address", "show", "dev", "ovn0"]).stdout.strip()


def make_subnet(report: Report, cluster: Cluster) -> None:
    with report.step("kubectl apply a Subnet: IPv4 and IPv6, the default one") as step:
        body = workloads.subnet(
            SUBNET, layout.PODS, default=True, excludeIps=["10.16.0.2..10.16.0.9"]
        )
        cluster.make_subnet(body)
        step.record(cluster.bed.kubectl("get", "subnets"), cluster.bed.nbctl("show"))


def first_pods(report: Report, cluster: Cluster) -> None:
    with report.step(
        "create and delete a pod on each node: what OVN and containerd set up with it stays"
    ) as step:
        cluster.apply(workloads.web("first-0", "n0"), workloads.web("first-1", "n1"))
        step.record(
            *(f"{each.name}  {'  '.join(each.ips)}" for each in cluster.ready("first-0", "first-1"))
        )
        cluster.clear()


def start(report: Report, cluster: Cluster) -> list[Running]:
    """Start two Deployments. Return their running pods, those of each node alternating."""
    with report.step(
        "kubectl apply two Deployments: addresses, then Ready by an HTTP probe from the node"
    ) as step:
        bed = cluster.bed
        cluster.apply(workloads.web_deployment("red", 2), workloads.web_deployment("blue", 2))
        began = time.monotonic()
        wait_for(
            lambda: len(_listed(cluster, _has_address)) == 4, "four pods with addresses", timeout=60
        )
        step.measure("all have addresses after kubectl apply, s", time.monotonic() - began)
        wait_for(lambda: len(_listed(cluster, _is_ready)) == 4, "four pods Ready", timeout=60)
        step.measure("all are Ready after kubectl apply, s", time.monotonic() - began)
        step.measure(
            "from binding to addresses annotated, at most, s", max(_delays(bed, cluster.pods()))
        )
        pods = sorted(
            cluster.running(4), key=lambda each: (each.name.partition("-")[0], each.space.role)
        )
        step.record(
            *(
                f"{pod.name}  on {pod.space.role}  {'  '.join(pod.ips)}  port {pod.port}"
                for pod in pods
            )
        )
        step.check(
            {pod.space.role for pod in pods} == {"n0", "n1"}, "the pods are not on two nodes"
        )
        step.check(len({ip for pod in pods for ip in pod.ips}) == 8, "two pods have one address")
    return pods


def _listed(cluster: Cluster, which: Any) -> list[Any]:
    return [pod for pod in cluster.bed.api.get(PODS)["items"] if which(pod)]


def _has_address(pod: dict[str, Any]) -> bool:
    return bool(pod["metadata"].get("annotations", {}).get(f"{OVN}/routed") == "true")


def _is_ready(pod: dict[str, Any]) -> bool:
    return any(
        each["type"] == "Ready" and each["status"] == "True"
        for each in pod["status"].get("conditions", ())
    )


def _delays(bed: Bed, pods: list[dict[str, Any]]) -> list[float]:
    """Return each pod's time from its binding to its addresses, by the API server's audit log."""
    written = [
        write for write in audit.annotated(bed, "pods") if ADDRESSES & write.annotations.keys()
    ]
    bound = dict(audit.bound(bed))
    named = {pod["metadata"]["name"] for pod in pods}
    return [write.at - bound[write.name] for write in written if write.name in named]


def reach_each_other(report: Report, cluster: Cluster, pods: list[Running]) -> None:
    with report.step(
        "pods of both nodes reach each other and the gateway, IPv4 and IPv6, and by HTTP"
    ) as step:
        before = tunnelled(cluster)
        pairs = [(one, other) for one in pods for other in pods if one is not other]
        asked = [(one, address) for one, other in pairs for address in other.ips]
        asked += [(pods[0], address) for address in GATEWAYS]
        with ThreadPoolExecutor(4) as pool:
            step.record(*pool.map(lambda each: ping(*each), asked))
        here, there = pods[0], next(pod for pod in pods if pod.space is not pods[0].space)
        for url in (
            f"http://{there.ips[0]}:{PORT}/index.html",
            f"http://[{there.ips[1]}]:{PORT}/index.html",
        ):
            got = here.inside("busybox", "wget", "-q", "-T", "5", "-O", "-", url).strip()
            step.record(f"{url}: {got}")
            step.check(got == "well", f"{url} answered {got!r}")
        crossed = tunnelled(cluster) - before
        step.measure("packets through OVN's tunnel", crossed)
        step.check(crossed > 0, "no packet went through the tunnel")


def tunnelled(cluster: Cluster) -> int:
    """Return how many packets the first node has sent through its Geneve port so far."""
    node = cluster.bed.node(0)
    name = node.vsctl("--bare", "--columns=name", "find", "Interface", "type=geneve").strip()
    shown = node.run(["ovs-ofctl", "dump-ports", "br-int", name])
    return int(shown.partition("tx pkts=")[2].partition(",")[0])


def ping(one: Running, address: str) -> str:
    """Ping an address three times, and return the summary line.

    Raise BedError if an answer is missing.

    The first packet may wait for neighbour discovery, so reach the address once before.
    """
    wait_for(lambda: one.reaches(address), f"{address} from {one.name}", timeout=15)
    text = one.inside("ping", "-n", "-c", "3", "-i", "0.1", "-W", "2", address)
    if " 3 received" not in text:
        raise BedError(f"{address} from {one.name}: {text}")
    return f"{one.name} on {one.space.role} -> {address:<34} {text.strip().splitlines()[-1]}"


def edit(report: Report, cluster: Cluster, pods: list[Running]) -> None:
    here, there = pods[0], next(pod for pod in pods if pod.space is not pods[0].space)
    with report.step("kubectl annotate a custom route: in force on the running pod") as step:
        cluster.annotate(here.name, routes=f'[{{"dst":"192.0.2.0/24","gw":"{GATEWAYS[0]}"}}]')
        began = time.monotonic()
        found = wait_for(
            lambda: [r for r in here.ip("route") if r["dst"] == "192.0.2.0/24"],
            "the route",
            timeout=10,
        )
        step.measure("in force after kubectl returned, s", time.monotonic() - began)
        step.record(str(found))
    with report.step(
        f"kubectl annotate a rate of {LIMIT} Mbit/s under a TCP flow between the nodes"
    ) as step:
        with measure.flow(there, here) as flow:
            step.measure("Mbit/s without a limit", _at_least(flow, 2 * LIMIT))
            cluster.annotate(here.name, ingress_rate=str(LIMIT))
            began = time.monotonic()
            wait_for(lambda: measure.ceiling(here) == f"{LIMIT}Mbit", "the rate", timeout=10)
            step.measure("in force after kubectl returned, s", time.monotonic() - began)
            step.measure(f"Mbit/s with a limit of {LIMIT}", _at_most(flow, 1.15 * LIMIT))
        cluster.bed.kubectl("annotate", "pod", here.name, f"{OVN}/ingress_rate-")


def _at_least(flow: Flow, least: float) -> float:
    return wait_for(
        lambda: (found := flow.rate(0, 1)) > least and found, f"{least} Mbit/s", timeout=20
    )


def _at_most(flow: Flow, most: float) -> float:
    """Wait until the flow's rate is below this.

    Packets queued before the limit pass first; no traffic at all would be no limit.
    """
    return wait_for(
        lambda: 1 < (found := flow.rate(0, 1)) < most and found, f"{most} Mbit/s", timeout=20
    )


def delete_subnet(report: Report, cluster: Cluster) -> None:
    with report.step("kubectl delete the Subnet: its logical switch goes") as step:
        cluster.bed.kubectl("delete", "subnet", SUBNET, "--timeout=30s")
        step.check(SUBNET not in cluster.bed.nbctl("ls-list"), "the switch is still there")
        step.record(cluster.bed.nbctl("show"))


def who_wrote(report: Report, bed: Bed) -> None:
    with report.step("the API server's audit log: only the controller wrote addresses") as step:
        writers = _writers(bed)
        step.record(*(f"{user}: {count} addresses" for user, count in writers.items()))
        step.check(
            writers.keys() == {CONTROLLER}, f"addresses were written by {', '.join(writers)}"
        )
        step.measure("writes of addresses, all by the controller", writers[CONTROLLER])


def _writers(bed: Bed) -> dict[str, int]:
    found: dict[str, int] = {}
    for write in audit.annotated(bed, "pods", "nodes"):
        if ADDRESSES & write.annotations.keys():
            found[write.user] = found.get(write.user, 0) + 1
    return found
