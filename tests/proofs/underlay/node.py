"""A bed with one node, whose agent reaches the API server over the uplink that it moves."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from testbed import layout
from testbed.bed import Bed
from testbed.node import Node
from testbed.service import Service, wait_for
from testbed.space import Space

PROJECT = Path(__file__).resolve().parents[3]
PATHS = ":".join(str(PROJECT / each) for each in ("operator", "cni", "tests"))
NIC, BRIDGE, NETWORK = "eth0", "br-net1", "net1"
# Seconds: the setting, between two packets of the node's own ping, and for an agent's start, on a
# machine that has much else to do.
TIMEOUT, INTERVAL, READY_WITHIN = 6.0, 0.02, 120.0
KINDS = {"provider-networks": "ProviderNetwork", "vlans": "Vlan"}
# On the node's disk: it outlasts a reboot.
STATE = "/var/lib/ovnlet"
_SENT = re.compile(r"(\d+) packets transmitted, (\d+) received")


def record(node: Node) -> dict[str, Any]:
    """Return the record of a node's move; empty without one."""
    found = node.result(["cat", f"{STATE}/uplinks/{NETWORK}.json"]).stdout
    return dict(json.loads(found)) if found else {}


def of_link(node: Node, link: str) -> list[str]:
    """Return a link's addresses and routes of all tables, with `LINK` in place of its name."""
    script = (
        f"ip -o address show dev {link} scope global | sed 's/^[0-9]*: //; s/ *valid_lft.*//'\n"
        f"ip -4 route show table all dev {link} type unicast\n"
        f"ip -6 route show table all dev {link} type unicast | grep -v fe80 || :\n"
        f"ip rule show | grep ' iif {link} ' || :\n"
    )
    shown = node.result(["sh", "-c", script]).stdout
    lines = (re.sub(r"\s+", " ", line).strip() for line in shown.splitlines())
    return sorted(re.sub(rf"\b{link}\b", "LINK", line) for line in lines if line)


def agent_words(bed: Bed, node: str, module: str = "ovnlet", timeout: float = TIMEOUT) -> list[str]:
    """Return the command line of an agent that moves uplinks."""
    words = [sys.executable, "-m", module, "agent", f"--node-name={node}", "--resync=3600"]
    words += [f"--kubeconfig={bed.inner_kubeconfig}", "--chassis=observe", "--underlay=manage"]
    return [*words, f"--state-dir={STATE}", f"--underlay-timeout={timeout:g}"]


