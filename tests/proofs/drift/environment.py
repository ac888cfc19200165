"""The bed of a run: one node with ovnlet as a DaemonSet, pods, witnesses, and the hand that reaches into its space."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kit.report import BUILD
from proofs.drift import faults, sentinels
from proofs.drift.exec_client import ExecClient
from proofs.drift.observe import Facts, Target
from proofs.drift.pods import pod_body, target_of
from testbed import deploy
from testbed.bed import Bed
from testbed.inventory import Inventory, compare
from testbed.service import BedError, wait_for
from testbed.workloads import Cluster

EVIDENCE = BUILD / "evidence"
SERVICES = ("ovsdb-server", "ovs-vswitchd", "ovn-controller", "containerd", "kubelet")
SENTINEL_POD = "keeper"  # holds a stranger's addresses and routes
UNSCHEDULABLE = {"spec": {"template": {"spec": {"nodeSelector": {"nowhere": "true"}}}}}
SCHEDULABLE = {"spec": {"template": {"spec": {"nodeSelector": None}}}}
NS = ("-n", deploy.NAMESPACE)


@dataclass
class Environment:
    bed: Bed
    exec_agent: ExecClient
    cluster: Cluster
    evidence: Path
    targets: list[Target] = field(default_factory=list)
    reference: Inventory = field(default_factory=dict)
    baseline: dict[str, Facts] = field(default_factory=dict)
    unreachable: set[str] = field(
        default_factory=set
    )  # pods that nothing brings back: no trial begins with one

    @property
    def sentinel_pod(self) -> Target:
        return next(target for target in self.targets if target.pod == SENTINEL_POD)

    def tools(self, lines: faults.Tools) -> None:
        """Foreign tools that must succeed."""
        for answer in self.exec_agent.ask("tools", tools=lines)["exits"]:
            if answer["status"]:
                raise BedError(f"{' '.join(answer['argv'])}: {answer['said']}")

    def facts(self) -> dict[str, Facts]:
        """All pods as they are become the baseline."""
        self.baseline = dict(
            self.exec_agent.ask("baseline", targets=_as_json(self.targets))["facts"]
        )
        return self.baseline

    def recover(self) -> None:
        """After trouble: the node's parts run, an agent, and all pods; a hand that ended is replaced by one as wise."""
        self._restore_parts()
        if self.exec_agent.process.poll() is not None:
            self.exec_agent = ExecClient.start(self.bed, self.evidence)
            self.exec_agent.ask("baseline", targets=[], facts=self.baseline)
        self.restore_agent()
        self._recreate_pods()

    def _restore_parts(self) -> None:
        """A play that broke off may have left one of them stopped or frozen."""
        node, plane, control = self.bed.node(), self.bed.control_plane, self.bed.control
        for name in SERVICES:
            service = node.service(name)
            service.send(signal.SIGCONT)
            if not service.alive:
                node.restart(name)
        if control and not control.service("kube-apiserver").alive:
            service = plane.start_apiserver(service_accounts=True)
            service.wait_ready(lambda: plane.answers(self.bed.api_url), timeout=60)

    def _recreate_pods(self) -> None:
        """A pod that a play took away comes back; one that has another sandbox since is right as it is now."""
        names, there = (
            {each.pod for each in self.targets},
            {pod["metadata"]["name"] for pod in self.cluster.pods()},
        )
        if names - there:
            self.cluster.apply(*(pod_body(name) for name in sorted(names - there)))
        known, found = set(self.targets), self.cluster.running(len(self.targets), timeout=90)
        self.targets = [target_of(pod) for pod in found]
        if replaced := [each for each in self.targets if each not in known]:
            self.traffic(replaced, 20)
            self.baseline = dict(
                self.exec_agent.ask("baseline", targets=_as_json(replaced))["facts"]
            )

    def wrong(
        self, targets: Sequence[Target] | None = None, *, allow_extra: bool = False
    ) -> dict[str, list[str]]:
        """The pods that are not as they were, and in what."""
        asked = _as_json(self.targets if targets is None else targets)
        told = self.exec_agent.ask("compare", targets=asked, allow_extra=allow_extra)["wrong"]
        return {pod: lines for pod, lines in told.items() if lines}

    def traffic(self, targets: Sequence[Target], timeout: float = 5) -> dict[str, list[str]]:
        """Pods with the gateways' addresses that they do not reach, after waiting for it."""
        asked = self.exec_agent.ask(
            "traffic", targets=_as_json(targets), addresses=faults.GATEWAYS, timeout=timeout
        )
        return dict(asked["unreachable"])

    def replug(self, unreachable: dict[str, list[str]], targets: Sequence[Target]) -> None:
        """One failure is told once: a pod without traffic is plugged anew, or left out from then on."""
        for one in [one for one in targets if one.pod in unreachable]:
            self.exec_agent.ask(
                "tools", tools=[["ovs-vsctl", "--if-exists", "del-port", "br-int", one.port]]
            )
            self.unreachable |= set(self.traffic([one]))

    def cni_check(self, targets: Sequence[Target]) -> dict[str, str]:
        return dict(self.exec_agent.ask("check", targets=_as_json(targets))["failed"])

    def traces(self, *container_ids: str) -> dict[str, list[str]]:
        """What the node still has of each: rows, links, records, notes of its deletion."""
        return dict(self.exec_agent.ask("traces", container_ids=container_ids)["traces"])

    def right(
        self, one: Target, since: float, timeout: float, *, allow_extra: bool = False
    ) -> dict[str, Any]:
        """How long after `since` a pod that was broken is right."""
        item = {"target": asdict(one), "tools": [], "allow_extra": allow_extra, "since": since}
        return dict(self.exec_agent.ask("trial", items=[item], timeout=timeout)["results"][0])

    def names(self) -> set[str]:
        """The interfaces of OVSDB, as a foreign client sees them."""
        return set(self.exec_agent.ask("names")["names"])

    def sentinels(self, *, in_netns: bool = True) -> Inventory:
        return dict(
            self.exec_agent.ask("sentinels", netns=self.sentinel_pod.netns if in_netns else None)[
                "inventory"
            ]
        )

    def changed_sentinels(self, timeout: float = 0) -> list[str]:
        """What of the witnesses is not as it was, once it has had `patience` seconds to settle."""
        left = compare(self.reference, self.sentinels())
        try:
            if left and timeout:
                wait_for(
                    lambda: not compare(self.reference, self.sentinels()),
                    "sentinels",
                    timeout,
                    every=0.3,
                )
                left = []
        except BedError:
            left = compare(self.reference, self.sentinels())
        return left

    def remove_agent(self) -> None:
        """The DaemonSet leaves the node: the agent ends as in an uninstallation, nothing restarts it."""
        self.bed.kubectl(
            *NS, "patch", deploy.DAEMONSET, "--type=merge", "-p", json.dumps(UNSCHEDULABLE)
        )
        deploy.dismissed(self.bed)

    def restore_agent(self) -> None:
        """Return as soon as its process is there."""
        self.bed.kubectl(
            *NS, "patch", deploy.DAEMONSET, "--type=merge", "-p", json.dumps(SCHEDULABLE)
        )
        wait_for(self.agent_pids, "the agent's process", timeout=60, every=0.05)

    def agent_pids(self) -> list[int]:
        return deploy.agent_processes(self.bed.node())

    def agent_log(self) -> str:
        """Empty while its container is being made."""
        try:
            return self.bed.kubectl(*NS, "logs", deploy.DAEMONSET, "--tail=-1")
        except BedError:
            return ""

    def heartbeat(self) -> None:
        """In the name of a frozen kubelet: a node that is silent for 40 s is taken for lost."""
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
        lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n0"
        self.bed.api.patch(lease, {"spec": {"renewTime": now}})

    def create_sentinels(self, *, pods: bool = True) -> None:
        self.tools(sentinels.IN_KERNEL + sentinels.IN_OVS)
        self.create_scratch_space()
        if pods:
            self.tools(sentinels.in_pod(self.sentinel_pod.netns))
        self.record_sentinels()

    def record_sentinels(self) -> None:
        """The witnesses as they are, once the kernel has taken their addresses for its own."""
        wait_for(lambda: not sentinels.unsettled(self.sentinels()), "witnesses at rest", every=0.2)
        self.reference = self.sentinels()

    def changed_sentinel_rows(self) -> list[str]:
        """What of the witnesses' rows alone is not as it was."""
        return compare(
            {"ovsdb": self.reference["ovsdb"]}, {"ovsdb": self.sentinels(in_netns=False)["ovsdb"]}
        )

    def recreate_ovs_sentinels(self) -> None:
        """After their rows were lost with the whole database, which is not ovnlet's doing."""
        self.tools(sentinels.IN_OVS)
        self.create_scratch_space()

    def create_scratch_space(self) -> None:
        """Where the foreign hand puts what it takes away."""
        self.tools(
            [
                f"ovs-vsctl --may-exist add-br {faults.OTHER_BRIDGE}".split(),
                f"ovs-vsctl set bridge {faults.OTHER_BRIDGE} datapath_type=netdev".split(),
                ["sh", "-c", f"ip netns add {faults.OTHER_NETNS} 2>/dev/null || :"],
            ]
        )


