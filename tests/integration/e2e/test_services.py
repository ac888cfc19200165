"""Services by traffic, on two nodes that stand alone: who answers, and whom the server sees."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from integration.e2e import sctp
from integration.e2e.service_traffic import (
    COUNT,
    PORT,
    Answers,
    answered,
    ask,
    ask_api,
    asking_on,
    endpoint_slice,
    service,
)
from integration.e2e.service_web import EXTERNAL, INGRESS, SUBNET, Web
from testbed import audit, deploy, layout
from testbed.service import wait_for
from testbed.workloads import Cluster, Running

pytestmark = pytest.mark.review2


def await_errors(client: Running, address: str, error: str, kind: str) -> None:
    """Wait until three requests end with this error."""
    wait_for(
        lambda: (
            ask(client, address, kind=kind, count=3, timeout=0.5).errors == {f"error {error}": 3}
        ),
        f"{address}: {error}",
        timeout=20,
    )


def own(client: Running, address: str) -> dict[str, int]:
    """Return what a server sees that answers all requests of a pod and sees the pod itself."""
    return {client.ips[":" in address]: COUNT}


def test_a_pod_reaches_a_cluster_ip_e1(web: Web) -> None:
    """E1: from a pod to endpoints on its node, on the other node, and on both."""
    for name, servers in (("near", {"near"}), ("far", {"far"}), ("both", {"near", "far"})):
        for address in web.addresses(name):
            for kind in ("tcp", "udp"):
                seen = web.ask(f"pod -> ClusterIP, {name}", web.client, address, kind=kind)
                assert (seen.failed, set(seen.servers)) == (0, servers)
                assert seen.sources == own(web.client, address)


def test_a_pod_reaches_itself_by_its_service_e1(web: Web) -> None:
    """E1: the pod sees the Service's address as the source, so that its answer is translated."""
    for address in web.addresses("near"):
        for kind in ("tcp", "udp"):
            seen = web.ask("pod -> ClusterIP, itself", web.pods["near"], address, kind=kind)
            assert (seen.failed, seen.servers, seen.sources) == (
                0,
                {"near": COUNT},
                {address: COUNT},
            )


def test_a_pod_reaches_the_api_server_e1(web: Web) -> None:
    """E1: its endpoint is outside of the cluster's network, and sees the address of the node."""
    bed = web.cluster.bed
    for name in ("client", "far"):
        pod = web.pods[name]
        node = bed.node(int(pod.space.role[1:]))
        path = f"/version?asked-by={name}"
        first = partial(ask_api, pod, bed.ids.ca, layout.API_SERVICE_IP, "/version", 1)
        wait_for(lambda: not first().failed, "the API server", timeout=20)  # noqa: B023 - at once
        seen = ask_api(pod, bed.ids.ca, layout.API_SERVICE_IP, path)
        web.note(f"pod on {node.role} -> API server", layout.API_SERVICE_IP, "tcp", seen)
        assert (seen.failed, seen.sources) == (0, {"200": COUNT})
        assert audit.sources(bed, path) == {node.ip: COUNT}


def test_endpoints_on_the_host_network_answer_e1(web: Web) -> None:
    """E1: on the client's node and on the other one; they see the pod itself."""
    for address in web.addresses("hosts"):
        for kind in ("tcp", "udp"):
            seen = web.ask("pod -> ClusterIP, host network", web.client, address, kind=kind)
            assert (seen.failed, set(seen.servers)) == (0, {"n0", "n1"})
            assert seen.sources == own(web.client, address)


def test_a_node_reaches_a_cluster_ip_by_kube_proxy(web: Web) -> None:
    for name in ("near", "far"):
        for address in web.addresses(name):
            seen = web.ask(f"node -> ClusterIP, {name}", web.cluster.node, address)
            assert (seen.failed, seen.servers) == (0, {name: COUNT})


def test_a_pod_reaches_node_ports(web: Web) -> None:
    """They are kube-proxy's, on each node.

    If the Service keeps the source address, they are also OVN's: without it no answer comes.
    """
    for name in ("both", "local"):
        port = web.node_port(name)
        for node in web.cluster.bed.nodes:
            case = f"pod -> NodePort of {node.role}, {name}"
            seen = web.ask(case, web.client, node.ip, port=port)
            assert not seen.failed
            if name == "local":
                assert seen.sources == own(web.client, node.ip)


def test_a_pod_reaches_external_addresses(web: Web) -> None:
    bed = web.cluster.bed
    ingress = json.dumps({"status": {"loadBalancer": {"ingress": [{"ip": INGRESS}]}}})
    bed.kubectl("patch", "service", "outer", "--subresource=status", "--type=merge", "-p", ingress)
    for what, address, name in (("externalIP", EXTERNAL, "near"), ("ingress", INGRESS, "far")):
        seen = web.ask(f"pod -> {what}, {name}", web.client, address)
        assert (seen.failed, seen.servers) == (0, {name: COUNT})