@dataclass(slots=True)
class Uplinked:
    """The bed, and the agent on its node."""

    bed: Bed
    agent: Service | None = None

    @property
    def node(self) -> Node:
        """The one node."""
        return self.bed.node(0)

    @property
    def outside(self) -> Space:
        """The router and the API server, in the control space."""
        return self.bed.control_plane.space

    def spawn(
        self, steps: int | None = None, *, timeout: float = TIMEOUT, stops: bool = False
    ) -> Service:
        """Start the agent, and return at once.

        With ``steps`` it is killed after so many; with ``stops`` it is stopped once, when the NIC
        has joined the bridge.
        """
        module = "kit.killed" if stops or steps is not None else "ovnlet"
        words = [*agent_words(self.bed, "n0", module, timeout), "--http=127.0.0.1:9441"]
        env = {"PYTHONPATH": PATHS, "OVNLET_STEPS": str(steps or 0)}
        env |= {"OVNLET_STOPS": "1"} if stops else {}
        self.agent = self.node.spawn("agent", words, env=env)
        return self.agent

    def start(self, *, timeout: float = TIMEOUT, stops: bool = False) -> None:
        """Start the agent, and return once its start-up is over."""
        ready = ["busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:9441/readyz"]
        agent = self.spawn(timeout=timeout, stops=stops)
        agent.wait_ready(lambda: self.node.result(ready).returncode == 0, timeout=READY_WITHIN)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Wait until the agent is stopped amid a move, and let it go on after the body."""
        assert self.agent is not None
        status = Path(f"/proc/{self.agent.pid}/status")
        wait_for(lambda: "State:\tT" in status.read_text(), "a stopped agent", READY_WITHIN)
        try:
            yield
        finally:
            self.agent.send(signal.SIGCONT)

    def configure(self) -> None:
        """Give the NIC what the host's configuration gives it at each boot, beside addresses."""
        for space, link in ((self.outside, self.node.role), (self.node, NIC)):
            space.run(["ethtool", "-K", link, "tx", "off"])
        self.node.sh(
            f"ip route add 10.99.0.0/16 via {layout.CONTROL_IP} dev {NIC} table 100 metric 5;"
            f"ip rule add iif {NIC} lookup 100 priority 50"
        )

    def reboot(self) -> None:
        """Cut the node's power and start it again, without an agent."""
        self.bed.reboot(0)
        self.configure()

    def kill(self) -> None:
        """End the agent at once."""
        if self.agent is not None:
            self.agent.stop(signal.SIGKILL)
            self.agent = None

    def put(self, version: int = 0) -> None:
        """Create the network, or edit it to another version."""
        spec = {"defaultInterface": NIC, "excludeNodes": [f"none-{version}"]}
        self._apply("ProviderNetwork", NETWORK, spec)

    def remove(self) -> None:
        """Delete the network."""
        self.bed.kubectl("delete", "provider-networks.kubeovn.io", NETWORK, "--ignore-not-found")

    def make_cluster(self) -> None:
        """Create the kinds, the Node and a Vlan."""
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n0"}}
        every = [node, *(_kind(plural, one) for plural, one in KINDS.items())]
        body = {"apiVersion": "v1", "kind": "List", "items": every}
        self.bed.kubectl("create", "-f", "-", stdin=json.dumps(body))
        for plural in KINDS:
            wait_for(partial(self._is_established, plural), plural)
        self._apply("Vlan", "v10", {"id": 10, "provider": NETWORK})

    def _is_established(self, plural: str) -> bool:
        asked = ["get", "crd", f"{plural}.kubeovn.io"]
        asked.append("--output=jsonpath={.status.conditions[*].type}")
        return "Established" in self.bed.kubectl(*asked)

    def _apply(self, kind: str, name: str, spec: dict[str, Any]) -> None:
        body = {"apiVersion": "kubeovn.io/v1", "kind": kind, "metadata": {"name": name}}
        self.bed.kubectl("apply", "--filename=-", stdin=json.dumps({**body, "spec": spec}))

    def record(self) -> dict[str, Any]:
        """Return the agent's record of the move; empty without one."""
        return record(self.node)

    def is_settled(self) -> bool:
        """Return whether the record says that the move was proved."""
        return self.record().get("phase") == "settled"

    def is_held(self) -> bool:
        """Return whether it went back, and waits for another edit of the object."""
        found = self.record()
        return found.get("phase") == "held" and not found["again"]

    def told(self) -> str:
        """Return why the network is not on the node, by the Node's annotation."""
        words = ("get", "node", "n0", "--output=jsonpath={.metadata.annotations}")
        return self.bed.kubectl(*words)

    def events(self, reason: str) -> set[tuple[str, str]]:
        """Return the Events of a reason: the kinds of their objects, and their messages."""
        words = ("get", "events", "--all-namespaces", "--output=json")
        found = json.loads(self.bed.kubectl(*words))["items"]
        mine = [each for each in found if each["reason"] == reason]
        return {(each["involvedObject"]["kind"], str(each["message"])) for each in mine}

    def reaches(self, address: str) -> bool:
        """Return whether the node gets an answer to a ping within a second."""
        return self.node.result(["ping", "-c1", "-W1", address]).returncode == 0

    def vsctl(self, *words: str) -> str:
        """Return what ovs-vsctl prints; nothing where it fails."""
        return self.node.result(["ovs-vsctl", "--timeout=5", *words]).stdout.strip()

    def state(self) -> dict[str, Any]:
        """Return all that a move changes, as iproute2 and ovs-vsctl show it."""
        has_bridge = BRIDGE in self.vsctl("list-br").split()
        listed = self.vsctl("get", "Open_vSwitch", ".", "external_ids:ovn-bridge-mappings")
        flags = self.node.result(["ip", "-o", "link"]).stdout
        up = re.findall(rf"({NIC}|{BRIDGE})[@:].*<.*\bUP\b", flags)
        return {
            "nic": of_link(self.node, NIC),
            "bridge": of_link(self.node, BRIDGE) if has_bridge else None,
            "ports": self.vsctl("list-ports", BRIDGE) if has_bridge else "",
            "port": self.vsctl("get", "Port", NIC, "trunks", "tag"),
            "mapped": [each for each in listed.strip('"').split(",") if NETWORK in each],
            "up": sorted(up),
        }

    @contextmanager
    def pinging(self) -> Iterator[dict[str, int]]:
        """Ping the router from the node; at the end the dict has the number of `lost` packets."""
        words = ["ping", "-n", "-q", "-i", str(INTERVAL), layout.CONTROL_IP]
        counted: dict[str, int] = {}
        ping = self.node.popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            yield counted
        finally:
            ping.send_signal(signal.SIGINT)
            output = ping.communicate(timeout=20)[0]
            text = output.decode() if isinstance(output, bytes) else str(output)
            sent = _SENT.search(text)
            counted["lost"] = int(sent[1]) - int(sent[2]) if sent else -1


@contextmanager
def uplinked(name: str) -> Iterator[Uplinked]:
    """Yield the bed of that name, with an agent, a second routing table and a rule on the NIC."""
    with Bed.up(name, parts={"etcd", "apiserver", "ovs", "ovn"}) as bed:
        made = Uplinked(bed)
        made.configure()
        made.make_cluster()
        made.start()
        try:
            yield made
        finally:
            made.kill()


def _kind(plural: str, name: str) -> dict[str, Any]:
    names = {"kind": name, "plural": plural, "singular": name.lower()}
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True}
    version |= {"subresources": {"status": {}}, "schema": {"openAPIV3Schema": schema}}
    spec = {"group": "kubeovn.io", "scope": "Cluster", "names": names, "versions": [version]}
    group = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    return {**group, "metadata": {"name": f"{plural}.kubeovn.io"}, "spec": spec}
