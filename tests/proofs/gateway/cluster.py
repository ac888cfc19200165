"""A bed with a gateway: OVN, an API server and kube-proxy, two nodes, an agent on the first.

Kube-OVN's controller is played by `testbed.assign`, and by hand for more Subnets. Pods are network
namespaces that the CNI plugin attaches. What is outside of the cluster is the control space.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from proofs.gateway.pods import NUMBERS, PLUGIN, PROJECT, Pod, attach
from proofs.gateway.traffic import LISTEN, PORT, SNIFF
from testbed import layout
from testbed.assign import NETWORK, ROUTER, Assigner
from testbed.bed import Bed
from testbed.node import Node
from testbed.service import Service
from testbed.space import Space

KINDS = ("etcd", "apiserver", "ovs", "ovn")
# Outside: the addresses of a server that is translated for, that is exempt by the setting, that a
# policy forwards, and that only the egress gateway leads to.
OUTSIDE = {4: layout.CONTROL_IP, 6: layout.CONTROL_IP6}
EXEMPT = {4: "172.30.0.2", 6: "fd00:172:30::2"}
FORWARDED = {4: "172.30.0.3", 6: "fd00:172:30::3"}
FAR = {4: "198.51.100.1", 6: "2001:db8:51::1"}
DESIGNATED = {4: "172.30.0.99", 6: "fd00:172:30::99"}
JOIN_IP = {4: "100.64.0.2", 6: "fd00:100:64::2"}
POLICIES = [
    {"match": {"dstIPs": f"{FORWARDED[4]},{FORWARDED[6]}"}, "action": "forward"},
    {"match": {"dstIPs": "0.0.0.0/0,::/0"}, "action": "nat"},
]
SUBNETS: dict[str, dict[str, Any]] = {
    "ovn-default": {"natOutgoing": True},
    "policies": {"natOutgoing": True, "natOutgoingPolicyRules": POLICIES},
    "central": {
        "natOutgoing": True,
        "gatewayType": "centralized",
        "enableEcmp": True,
        "gatewayNode": f"n0:{DESIGNATED[4]},n0:{DESIGNATED[6]}",
    },
    "egress": {
        "externalEgressGateway": f"{OUTSIDE[4]},{OUTSIDE[6]}",
        "policyRoutingTableID": 1001,
        "policyRoutingPriority": 3000,
    },
}
PODS = {
    "a": "ovn-default",
    "bb": "ovn-default",
    "ccc": "policies",
    "dddd": "central",
    "eeeee": "egress",
}
FLAGS = (
    "--chassis=observe",
    "--resync=3600",
    "--http=127.0.0.1:9441",
    f"--no-snat={EXEMPT[4]}/32,{EXEMPT[6]}/128",
)


@dataclass(slots=True)
class Cluster:
    """The bed, its pods by Subnet, and the agent."""

    bed: Bed
    pods: dict[str, Pod] = field(default_factory=dict)
    agent: Service | None = None
    flags: tuple[str, ...] = ()

    @property
    def node(self) -> Node:
        """The first node."""
        return self.bed.node(0)

    @property
    def outside(self) -> Space:
        """What is outside of the cluster."""
        return self.bed.control_plane.space

    def launch(self) -> Service:
        """Start the agent."""
        paths = ":".join(str(PROJECT / each) for each in ("operator", "cni"))
        words = [sys.executable, "-m", "ovnlet", "agent", "--node-name=n0"]
        words += [f"--kubeconfig={self.bed.inner_kubeconfig}", *FLAGS, *self.flags]
        self.agent = self.node.spawn("agent", words, env={"PYTHONPATH": paths})
        return self.agent

    def start(self) -> None:
        """Start the agent, and return once it serves and the table is there."""
        table = ["nft", "list", "table", "inet", "ovnlet"]
        self.launch().wait_ready(
            lambda: "nat4" in self.node.result(table).stdout and self.agent_serves(),
            timeout=60 * self.node.patience,
        )

    def agent_serves(self) -> bool:
        """Return whether the agent's start-up is over."""
        url = "http://127.0.0.1:9441/readyz"
        return self.node.result(["busybox", "wget", "-q", "-O", "-", url]).returncode == 0

    def kill(self) -> None:
        """End the agent at once."""
        if self.agent is not None:
            self.agent.stop()
            self.agent = None

    def sniff(self, send: list[str]) -> str:
        """Run a program on the node; return the source of what arrives outside, or nothing."""
        wire = self.outside.popen(["python3", "-c", SNIFF, "underlay"])
        assert wire.stdout is not None
        wire.stdout.readline()
        self.node.run(send)
        seen = wire.stdout.read().strip()
        wire.wait(10)
        return str(seen)

    def metric(self, name: str, *labels: str) -> float:
        """Return the value of one of the agent's metrics whose labels contain these texts."""
        url = "http://127.0.0.1:9441/metrics"
        text = self.node.result(["busybox", "wget", "-q", "-O", "-", url]).stdout
        lines = [line for line in text.splitlines() if line.startswith(f"{name}{{")]
        found = [line for line in lines if all(label in line for label in labels)]
        return float(found[0].rpartition(" ")[2]) if found else -1.0


