"""A node with a stock kernel and the kernel's datapath, with an agent and pods but no kubelet.

etcd, the API server and OVN's databases run on the machine, because an emulated processor is ten
to twenty times slower. The virtual machine has Open vSwitch, ovn-controller and the agent, which
runs from this checkout. Sandboxes are made by the exec agent, which calls the installed plugin as a
runtime does.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from proofs.drift.environment import SENTINEL_POD, Environment
from proofs.drift.exec_client import ExecClient
from proofs.drift.faults import OTHER_BRIDGE
from proofs.drift.observe import Target
from proofs.drift.pods import pod_body
from proofs.kernel import gateway
from testbed import guest, guest_boot, kernel, layout
from testbed.assign import DOMAIN, NETWORK, SUBNET, SWITCH
from testbed.bed import Bed
from testbed.guest import Booted
from testbed.service import BedError, wait_for
from testbed.workloads import Cluster

# Times for which a slower node is waited, as a factor of those in the bed's own namespaces.
PATIENCE = {"emulation": 4.0, "kvm": 1.0}
AGENT_TIMEOUT = 180.0
PODS = "/api/v1/namespaces/default/pods"
PLUGIN = guest.PROJECT / "cni" / "plugin" / "ovnlet"
LATENCY = 5  # ms; of pods with limits, so that netem is part of what is observed


@dataclass
class KernelEnvironment(Environment):
    """An environment whose node is a virtual machine, and whose agent no kubelet starts."""

    boot: Booted | None = None
    forwards: bool = False  # whether the node is a gateway
    encap_ip: str = guest_boot.ADDRESS
    mtu: int = 0  # of pods; 0 for what the tunnel leaves
    datapath: str = "system"
    kubelet: bool = False
    numbers: Iterator[int] = field(default_factory=lambda: count(2))

    def take_floor(self) -> None:
        """Measure the floor for the next trial.

        An outage may take away the bridge that the measurement changes, so it comes before.
        """
        self.floor_ms = self.measure_floor(rounds=5)["floor"]

    def start_agent(self) -> None:
        """Start the agent, and return once it serves; raise BedError with its log otherwise."""
        self.restore_agent()
        self._wait_serving()

    def _wait_serving(self) -> None:
        node = self.bed.node()
        node.service("agent").wait_ready(lambda: "serving" in self.agent_log(), AGENT_TIMEOUT)

    def remove_agent(self) -> None:
        """End the agent as an uninstallation does."""
        if self.agent_pids():
            self.bed.node().service("agent").stop(signal.SIGTERM)

    def restore_agent(self) -> None:
        """Start the agent unless it runs. Return as soon as its process exists."""
        if self.agent_pids():
            return
        node = self.bed.node()
        node.log("agent").write_text("")
        node.spawn("agent", self._agent_words(), env={"PYTHONPATH": guest.PYTHONPATH})

    def _agent_words(self) -> list[str]:
        settings = {
            "node-name": self.bed.node().role,
            "kubeconfig": self.bed.inner_kubeconfig,
            "chassis": "manage",
            "ovn-remote": f"ssl:{layout.CONTROL_IP}:{layout.SB_PORT}",
            "encap-ip": self.encap_ip,
            "cluster-cidrs": layout.PODS,
            "plugin": PLUGIN,
            "cni-bin-dir": "/opt/cni/bin",
            "cni-conf-dir": "/etc/cni/net.d",
        }
        if self.mtu:
            settings["mtu"] = str(self.mtu)
        flags = [f"--{name}={value}" for name, value in settings.items()]
        return [sys.executable, "-m", "ovnlet", "agent", *flags]

    def agent_pids(self) -> list[int]:
        """Return the agent's process ID in the virtual machine, or nothing."""
        record = self.bed.node().directory / "agent.service"
        if not record.exists():
            return []
        service = self.bed.node().service("agent")
        return [service.pid] if service.alive else []

    def agent_log(self) -> str:
        """Return the present agent's log."""
        return self.bed.node().log("agent").read_text(errors="replace")

    def reboot(self) -> None:
        """Cut the virtual machine's power, and boot it again without an agent and without pods.

        The facts of the pods are no baseline any more.
        """
        assert self.boot is not None
        self.exec_agent.close()
        self.bed.reboot()
        (self.bed.node().directory / "agent.service").unlink(missing_ok=True)
        self.boot = guest.boot_node(self.bed, self.boot.of, self.boot.accelerator)
        if self.forwards:
            gateway.lay(self.bed)
        self.exec_agent = ExecClient.start(self.bed, self.evidence)

    def recover(self) -> None:
        """Start what has ended. Pods stay: no trial of this table deletes one."""
        self._restore_services(("ovsdb-server", "ovs-vswitchd", "ovn-controller"))
        if self.exec_agent.process.poll() is not None:
            self.exec_agent = ExecClient.start(self.bed, self.evidence)
            self.exec_agent.ask("baseline", targets=[], facts=self.baseline)
        self.start_agent()

    def measure_floor(self, rounds: int = 30) -> dict[str, float]:
        """Return the ms of one netlink batch and one OVSDB transaction on this node."""
        return dict(self.exec_agent.ask("floor", bridge=OTHER_BRIDGE, rounds=rounds))

    def attach(self, names: Sequence[str], changes: Mapping[str, str | None] = {}) -> None:
        """Create pods and their sandboxes, and call ADD for each. Add them to the targets."""
        for pod in self.make_pods(names, changes):
            self.targets.append(self.add(pod))

    def attach_again(self, old: Sequence[Target]) -> None:
        """Make a new sandbox for each of these pods, as kubelet does after a reboot."""
        self.targets = [self.add(self._renewed(target)) for target in old]

    def add(self, pod: Mapping[str, Any]) -> Target:
        """Make the sandbox of a pod of `make_pods` and call ADD."""
        (found,) = self.exec_agent.ask("attach", pods=[pod])["targets"]
        return Target(**(found | {"ips": tuple(found["ips"])}))

    def detach(self, target: Target) -> None:
        """Call DEL, remove the sandbox and delete the pod, as kubelet and the controller do."""
        self.exec_agent.ask("detach", targets=[asdict(target)])
        self.remove_pods([{"pod": target.pod, "iface_id": target.iface_id}])

    def _renewed(self, old: Target) -> dict[str, Any]:
        """Return a pod with a sandbox of its own, as `make_pods` does."""
        uid = self.bed.api.get(f"{PODS}/{old.pod}")["metadata"]["uid"]
        kept = ("pod", "iface_id", "ips", "mac", "ingress", "egress")
        own = {"uid": uid, "container_id": _container_id(next(self.numbers))}
        return {key: getattr(old, key) for key in kept} | own

    def make_pods(
        self, names: Sequence[str], changes: Mapping[str, str | None] = {}
    ) -> list[dict[str, Any]]:
        """Create pods and their ports in OVN, and return them as the exec agent attaches them.

        ``changes`` are annotations beside or in place of those that the pods of a run have.
        """
        made = [self._create(name, next(self.numbers), changes) for name in names]
        words = []
        for pod in made:
            words += ["--", "lsp-add", SWITCH, pod["iface_id"], "--", "lsp-set-addresses"]
            words += [pod["iface_id"], " ".join([pod["mac"], *pod["ips"]])]
        if words:
            self.bed.nbctl(*words[1:])
        return made

    def remove_pods(self, pods: Sequence[Mapping[str, Any]]) -> None:
        """Delete pods, whose sandboxes are detached, and their ports in OVN."""
        for pod in pods:
            self.bed.api.delete(f"{PODS}/{pod['pod']}?gracePeriodSeconds=0")
            self.bed.nbctl("lsp-del", str(pod["iface_id"]))

    def _create(self, name: str, number: int, changes: Mapping[str, str | None]) -> dict[str, Any]:
        """Create the pod's object as a controller has annotated it."""
        body = pod_body(name)
        annotations = body["metadata"]["annotations"]
        high, low = divmod(number, 256)
        ips = [f"10.16.{high}.{low}", f"fd00:10:16::{number:x}"]
        mac = f"0a:00:00:01:{high:02x}:{low:02x}"
        limited = f"{DOMAIN}/ingress_rate" in annotations and not changes
        facts = SUBNET | {"ip_address": ",".join(ips), "mac_address": mac, "allocated": "true"}
        facts |= {"routed": "true"} | ({"latency": str(LATENCY)} if limited else {})
        annotations |= {f"{DOMAIN}/{key}": value for key, value in facts.items()}
        wanted = {**annotations, **changes}
        annotations = {key: value for key, value in wanted.items() if value is not None}
        body["metadata"]["annotations"] = annotations
        body["spec"]["nodeName"] = self.bed.node().role
        uid = self.bed.api.create(PODS, body)["metadata"]["uid"]
        rates = {
            key: int(annotations.get(f"{DOMAIN}/{key}_rate", 0)) for key in ("ingress", "egress")
        }
        own = {"pod": name, "uid": uid, "iface_id": f"{name}.default"}
        return {**own, "container_id": _container_id(number), "ips": ips, "mac": mac, **rates}


