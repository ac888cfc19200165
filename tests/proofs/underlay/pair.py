"""A bed of two nodes that stand alone, whose agents move the uplinks they use.

No kubelet: the plugin is called as a runtime calls it.
"""

from __future__ import annotations

import json
import signal
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from proofs.underlay.node import NETWORK, NIC, PATHS, PROJECT, STATE, agent_words, of_link, record
from proofs.underlay.trunk import Trunk
from testbed import progress
from testbed.bed import Bed
from testbed.node import Node
from testbed.service import wait_for

PLUGIN = PROJECT / "cni" / "plugin" / "ovnlet"
OVN = "ovn.kubernetes.io"
LEASE = "ovnlet-system/ovnlet-underlay"
GATEWAYS = {10: "192.0.2.254", 20: "203.0.113.254"}
OUTSIDE = "198.51.100.7"
SUBNETS: dict[str, dict[str, Any]] = {
    "ovn-default": {"cidrBlock": "10.16.0.0/16", "default": True},
    "shop": {"cidrBlock": "192.0.2.0/24", "gateway": GATEWAYS[10], "vlan": "v10"},
    "till": {"cidrBlock": "203.0.113.0/24", "gateway": GATEWAYS[20], "vlan": "v20"},
}


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A pod's namespace on its node."""

    pod: str
    node: Node
    container: str
    address: str = ""

    @property
    def vlan(self) -> int:
        """The VLAN of its address."""
        return 10 if self.address.startswith("192.0.2.") else 20

    def reaches(self, address: str) -> bool:
        """Return whether a ping is answered within a second."""
        words = ["ip", "netns", "exec", self.container, "ping", "-c1", "-W1", address]
        return self.node.result(words).returncode == 0


@dataclass(slots=True)
class Pair:
    """Two nodes, each with an agent, a controller, and the switch outside."""

    bed: Bed
    trunk: Trunk
    pods: list[Sandbox] = field(default_factory=list)
    before: list[tuple[list[str], str]] = field(default_factory=list)

    def apply(self, kind: str, name: str, **spec: Any) -> None:
        """Create or change an object of Kube-OVN's API."""
        body = {"apiVersion": "kubeovn.io/v1", "kind": kind, "metadata": {"name": name}}
        self.bed.kubectl("apply", "--filename=-", stdin=json.dumps({**body, "spec": spec}))

    def status(self) -> dict[str, Any]:
        """Return the status of the provider network."""
        words = ("get", "provider-networks.kubeovn.io", NETWORK, "--output=json")
        found: dict[str, Any] = json.loads(self.bed.kubectl(*words)).get("status") or {}
        return found

    def moving(self) -> list[str]:
        """Return the nodes whose move is under way, by their agents' records."""
        return [node.role for node in self.bed.nodes if record(node).get("phase") == "moving"]

    def turns(self) -> tuple[int, str]:
        """Return how often the Lease of the moves has changed its holder, and who has it."""
        namespace, _, name = LEASE.partition("/")
        words = ("--namespace", namespace, "get", "lease", name, "--output=json")
        spec = json.loads(self.bed.kubectl(*words))["spec"]
        return int(spec["leaseTransitions"]), str(spec.get("holderIdentity") or "")

    def start_controller(self) -> None:
        """Start the controller, in the control space."""
        words = [sys.executable, "-m", "ovnlet", "controller", "--identity=proof"]
        words += [f"--kubeconfig={self.bed.inner_kubeconfig}", "--listen=127.0.0.1:0"]
        words += ["--ovn-nb=unix:/run/ovn/ovnnb_db.sock", "--lease-seconds=3", "--cool-down=1"]
        self.trunk.space.spawn("controller", words, env={"PYTHONPATH": PATHS})

    def stop_controller(self) -> None:
        """End it at once."""
        self.trunk.space.service("controller").stop(signal.SIGKILL)

    def start_agent(self, index: int, *flags: str) -> None:
        """Start the agent of a node, and wait until it serves. One that runs is ended at once."""
        node = self.bed.node(index)
        log = node.log("agent")
        if log.exists():
            node.service("agent").stop(signal.SIGKILL)
        said = log.stat().st_size if log.exists() else 0
        words = [*agent_words(self.bed, node.role), f"--underlay-lease={LEASE}", *flags]
        agent = node.spawn("agent", words, env={"PYTHONPATH": PATHS})
        agent.wait_ready(lambda: b"serving" in log.read_bytes()[said:], timeout=60)

    def uninstall(self, index: int) -> str:
        """End the agent of a node, remove all of ovnlet from it, and return what was said."""
        node = self.bed.node(index)
        node.service("agent").stop(signal.SIGKILL)
        words = [sys.executable, "-m", "ovnlet", "uninstall", "--cut-off"]
        words += [f"--node-name={node.role}", f"--kubeconfig={self.bed.inner_kubeconfig}"]
        done = node.result([*words, f"--state-dir={STATE}"], env={"PYTHONPATH": PATHS})
        return f"{done.stdout}{done.stderr}"

    def pod(self, name: str, node: int, subnet: str, address: str = "") -> Sandbox:
        """Create a pod, with this address or any, and its namespace."""
        annotations = {f"{OVN}/logical_switch": subnet}
        annotations |= {f"{OVN}/ip_address": address} if address else {}
        spec = {"nodeName": f"n{node}", "containers": [{"name": "c", "image": "x"}]}
        meta = {"name": name, "annotations": annotations}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
        self.bed.kubectl("create", "--filename=-", stdin=json.dumps(body))
        made = Sandbox(name, self.bed.node(node), f"{uuid.uuid4().hex}{uuid.uuid4().hex}")
        made.node.run(["ip", "netns", "add", made.container])
        return made

    def add(self, sandbox: Sandbox) -> dict[str, Any]:
        """Call the plugin, and return its answer: a result, or an error with `code`."""
        words = ("get", "pod", sandbox.pod, "--output=jsonpath={.metadata.uid}")
        uid = self.bed.kubectl(*words)
        names = f"K8S_POD_NAMESPACE=default;K8S_POD_NAME={sandbox.pod};K8S_POD_UID={uid}"
        env = {
            "CNI_COMMAND": "ADD",
            "CNI_CONTAINERID": sandbox.container,
            "CNI_NETNS": f"/run/netns/{sandbox.container}",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": "/opt/cni/bin",
            "CNI_ARGS": f"IgnoreUnknown=1;{names}",
        }
        config = {"cniVersion": "1.0.0", "name": "ovnlet", "type": "ovnlet"}
        config |= {"server_socket": "/run/ovnlet/cni.sock"}
        done = sandbox.node.result([PLUGIN], stdin=json.dumps(config), env=env, timeout=150)
        answer: dict[str, Any] = json.loads(done.stdout or "{}")
        return answer

    def attached(self, name: str, node: int, subnet: str) -> Sandbox:
        """Create a pod and attach it."""
        made = self.pod(name, node, subnet)
        answer = self.add(made)
        if "ips" not in answer:
            raise SystemExit(f"{name} is not attached: {answer}")
        address = str(answer["ips"][0]["address"]).partition("/")[0]
        self.pods.append(Sandbox(made.pod, made.node, made.container, address))
        return self.pods[-1]

    def inventory(self) -> list[tuple[list[str], str]]:
        """Return what each NIC has, and the bridges of each node."""
        listed = [node.run(["ovs-vsctl", "list-br"]) for node in self.bed.nodes]
        return [
            (of_link(node, NIC), text) for node, text in zip(self.bed.nodes, listed, strict=True)
        ]

    def explain(self) -> None:
        """Print what the nodes and the programs have to say."""
        for node in self.bed.nodes:
            progress.say(node.result(["ovs-vsctl", "show"]).stdout)
            progress.say("\n".join(node.log("agent").read_text().splitlines()[-25:]))
        progress.say(self.bed.nbctl("show"))
        log = self.trunk.space.log("controller")
        progress.say("\n".join(log.read_text().splitlines()[-25:]))


