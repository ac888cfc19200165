"""Pods of two VLANs on two nodes that stand alone, whose agents move the uplinks they use.

No kubelet: the plugin is called as a runtime calls it.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from proofs.underlay.node import KINDS, NETWORK, NIC, PATHS, PROJECT, agent_words
from proofs.underlay.rows import Row, soon
from proofs.underlay.trunk import Trunk
from testbed import progress
from testbed.bed import Bed
from testbed.node import Node
from testbed.service import wait_for

PLUGIN = PROJECT / "cni" / "plugin" / "ovnlet"
OVN = "ovn.kubernetes.io"
GATEWAYS = {10: "192.0.2.254", 20: "203.0.113.254"}
OUTSIDE = "198.51.100.7"
SUBNETS: dict[str, dict[str, Any]] = {
    "ovn-default": {"cidrBlock": "10.16.0.0/16", "default": True},
    "shop": {"cidrBlock": "192.0.2.0/24", "gateway": GATEWAYS[10], "vlan": "v10"},
    "till": {"cidrBlock": "203.0.113.0/24", "gateway": GATEWAYS[20], "vlan": "v20"},
}
# Seconds: a change of the cluster, and an ADD that cannot succeed.
WITHIN, TOLD_WITHIN = 60.0, 5.0


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A pod's namespace on its node."""

    pod: str
    node: Node
    container: str
    address: str = ""

    def reaches(self, address: str) -> bool:
        """Return whether a ping is answered within a second."""
        words = ["ip", "netns", "exec", self.container, "ping", "-c1", "-W1", address]
        return self.node.result(words).returncode == 0


@dataclass(slots=True)
class Pair:
    """Two nodes, each with an agent, a controller, and the switch outside."""

    bed: Bed
    trunk: Trunk
    rows: list[Row] = field(default_factory=list)
    pods: list[Sandbox] = field(default_factory=list)

    def apply(self, kind: str, name: str, **spec: Any) -> None:
        """Create or change an object of Kube-OVN's API."""
        body = {"apiVersion": "kubeovn.io/v1", "kind": kind, "metadata": {"name": name}}
        self.bed.kubectl("apply", "--filename=-", stdin=json.dumps({**body, "spec": spec}))

    def status(self) -> dict[str, Any]:
        """Return the status of the provider network."""
        words = ("get", "provider-networks.kubeovn.io", NETWORK, "--output=json")
        found: dict[str, Any] = json.loads(self.bed.kubectl(*words)).get("status") or {}
        return found

    def start_controller(self) -> None:
        """Start the controller, in the control space."""
        words = [sys.executable, "-m", "ovnlet", "controller", "--identity=proof"]
        words += [f"--kubeconfig={self.bed.inner_kubeconfig}", "--listen=127.0.0.1:0"]
        words += ["--ovn-nb=unix:/run/ovn/ovnnb_db.sock", "--lease-seconds=3", "--cool-down=1"]
        self.trunk.space.spawn("controller", words, env={"PYTHONPATH": PATHS})

    def stop_controller(self) -> None:
        """End it at once."""
        self.trunk.space.service("controller").stop(signal.SIGKILL)

    def pod(self, name: str, node: int, subnet: str) -> Sandbox:
        """Create a pod and its namespace."""
        annotations = {f"{OVN}/logical_switch": subnet}
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

    # ---- what is tried

    def joined(self) -> None:
        """Create the network: both nodes join, and its status says so. The control: none had."""
        row = Row("two nodes join a network, by its status")
        self.rows.append(row)
        row.control_broken = self.status().get("ready") is not True
        began = time.monotonic()
        self.apply("ProviderNetwork", NETWORK, defaultInterface=NIC)
        row.ok = soon(lambda: self.status().get("readyNodes") == ["n0", "n1"], "both nodes", WITHIN)
        row.ok &= sorted(self.status().get("vlans", ())) == ["v10", "v20"]
        row.seconds = round(time.monotonic() - began, 2)

    def waits(self) -> None:
        """Exclude a node: an ADD there names the network in time; on the other one it works."""
        row = Row("a pod of an excluded node is refused and told")
        self.rows.append(row)
        self.apply("ProviderNetwork", NETWORK, defaultInterface=NIC, excludeNodes=["n1"])
        row.ok = soon(lambda: self.status().get("readyNodes") == ["n0"], "the exclusion", WITHIN)
        lonely = self.pod("lonely", 1, "shop")
        wait_for(partial(self._is_allocated, "lonely"), "annotations", WITHIN)
        began = time.monotonic()
        answer = self.add(lonely)
        row.seconds = round(time.monotonic() - began, 2)
        told = f"{answer.get('msg')} {answer.get('details')}"
        progress.say(f"    {told}")
        row.ok &= f"ProviderNetwork {NETWORK}" in told and row.seconds <= TOLD_WITHIN
        row.control_broken = self.attached("first", 0, "shop").reaches(GATEWAYS[10])
        self.apply("ProviderNetwork", NETWORK, defaultInterface=NIC)
        row.ok &= soon(lambda: self.status().get("ready") is True, "both nodes again", WITHIN)

    def _is_allocated(self, pod: str) -> bool:
        words = ("get", "pod", pod, "--output=jsonpath={.metadata.annotations}")
        return '"ovn.kubernetes.io/routed":"true"' in self.bed.kubectl(*words).replace(" ", "")

    def traffic(self) -> None:
        """Reach each other, the gateways and the outside; the wire shows the VLAN's tag."""
        for name, node, subnet in (("a10", 0, "shop"), ("b10", 1, "shop")):
            self.attached(name, node, subnet)
        for name, node, subnet in (("a20", 0, "till"), ("b20", 1, "till")):
            self.attached(name, node, subnet)
        for pod in self.pods:
            vlan = 10 if pod.address.startswith("192.0.2.") else 20
            others = [each.address for each in self.pods if each != pod]
            row = Row(f"{pod.pod} on {pod.node.role}, VLAN {vlan}: pods, gateways and outside")
            self.rows.append(row)
            began = time.monotonic()
            targets = [*others, *GATEWAYS.values(), OUTSIDE]
            missed = [each for each in targets if not soon(partial(pod.reaches, each), each, 10)]
            row.seconds = round(time.monotonic() - began, 2)
            row.ok = not missed
            seen = self._tags(pod)
            progress.say(f"    {pod.pod} {pod.address}: tags on the wire {sorted(seen)}")
            row.ok &= seen == {str(vlan)}
            row.control_broken = True  # `lost_port` shows it for all of a Subnet at once

    def _tags(self, pod: Sandbox) -> set[str]:
        """Return the tags of the frames by which a pod reaches the outside, `none` without one."""
        listening = self.trunk.listening(pod.node.role)
        assert listening.stderr is not None
        assert listening.stdout is not None
        listening.stderr.readline()  # "tcpdump: verbose output suppressed"
        listening.stderr.readline()  # "listening on"
        for _ in range(3):
            pod.reaches(OUTSIDE)
        time.sleep(0.5)
        listening.send_signal(signal.SIGINT)
        text, _ = listening.communicate(timeout=20)
        lines = [line for line in text.splitlines() if pod.address in line and OUTSIDE in line]
        tags = [re.search(r"vlan (\d+),", line) for line in lines]
        return {found[1] if found else "none" for found in tags}

    def lost_port(self) -> None:
        """Delete OVN's localnet port: repaired by the controller, and lasting without one."""
        one, other = (each for each in self.pods if each.pod in ("a10", "b10"))
        row = Row("localnet port deleted")
        self.rows.append(row)
        self.stop_controller()
        self.bed.nbctl("lsp-del", "localnet.shop")
        time.sleep(2)
        row.control_broken = not one.reaches(other.address) and not one.reaches(GATEWAYS[10])
        began = time.monotonic()
        self.start_controller()
        row.ok = soon(lambda: one.reaches(other.address), "the port again", WITHIN)
        row.ok &= soon(lambda: one.reaches(GATEWAYS[10]), "the gateway again", 10)
        row.seconds = round(time.monotonic() - began, 2)