def test_without_endpoints_a_connection_is_refused_at_once(web: Web) -> None:
    for address in web.addresses("none"):
        for kind in ("tcp", "udp"):
            await_errors(web.client, address, "ConnectionRefusedError", kind)
            seen = ask(web.client, address, kind=kind)
            print(f"pod -> ClusterIP without endpoints {kind:<4} {address:<24} {seen}")
            assert seen.errors == {"error ConnectionRefusedError": COUNT}
            assert seen.slowest < 0.5


def test_a_client_that_keeps_its_udp_port_follows_the_endpoints(web: Web) -> None:
    """The endpoint that is gone from the Service still runs: without a flush it would go on.

    ovn-controller flushes and changes its flows in turn. What a client sends between the two, or
    before the datapath has dropped its cached flows, renews the entry of the endpoint that is gone.
    So the client asks at a resolver's rate, and several changes are tried.
    """
    web.cluster.apply(service("moving", ipFamilyPolicy="SingleStack"))
    web.cluster.apply(endpoint_slice("moving", "moving", [web.pods["near"].ips[0]]))
    (address,) = web.addresses("moving")
    answered(web.client, address, kind="udp")
    followed: list[float | None] = []
    with asking_on(web.client, address, every=0.5) as latest:
        wait_for(lambda: latest() == "near", "the first endpoint", timeout=10)
        for name in ("far", "near") * 5:
            followed.append(_follows(web, name, latest))
    print(f"one UDP socket followed its Service's endpoint after s: {followed}")
    assert any(followed)


def _follows(web: Web, name: str, latest: Callable[[], str]) -> float | None:
    """Make a pod the only endpoint; return the seconds until it answers, None after five."""
    web.cluster.apply(endpoint_slice("moving", "moving", [web.pods[name].ips[0]]))
    began, was = time.monotonic(), latest()
    while latest() != name:
        if time.monotonic() - began > 5:
            return None
        time.sleep(0.02)
    return round(time.monotonic() - began, 2) if was != name else None


def test_session_affinity_keeps_a_client_at_one_server(web: Web) -> None:
    for address in web.addresses("sticky"):
        seen = web.ask("pod -> ClusterIP, session affinity", web.client, address)
        assert (seen.failed, len(seen.servers)) == (0, 1)
        other = ask(web.client, web.addresses("both")[":" in address])
        assert len(other.servers) == 2, "without affinity both answer"


def test_sctp_is_translated_both_ways(web: Web) -> None:
    for address in web.addresses("sctp"):
        with sctp.serving(web.pods["far"], PORT):
            first = wait_for(
                partial(_first_association, web.client, address), f"{address}: SCTP", timeout=20
            )
            assert first.servers == {"far": 1}
            seen = web.note(
                "pod -> ClusterIP, far", address, "sctp", sctp.ask(web.client, address, PORT)
            )
        assert (seen.failed, seen.servers) == (0, {"far": COUNT})
        assert seen.sources == own(web.client, address)


def _first_association(client: Running, address: str) -> Answers | None:
    seen = sctp.ask(client, address, PORT, count=1)
    return None if seen.failed else seen


def test_a_headless_service_has_no_load_balancer(web: Web) -> None:
    listed = web.cluster.bed.nbctl("--bare", "--columns=name", "list", "Load_Balancer").split()
    assert "ovnlet/default/both/tcp" in listed
    assert not [name for name in listed if "headless" in name]


@contextmanager
def without_controller(cluster: Cluster) -> Iterator[None]:
    """Stop the controller's replicas, and start them again afterwards."""
    scale = ("-n", deploy.NAMESPACE, "scale", deploy.CONTROLLER)
    cluster.bed.kubectl(*scale, "--replicas=0")
    wait_for(
        lambda: not any(map(deploy.controller_processes, cluster.bed.nodes)),
        "the controller's end",
        timeout=60,
    )
    try:
        yield
    finally:
        cluster.bed.kubectl(*scale, "--replicas=2")


def test_without_our_load_balancers_no_server_sees_the_pod(web: Web) -> None:
    """The control: the switch does not translate. kube-proxy does, and an answer finds its way back
    only where the node hides the pod's address (scope `gateway`).

    Then the controller writes the rows again.
    """
    bed, addresses = web.cluster.bed, web.addresses("far")
    with without_controller(web.cluster):
        bed.nbctl("clear", "Logical_Switch", SUBNET, "load_balancer_group")
        for address in addresses:
            wait_for(lambda: not _sees_pod(web.client, address), f"{address}: no pod", timeout=20)  # noqa: B023
            seen = ask(web.client, address, count=10, timeout=0.5)
            print(f"{'control: without our load balancers':<44} tcp  {address:<24} {seen}")
            assert web.client.ips[":" in address] not in seen.sources
    for address in addresses:
        wait_for(lambda: _sees_pod(web.client, address), f"{address}: the pod", timeout=20)  # noqa: B023
        assert not ask(web.client, address).failed


def _sees_pod(client: Running, address: str) -> bool:
    """Return whether a server behind a Service's address sees the pod's own address."""
    return client.ips[":" in address] in ask(client, address, count=3, timeout=0.5).sources