@contextmanager
def pair(name: str) -> Iterator[Pair]:
    """Yield the bed with its kinds, Subnets, Vlans, agents and controller."""
    with Bed.up(name, nodes=2, parts={"etcd", "apiserver", "ovs", "ovn"}) as bed:
        assert bed.control is not None
        vlans = {vlan: f"{address}/24" for vlan, address in GATEWAYS.items()}
        made = Pair(bed, Trunk(bed.control, vlans, OUTSIDE))
        made.before = made.inventory()
        made.trunk.start()
        _make_cluster(made)
        made.start_controller()
        for node in bed.nodes:
            bed.control.run(["ethtool", "-K", node.role, "tx", "off"])
            node.run(["ethtool", "-K", NIC, "tx", "off"])
            made.start_agent(bed.nodes.index(node))
        yield made


def _make_cluster(made: Pair) -> None:
    bed, manifests = made.bed, PROJECT / "manifests"
    wait_for(lambda: "default" in bed.kubectl("get", "namespaces"), "namespace default")
    bed.kubectl("apply", f"--filename={manifests / 'base' / 'namespace.yaml'}")
    for file in ("subnet", "ippool", "provider-network", "vlan"):
        bed.kubectl("apply", f"--filename={manifests / 'standalone' / file}.yaml")
        asked = (f"crd/{file}s.kubeovn.io", "--timeout=30s")
        bed.kubectl("wait", "--for=condition=Established", *asked)
    for node in bed.nodes:
        body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node.role}}
        bed.kubectl("create", "--filename=-", stdin=json.dumps(body))
    for vlan in GATEWAYS:
        made.apply("Vlan", f"v{vlan}", id=vlan, provider=NETWORK)
    made.apply("ProviderNetwork", NETWORK, defaultInterface=NIC, excludeNodes=["n0", "n1"])
    for name, spec in SUBNETS.items():
        made.apply("Subnet", name, **spec)