def _as_json(targets: Sequence[Target]) -> list[dict[str, Any]]:
    return [asdict(target) for target in targets]


@contextmanager
def provisioned(
    pods: int, evidence: Path, name: str | None = None, *, keep: bool = False
) -> Iterator[Environment]:
    """A whole bed with `pods` pods, one of them the keeper, all of them right."""
    bed = Bed.up(name or f"drift-{os.getpid()}")
    try:
        deploy.apply(bed)
        let_agent_manage_chassis(bed)
        cluster = Cluster(bed)
        env = Environment(bed, ExecClient.start(bed, evidence), cluster, evidence)
        try:
            start_pods(env, pods)
            env.create_sentinels()
            env.facts()
            yield env
        finally:
            env.exec_agent.close()
    finally:
        if not keep:
            bed.down()


def let_agent_manage_chassis(bed: Bed) -> None:
    """The node stands alone: nobody else brings a wiped database's chassis back."""
    bed.kubectl(*NS, "set", "env", deploy.DAEMONSET, "OVNLET_CHASSIS=manage")
    bed.kubectl(*NS, "rollout", "status", deploy.DAEMONSET, "--timeout=60s", timeout=70)


def start_pods(env: Environment, pods: int) -> None:
    """All pods run and are reachable before anything is broken."""
    names = [SENTINEL_POD, *(f"p{number:02d}" for number in range(1, pods))]
    env.cluster.apply(*(pod_body(name) for name in names))
    env.targets = [target_of(pod) for pod in env.cluster.running(pods, timeout=60 + 4 * pods)]
    if unreachable := env.traffic(env.targets, timeout=30):
        raise BedError(f"not reachable before anything was broken: {unreachable}")
    env.bed.say(f"{pods} pods run and reach their gateways")
