"""Services of the gateway's bed, and kube-proxy."""

from __future__ import annotations

from typing import Any

from proofs.gateway.cluster import Cluster, apply
from proofs.gateway.pods import Pod
from proofs.gateway.traffic import PORT
from testbed import runtime
from testbed.service import wait_for

# By name: the pod behind a Service, whether clients keep their address, and the node port of IPv4.
SERVICES = {
    "plain": ("bb", False, 30100),
    "local": ("bb", True, 30200),
    "far": ("dddd", True, 30300),
}


# By mode of kube-proxy: what shows the node ports of a family. A set is there before it is filled.
_SHOWN = {
    "iptables": {4: "iptables-save --table=nat", 6: "ip6tables-save --table=nat"},
    "ipvs": {
        4: "ipset list KUBE-NODE-PORT-LOCAL-TCP || :",
        6: "ipset list KUBE-6-NODE-PORT-LOCAL-TCP || :",
    },
}


def node_port(name: str, family: int) -> int:
    """Return the node port of a Service, one for each family."""
    return SERVICES[name][2] + family


def cluster_ip(name: str, family: int) -> str:
    """Return the address of a Service."""
    number = SERVICES[name][2] - 30000
    return f"10.96.1.{number // 10}" if family == 4 else f"fd00:10:96::{number}"


def make(cluster: Cluster, mode: str = "iptables") -> None:
    """Make the Services and start kube-proxy; without a controller, EndpointSlices by hand."""
    bodies = []
    for name, (pod, local, _) in SERVICES.items():
        for family in (4, 6):
            bodies += _service(name, cluster.pods[pod], local, family)
    apply(cluster.bed, *bodies)
    proxy = runtime.start_proxy(cluster.node, cluster.bed.control_plane, mode)
    shown = _SHOWN[mode]
    patience = cluster.node.patience
    proxy.wait_ready(
        lambda: str(node_port("far", 4)) in cluster.node.sh(shown[4]), timeout=60 * patience
    )
    wait_for(
        lambda: str(node_port("far", 6)) in cluster.node.sh(shown[6]),
        "kube-proxy's rules of IPv6",
        timeout=30 * patience,
    )
    cluster.node.sh("iptables -P FORWARD DROP; ip6tables -P FORWARD DROP")  # as Docker does


def _service(name: str, pod: Pod, local: bool, family: int) -> list[dict[str, Any]]:
    called = f"{name}{family}"
    port = {"name": "p", "port": PORT, "protocol": "TCP", "nodePort": node_port(name, family)}
    spec: dict[str, Any] = {
        "type": "NodePort",
        "clusterIP": cluster_ip(name, family),
        "ipFamilies": [f"IPv{family}"],
        "ports": [port],
        "externalTrafficPolicy": "Local" if local else "Cluster",
    }
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": called}, "spec": spec}
    slice_of = {
        "apiVersion": "discovery.k8s.io/v1beta1",
        "kind": "EndpointSlice",
        "metadata": {"name": called, "labels": {"kubernetes.io/service-name": called}},
        "addressType": f"IPv{family}",
        "ports": [{"name": "p", "port": PORT, "protocol": "TCP"}],
        "endpoints": [
            {
                "addresses": [pod.ips[family]],
                "conditions": {"ready": True},
                "topology": {"kubernetes.io/hostname": "n0"},
            }
        ],
    }
    return [service, slice_of]