def _container_id(number: int) -> str:
    """Return an ID of 64 letters whose first ones are the number."""
    return f"{number:04x}{uuid.uuid4().hex}{0:028x}"


@contextmanager
def booted(
    name: str | None = None, *, nodes: int = 1, keep: bool = False
) -> Iterator[tuple[Bed, Booted]]:
    """Run a bed whose first node is a virtual machine that has booted. Further ones are bare."""
    subprocess.run(["make", "-s", "-C", PLUGIN.parent], check=True)
    stock, bed = kernel.stock(), None
    with ThreadPoolExecutor() as pool:
        able = pool.submit(kernel.accelerator, stock)
        bed = Bed.up(name or f"kernel-{os.getpid()}", nodes=nodes, parts=guest.PARTS)
    try:
        bed.nbctl(*NETWORK.split())
        wait_for(lambda: "default" in bed.kubectl("get", "namespaces"), "namespace default")
        yield bed, guest.boot_node(bed, stock, able.result())
    finally:
        if not keep:
            bed.down()


@contextmanager
def serving(
    evidence: Path, name: str | None = None, *, keep: bool = False
) -> Iterator[KernelEnvironment]:
    """Run such a bed with an agent that serves, and no pods."""
    with booted(name, keep=keep) as (bed, boot):
        client, patience = ExecClient.start(bed, evidence), PATIENCE[boot.accelerator]
        env = KernelEnvironment(bed, client, Cluster(bed), evidence, patience=patience, boot=boot)
        try:
            env.start_agent()
            yield env
        finally:
            keep_logs(env)
            env.exec_agent.close()