@contextmanager
def pair(name: str) -> Iterator[Pair]:
    """Yield the bed with its kinds, Subnets, Vlans, agents and controller."""
    with Bed.up(name, nodes=2, parts={"etcd", "apiserver", "ovs", "ovn"}) as bed:
        assert bed.control is not None
        vlans = {vlan: f"{address}/24" for vlan, address in GATEWAYS.items()}
        made = Pair(bed, Trunk(bed.control, vlans, OUTSIDE))
        made.trunk.start()
        _make_cluster(made)
        made.start_controller()
        for node in bed.nodes:
            bed.control.run(["ethtool", "-K", node.role, "tx", "off"])
            node.run(["ethtool", "-K", NIC, "tx", "off"])
            agent = node.spawn("agent", agent_words(bed, node.role), env={"PYTHONPATH": PATHS})
            log = node.log("agent")
            agent.wait_ready(lambda log=log: "serving" in log.read_text(), timeout=60)  # type: ignore[misc]
        yield made


def _make_cluster(made: Pair) -> None:
    bed, manifests = made.bed, PROJECT / "manifests"
    bed.kubectl("apply", f"--filename={manifests / 'base' / 'namespace.yaml'}")
    kinds = ["subnets", "ippools", *KINDS]
    for file in ("subnet", "ippool", "provider-network", "vlan"):
        bed.kubectl("apply", f"--filename={manifests / 'standalone' / file}.yaml")
    for kind in kinds:
        asked = (f"crd/{kind}.kubeovn.io", "--timeout=30s")
        bed.kubectl("wait", "--for=condition=Established", *asked)
    for node in bed.nodes:
        meta = {"name": node.role}
        body = {"apiVersion": "v1", "kind": "Node", "metadata": meta}
        bed.kubectl("create", "--filename=-", stdin=json.dumps(body))
    for vlan in GATEWAYS:
        made.apply("Vlan", f"v{vlan}", id=vlan, provider=NETWORK)
    made.apply("ProviderNetwork", NETWORK, defaultInterface=NIC, excludeNodes=["n0", "n1"])
    for name, spec in SUBNETS.items():
        made.apply("Subnet", name, **spec)


def run(name: str) -> list[Row]:
    """Run all of it on a bed of that name, and return the rows."""
    if not Path(PLUGIN).exists():
        subprocess.run(["make", "-s", "-C", str(PLUGIN.parent)], check=True)
    with pair(name) as made:
        for what in (made.joined, made.waits, made.traffic, made.lost_port):
            what()
    return made.rows
