"""Pods of the gateway's bed: network namespaces that the CNI plugin attaches, and who they are."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from proofs.gateway.traffic import PORT, SPEAK
from testbed.bed import Bed
from testbed.service import BedError, wait_for
from testbed.space import Space

PROJECT = Path(__file__).resolve().parents[3]
PLUGIN = PROJECT / "cni" / "plugin" / "ovnlet"
OVN = "ovn.kubernetes.io"
# By Subnet: what its prefixes differ by.
NUMBERS = {"ovn-default": 16, "policies": 17, "central": 18, "egress": 20}


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod on the first node. ``sandbox`` is a digit: which of its sandboxes this one is."""

    name: str
    subnet: str
    node: Space
    sandbox: int = 0

    @property
    def container(self) -> str:
        """The ID of its sandbox."""
        return self.name.ljust(64, str(self.sandbox))

    @property
    def netns(self) -> str:
        """The name of its network namespace; each sandbox has another one, as of containerd."""
        return f"{self.name}-{self.sandbox}" if self.sandbox else self.name

    @property
    def port(self) -> str:
        """The name of its port in Open vSwitch."""
        return f"{self.container[:12]}_h"

    @property
    def ips(self) -> dict[int, str]:
        """Its addresses by IP version."""
        number, host = NUMBERS[self.subnet], 10 + len(self.name)
        return {4: f"10.{number}.0.{host}", 6: f"fd00:10:{number}::{host}"}

    def enter(self, *words: str) -> list[str]:
        """Return the command line that, on the node, runs a program in the pod."""
        return ["ip", "netns", "exec", self.netns, *words]

    def sees(self, address: str, port: int = PORT) -> str:
        """Connect, and return the address that the other end sees; empty without a connection."""
        return speak(self.node, self.enter(), address, port)


def speak(space: Space, enter: list[str], address: str, port: int = PORT, *own: str) -> str:
    """Connect from a space, and return the address that the other end sees.

    ``own`` is the address to connect from, if one is given.
    """
    words = [*enter, "python3", "-c", SPEAK, address, str(port), *own]
    return space.result(words, timeout=20).stdout.strip()


def attach(bed: Bed, pod: Pod) -> Pod:
    """Make the pod in the API and in OVN, and attach it by the CNI plugin."""
    number, mac = NUMBERS[pod.subnet], f"0a:00:00:03:{len(pod.name):02x}:{NUMBERS[pod.subnet]:02x}"
    facts = {
        "ip_address": ",".join(pod.ips.values()),
        "cidr": f"10.{number}.0.0/16,fd00:10:{number}::/64",
        "gateway": f"10.{number}.0.1,fd00:10:{number}::1",
        "mac_address": mac,
        "logical_switch": pod.subnet,
        "allocated": "true",
        "routed": "true",
    }
    meta = {"name": pod.name, "annotations": {f"{OVN}/{key}": text for key, text in facts.items()}}
    spec = {"nodeName": "n0", "containers": [{"name": "c", "image": "x"}]}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
    made = bed.api.create("/api/v1/namespaces/default/pods", body)
    port, addresses = f"{pod.name}.default", " ".join((mac, *pod.ips.values()))
    bed.nbctl("lsp-add", pod.subnet, port, "--", "lsp-set-addresses", port, addresses)
    pod.node.run(["ip", "netns", "add", pod.netns])
    _call("ADD", pod, made["metadata"]["uid"])
    return pod


def again(bed: Bed, pod: Pod) -> Pod:
    """Return the pod in a new sandbox, as kubelet makes one after a restart of the node."""
    _call("DEL", replace(pod, node=bed.node(0)))
    fresh = replace(pod, node=bed.node(0), sandbox=pod.sandbox + 1)
    fresh.node.run(["ip", "netns", "add", fresh.netns])
    made = bed.api.get(f"/api/v1/namespaces/default/pods/{pod.name}")
    _call("ADD", fresh, made["metadata"]["uid"])
    return fresh


def detach(bed: Bed, pod: Pod) -> None:
    """Detach the pod by the CNI plugin, and remove it."""
    _call("DEL", pod)
    pod.node.run(["ip", "netns", "del", pod.netns])
    bed.nbctl("lsp-del", f"{pod.name}.default")
    bed.kubectl("delete", "pod", pod.name, "--force", "--grace-period=0")


def _call(verb: str, pod: Pod, uid: str = "") -> None:
    """Call the plugin, again after half a second where it fails, as kubelet does."""
    config = {
        "cniVersion": "1.0.0",
        "name": "ovnlet",
        "type": "ovnlet",
        "server_socket": "/run/ovnlet/cni.sock",
    }
    env = {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": pod.container,
        "CNI_NETNS": f"/run/netns/{pod.netns}",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": "/opt/cni/bin",
        "CNI_ARGS": f"K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod.name};K8S_POD_UID={uid}",
    }
    answers: list[str] = []

    def called() -> bool:
        done = pod.node.result([PLUGIN], stdin=json.dumps(config), env=env, timeout=60)
        answers.append(done.stdout + done.stderr)
        return done.returncode == 0

    try:
        wait_for(called, f"{verb} of {pod.name}", every=0.5)
    except BedError as error:
        raise BedError(f"{error}: {answers[-1]}") from error