@contextmanager
def provisioned(
    pods: int, evidence: Path, name: str | None = None, *, forwards: bool, keep: bool = False
) -> Iterator[KernelEnvironment]:
    """Run such a bed with an agent and this many pods, all right and reachable.

    All but the sentinel pod have limits. With ``forwards`` the node is a gateway too.
    """
    with serving(evidence, name, keep=keep) as env:
        if forwards:
            gateway.prepare(env.bed)
            env.forwards = True
            env.bed.say("the node is a gateway")
        _start_pods(env, pods)
        yield env


def _start_pods(env: KernelEnvironment, pods: int) -> None:
    numbers = range(2, 2 * pods, 2)  # pods with an even number have limits
    env.attach([SENTINEL_POD, *(f"p{number:02d}" for number in numbers)])
    if unreachable := env.traffic(env.targets, timeout=30):
        raise BedError(f"not reachable before anything was broken: {unreachable}")
    env.bed.say(f"{pods} pods are attached and reach their gateways")
    env.create_sentinels()
    env.facts()


def keep_logs(env: KernelEnvironment) -> None:
    """Copy the logs of the node beside the evidence: the bed's directory goes with the bed."""
    for name in ("qemu", "agent", "ovs-vswitchd", "ovn-controller", "stream"):
        if (log := env.bed.node().log(name)).exists():
            (env.evidence / f"{name}.log").write_text(log.read_text(errors="replace"))


def describe(boot: Booted, floor: dict[str, float]) -> str:
    """Return a line on the virtual machine and its floor."""
    return f"Linux {boot.release}, {boot.accelerator}, floor {json.dumps(floor)} ms"
