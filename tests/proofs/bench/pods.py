"""The pods to attach: API objects, logical ports and namespaces, all made before anything is
measured.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from testbed.api import Api
from testbed.bed import Bed

NAMESPACE, SWITCH, NODE = "bench", "ovn-default", "n0"
GATEWAY, LENGTH = "10.16.0.1", 16
FIRST = IPv4Address("10.16.1.0")


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod with one IPv4 address. Its logical switch port has the name that Kube-OVN gives it."""

    number: int
    uid: str = ""

    @property
    def name(self) -> str:
        return f"pod-{self.number}"

    @property
    def ip(self) -> str:
        return str(FIRST + self.number)

    @property
    def address(self) -> str:
        return f"{self.ip}/{LENGTH}"

    @property
    def mac(self) -> str:
        return f"0a:00:00:00:{self.number >> 8:02x}:{self.number & 255:02x}"

    @property
    def netns(self) -> str:
        return f"/run/netns/{self.name}"

    @property
    def iface_id(self) -> str:
        return f"{self.name}.{NAMESPACE}"

    def manifest(self) -> dict[str, Any]:
        """Return the pod's API object, bound to the node and with all annotations."""
        facts = {
            "ip_address": self.ip,
            "mac_address": self.mac,
            "cidr": "10.16.0.0/16",
            "gateway": GATEWAY,
            "logical_switch": SWITCH,
            "allocated": "true",
            "routed": "true",
        }
        annotations = {f"ovn.kubernetes.io/{key}": value for key, value in facts.items()}
        return {
            "metadata": {"name": self.name, "namespace": NAMESPACE, "annotations": annotations},
            "spec": {"nodeName": NODE, "containers": [{"name": "main", "image": "none"}]},
        }


def create(bed: Bed, count: int) -> list[Pod]:
    """Create `count` pods bound to the node, where no kubelet touches them. Return them."""
    bed.nbctl(*_logical([Pod(number) for number in range(count)]))
    lines = [f"netns add pod-{number}" for number in range(count)]
    bed.node().run(["ip", "-batch", "-"], stdin="\n".join(lines), timeout=120)
    api = Api(bed.api_url, bed.ids.ca, bed.token)
    api.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    path = f"/api/v1/namespaces/{NAMESPACE}/pods"
    with ThreadPoolExecutor(4) as pool:
        made = pool.map(lambda number: api.create(path, Pod(number).manifest()), range(count))
        return [Pod(number, each["metadata"]["uid"]) for number, each in enumerate(made)]


def _logical(pods: list[Pod]) -> list[str]:
    words = ["ls-add", SWITCH]
    for pod in pods:
        words += [
            "--",
            "lsp-add",
            SWITCH,
            pod.iface_id,
            "--",
            "lsp-set-addresses",
            pod.iface_id,
            f"{pod.mac} {pod.ip}",
        ]
    return words
