"""A stand-in for the controller of a Kube-OVN cluster.

It makes a port for every pod and node, then writes its annotations, `routed` last.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from itertools import count

from testbed import identities, layout
from testbed.api import Api, Object

SWITCH, ROUTER, DOMAIN = "ovn-default", "ovn-cluster", "ovn.kubernetes.io"
NETWORK = f"""
--may-exist ls-add {SWITCH} -- --may-exist lr-add {ROUTER}
-- --may-exist lrp-add {ROUTER} {ROUTER}-{SWITCH} 0a:00:00:00:00:01 10.16.0.1/16 fd00:10:16::1/64
-- --may-exist lsp-add {SWITCH} {SWITCH}-{ROUTER} -- lsp-set-type {SWITCH}-{ROUTER} router
-- lsp-set-addresses {SWITCH}-{ROUTER} router
-- lsp-set-options {SWITCH}-{ROUTER} router-port={ROUTER}-{SWITCH}
"""
JOIN, JOIN_ADDRESSES = "join", "100.64.0.1/16 fd00:100:64::1/64"
NETWORK += f"""
-- --may-exist ls-add {JOIN}
-- --may-exist lrp-add {ROUTER} {ROUTER}-{JOIN} 0a:00:00:00:00:02 {JOIN_ADDRESSES}
-- --may-exist lsp-add {JOIN} {JOIN}-{ROUTER} -- lsp-set-type {JOIN}-{ROUTER} router
-- lsp-set-addresses {JOIN}-{ROUTER} router
-- lsp-set-options {JOIN}-{ROUTER} router-port={ROUTER}-{JOIN}
"""
JOIN_NETWORK = {
    "cidr": "100.64.0.0/16,fd00:100:64::/64",
    "gateway": "100.64.0.1,fd00:100:64::1",
    "logical_switch": JOIN,
}
FIRST = IPv4Address("10.16.0.0")
SUBNET = {"cidr": layout.PODS, "gateway": "10.16.0.1,fd00:10:16::1", "logical_switch": SWITCH}


@dataclass
class Assigner:
    """The state of the assignment.

    `serve` runs for ever; a test may call `add` and `remove` itself. With `early`, a pod's logical
    port goes as soon as the pod has a deletionTimestamp, as with Kube-OVN's controller; otherwise
    it goes with the pod.
    """

    api: Api
    nbctl: Callable[..., object]
    numbers: Iterator[int] = field(default_factory=lambda: count(2))
    taken: set[str] = field(default_factory=set)
    known: dict[str, Object] = field(default_factory=dict)  # pods by UID
    early: bool = True
    leaving: set[str] = field(default_factory=set)

    def serve(self) -> None:
        """Create OVN's network, then follow Nodes and pods; never return."""
        self.nbctl(*NETWORK.split())
        threading.Thread(
            target=self._follow, args=("/api/v1/nodes", self._see_node), daemon=True
        ).start()
        self._follow("/api/v1/pods", self._see)

    def _follow(self, path: str, see: Callable[[str, Object], None]) -> None:
        while True:
            with suppress(OSError):  # the API server cannot be reached
                for kind, thing in self.api.watch(path):
                    see(kind, thing)
            time.sleep(0.2)

    def add_node(self, node: Object) -> None:
        """Create the port of a node's own interface and its routes, then write the annotations.

        What leaves the cluster leaves it through the first node. A pod reaches a node's own
        addresses through that node.
        """
        name = node["metadata"]["name"]
        number = 2 + int(name.strip("n"))
        port, mac = f"node-{name}", f"0a:00:00:02:00:{number:02x}"
        via = [f"100.64.0.{number}", f"fd00:100:64::{number:x}"]
        made = f"--may-exist lsp-add {JOIN} {port} -- lsp-set-addresses {port}".split()
        self.nbctl(*made, f"{mac} {' '.join(via)}")
        self.nbctl("--may-exist", "lr-route-add", ROUTER, "0.0.0.0/0", "100.64.0.2")
        self.nbctl("--may-exist", "lr-route-add", ROUTER, "::/0", "fd00:100:64::2")
        for each in node["status"].get("addresses", []):
            if each["type"] == "InternalIP":
                family = 6 if ":" in each["address"] else 4
                rule = f"ip{family}.dst == {each['address']}"
                self.nbctl(
                    "--may-exist",
                    "lr-policy-add",
                    ROUTER,
                    "30000",
                    rule,
                    "reroute",
                    via[family == 6],
                )
        facts = JOIN_NETWORK | {
            "ip_address": ",".join(via),
            "mac_address": mac,
            "port_name": port,
            "allocated": "true",
        }
        body = {
            "metadata": {"annotations": {f"{DOMAIN}/{key}": value for key, value in facts.items()}}
        }
        self.api.patch(f"/api/v1/nodes/{name}", body)

    def _see_node(self, kind: str, node: Object) -> None:
        """Add a Node unless its annotations are complete: tests change them."""
        annotated = f"{DOMAIN}/ip_address" in node["metadata"].get("annotations", {})
        if kind in ("ADDED", "MODIFIED") and node["status"].get("addresses") and not annotated:
            with suppress(OSError):  # the API server cannot be reached, or the Node is deleted
                self.add_node(node)

    def add(self, pod: Object) -> None:
        """Create the pod's port, then write its annotations."""
        for provider in _providers(pod):
            self._allocate(pod, provider)

    def _allocate(self, pod: Object, provider: str) -> None:
        """Create the port of a pod in one network, then write its annotations."""
        meta, domain = pod["metadata"], f"{provider}.kubernetes.io"
        port, (mac, addresses) = (
            _port(pod, provider),
            self._choose(meta.get("annotations", {}), domain),
        )
        all_of_it = f"{mac} {addresses.replace(',', ' ')}".strip()
        made = ["--may-exist", "lsp-add", SWITCH, port, "--", "lsp-set-addresses", port, all_of_it]
        self.nbctl(*made, "--", "lsp-set-port-security", port, all_of_it)
        facts = {"mac_address": mac, "pod_nic_type": "veth-pair", "allocated": "true"}
        if addresses:
            facts |= SUBNET | {"ip_address": addresses}
        if asked := meta.get("annotations", {}).get(f"{domain}/logical_switch"):
            facts["logical_switch"] = asked
        for part in (facts, {"routed": "true"}):
            patch = {
                "uid": meta["uid"],
                "annotations": {f"{domain}/{key}": value for key, value in part.items()},
            }
            self.api.patch(
                f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}", {"metadata": patch}
            )

    def remove(self, pod: Object) -> None:
        """Delete the pod's port."""
        self.known.pop(pod["metadata"]["uid"], None)
        self.leaving.discard(pod["metadata"]["uid"])
        self._delete_port(pod)

    def _delete_port(self, pod: Object) -> None:
        """Delete the pod's ports, except what another pod of its virtual machine has too."""
        kept = {
            _port(other, each) for other in [*self.known.values()] for each in _providers(other)
        }
        for provider in _providers(pod):
            if (port := _port(pod, provider)) not in kept:
                self.nbctl("--if-exists", "lsp-del", port)

    def _leave(self, pod: Object) -> None:
        """Delete the port of a pod that is being deleted, once, and give it no other one."""
        uid = pod["metadata"]["uid"]
        if uid not in self.leaving:
            self.leaving.add(uid)
            self.known.pop(uid, None)
            self._delete_port(pod)

    def _choose(self, annotations: dict[str, str], domain: str = DOMAIN) -> tuple[str, str]:
        """Return the MAC and addresses of the annotations, or else of the next free number.

        An annotation without text asks for no address, as of a Subnet without a prefix.
        """
        number = next(number for number in self.numbers if str(FIRST + number) not in self.taken)
        addresses = annotations.get(
            f"{domain}/ip_address", f"{FIRST + number},fd00:10:16::{number:x}"
        )
        return annotations.get(
            f"{domain}/mac_address", f"0a:00:00:01:{number >> 8:02x}:{number & 255:02x}"
        ), addresses

    def _see(self, kind: str, pod: Object) -> None:
        if kind == "BOOKMARK":  # the list's end: other known pods were deleted between two watches
            there = {item["metadata"]["uid"] for item in pod["items"]}
            for gone in [known for uid, known in self.known.items() if uid not in there]:
                self.remove(gone)
        elif kind == "DELETED":
            self.remove(pod)
        elif self.early and "deletionTimestamp" in pod["metadata"]:
            self._leave(pod)
        elif kind in ("ADDED", "MODIFIED") and not pod["spec"].get("hostNetwork"):
            annotations, uid = pod["metadata"].get("annotations", {}), pod["metadata"]["uid"]
            self.taken |= set(annotations.get(f"{DOMAIN}/ip_address", "").split(","))
            if self.known.setdefault(uid, pod) is pod:
                threading.Thread(target=self._add_if_there, args=[pod]).start()

    def _add_if_there(self, pod: Object) -> None:
        with suppress(OSError):  # deleted meanwhile
            if pod["metadata"]["uid"] in self.known:
                self.add(pod)


def _providers(pod: Object) -> list[str]:
    """Return `ovn` and the providers of the networks that a pod lists, each with its interface."""
    text = pod["metadata"].get("annotations", {}).get("k8s.v1.cni.cncf.io/networks", "[]")
    namespace = pod["metadata"]["namespace"]
    listed = json.loads(text)
    return ["ovn", *(f"{each['name']}.{namespace}.ovn.{each['interface']}" for each in listed)]


def _port(pod: Object, provider: str) -> str:
    """Return the name of a pod's port in one network: by its virtual machine, if it has one."""
    meta = pod["metadata"]
    machine = meta.get("annotations", {}).get(f"{provider}.kubernetes.io/virtualmachine")
    first = f"{machine or meta['name']}.{meta['namespace']}"
    return first if provider == "ovn" else f"{first}.{provider}"


# python -m testbed.assign BED, in the control space, which has the northbound database
if __name__ == "__main__":
    ids = identities.Identities(layout.directory(sys.argv[1]) / "ids")
    server = Api(
        f"https://{layout.CONTROL_IP}:{layout.API_PORT}", ids.ca, ids.token(identities.ADMIN)
    )
    Assigner(server, lambda *words: subprocess.run(["ovn-nbctl", *words], check=True)).serve()