@contextmanager
def gateway(pods: Mapping[str, str] = PODS) -> Iterator[Cluster]:
    """Bring up the bed with servers, and pods by the names of their Subnets."""
    subprocess.run(["make", "-s", "-C", PLUGIN.parent], check=True)
    with Bed.up(f"gateway-{os.getpid()}", nodes=2, parts=KINDS) as bed, ExitStack() as stack:
        cluster = Cluster(bed)
        prepare(bed)
        _outside(cluster.outside)
        cluster.node.sh(
            f"ip address add {DESIGNATED[4]}/24 dev eth0; "
            f"ip address add {DESIGNATED[6]}/64 dev eth0 nodad valid_lft forever preferred_lft 0; "
            f"ip route add unreachable {FAR[4]}/32; ip -6 route add unreachable {FAR[6]}/128"
        )
        cluster.start()
        for name, subnet in pods.items():
            cluster.pods[name] = attach(bed, Pod(name, subnet, cluster.node))
        spaces = [(cluster.outside, list[str]())]
        spaces += [
            (cluster.node, cluster.pods[name].enter()) for name in ("bb", "dddd") if name in pods
        ]
        for space, enter in spaces:
            for family in ("4", "6"):
                words = [*enter, "python3", "-c", LISTEN, family, str(PORT)]
                process = space.popen(words)
                stack.callback(process.kill)
                assert process.stdout is not None
                process.stdout.readline()
        try:
            yield cluster
        finally:
            cluster.kill()


def prepare(bed: Bed) -> None:
    """Make the logical network, the Nodes with their addresses, and the Subnets."""
    _network(bed)
    _nodes(bed)
    bed.kubectl("apply", "-f", str(PROJECT / "manifests" / "standalone" / "subnet.yaml"))
    bed.kubectl("wait", "--for=condition=Established", "crd/subnets.kubeovn.io", "--timeout=30s")
    apply(bed, *(_subnet(name) for name in SUBNETS))


def _network(bed: Bed) -> None:
    bed.nbctl(*NETWORK.split())
    for name, number in NUMBERS.items():
        if name == "ovn-default":
            continue
        mac = f"0a:00:00:00:01:{number:02x}"
        bed.nbctl(
            *f"ls-add {name} -- lrp-add {ROUTER} {ROUTER}-{name} {mac} 10.{number}.0.1/16"
            f" fd00:10:{number}::1/64 -- lsp-add {name} {name}-{ROUTER}"
            f" -- lsp-set-type {name}-{ROUTER} router -- lsp-set-addresses {name}-{ROUTER} router"
            f" -- lsp-set-options {name}-{ROUTER} router-port={ROUTER}-{name}".split()
        )


def _nodes(bed: Bed) -> None:
    """Make both Nodes with their addresses; only the first one has an agent."""
    for node in bed.nodes:
        apply(bed, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node.role}})
        addresses = [{"type": "InternalIP", "address": each} for each in (node.ip, node.ip6)]
        bed.api.patch(f"/api/v1/nodes/{node.role}/status", {"status": {"addresses": addresses}})
        Assigner(bed.api, bed.nbctl).add_node(bed.api.get(f"/api/v1/nodes/{node.role}"))


def apply(bed: Bed, *bodies: dict[str, Any]) -> None:
    """Apply objects."""
    listed = {"apiVersion": "v1", "kind": "List", "items": list(bodies)}
    bed.kubectl("apply", "-f", "-", stdin=json.dumps(listed))


def _subnet(name: str) -> dict[str, Any]:
    number = NUMBERS[name]
    spec = {"cidrBlock": f"10.{number}.0.0/16,fd00:10:{number}::/64", **SUBNETS[name]}
    if name == "ovn-default":
        spec["default"] = True
    return {
        "apiVersion": "kubeovn.io/v1",
        "kind": "Subnet",
        "metadata": {"name": name},
        "spec": spec,
    }


def _outside(space: Space) -> None:
    """Give the outside more addresses, and routes back to pods whose address stays."""
    lines = [f"ip address add {each[4]}/24 dev underlay" for each in (EXEMPT, FORWARDED)]
    lines += [f"ip address add {each[6]}/64 dev underlay nodad" for each in (EXEMPT, FORWARDED)]
    lines += [f"ip address add {FAR[4]}/32 dev lo", f"ip address add {FAR[6]}/128 dev lo"]
    lines += [f"ip route add 10.16.0.0/12 via {layout.node_ip(0)}"]
    lines += [f"ip -6 route add fd00:10::/32 via {layout.node_ip6(0)}"]
    space.sh("; ".join(lines))
