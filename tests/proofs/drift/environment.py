"""The environment of a run: a test bed of one node with an agent, pods, sentinels and the exec
agent.

It reads and changes the node. It judges nothing: trials and checks do.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kit.report import BUILD
from proofs.drift import faults, reach, sentinels
from proofs.drift.exec_client import ExecClient
from proofs.drift.node_facts import NODE
from proofs.drift.observe import HOLD, Facts, Target
from proofs.drift.pods import pod_body, target_of
from testbed import deploy
from testbed.bed import Bed
from testbed.inventory import Inventory, compare
from testbed.service import BedError, wait_for
from testbed.workloads import Cluster

EVIDENCE = BUILD / "evidence"
SERVICES = ("ovsdb-server", "ovs-vswitchd", "ovn-controller", "containerd", "kubelet")
SENTINEL_POD = "keeper"  # the pod with foreign addresses and routes inside
UNSCHEDULABLE = {"spec": {"template": {"spec": {"nodeSelector": {"nowhere": "true"}}}}}
SCHEDULABLE = {"spec": {"template": {"spec": {"nodeSelector": None}}}}
NS = ("-n", deploy.NAMESPACE)


@dataclass
class Environment:
    """A test bed with its pods and the facts that were right before anything was broken.

    ``baseline`` has the facts of each pod, ``reference`` the inventory of the sentinels.
    ``unreachable`` names pods that nothing repaired; no further trial starts with one of them.
    """

    bed: Bed
    exec_agent: ExecClient
    cluster: Cluster
    evidence: Path
    targets: list[Target] = field(default_factory=list)
    reference: Inventory = field(default_factory=dict)
    baseline: dict[str, Facts] = field(default_factory=dict)
    unreachable: set[str] = field(default_factory=set)
    patience: float = 1.0  # factor of all times for which a slower node is waited
    datapath: str = "netdev"
    kubelet: bool = True
    floor_ms: float | None = None  # before the last trial, where times are judged by it

    @property
    def sentinel_pod(self) -> Target:
        """The pod that has foreign addresses and routes inside."""
        return next(target for target in self.targets if target.pod == SENTINEL_POD)

    def tools(self, lines: faults.Tools) -> None:
        """Run foreign tools on the node, one after another. Raise BedError if one fails."""
        for answer in self.exec_agent.ask("tools", tools=lines)["exits"]:
            if answer["status"]:
                raise BedError(f"{' '.join(answer['argv'])}: {answer['said']}")

    def facts(self) -> dict[str, Facts]:
        """Make the present state of the pods and the node the baseline, and return it."""
        self.baseline = dict(
            self.exec_agent.ask("baseline", targets=_as_json([*self.targets, NODE]))["facts"]
        )
        return self.baseline

    def recover(self) -> None:
        """Restore services, exec agent, agent and pods after a failure.

        A new exec agent gets the baseline of the one that ended.
        """
        self._restore_parts()
        if self.exec_agent.process.poll() is not None:
            self.exec_agent = ExecClient.start(self.bed, self.evidence)
            self.exec_agent.ask("baseline", targets=[], facts=self.baseline)
        self.restore_agent()
        self._recreate_pods()

    def _restore_parts(self) -> None:
        """Continue and restart every service that an interrupted check may have stopped or
        frozen.
        """
        self._restore_services(SERVICES)
        plane, control = self.bed.control_plane, self.bed.control
        if control and not control.service("kube-apiserver").alive:
            service = plane.start_apiserver(service_accounts=True)
            service.wait_ready(lambda: plane.answers(self.bed.api_url), timeout=60)

    def _restore_services(self, names: Sequence[str]) -> None:
        node = self.bed.node()
        for name in names:
            service = node.service(name)
            service.send(signal.SIGCONT)
            if not service.alive:
                node.restart(name)

    def _recreate_pods(self) -> None:
        """Recreate pods that a check deleted.

        A pod with a new sandbox gets its present state as baseline.
        """
        names, present = (
            {each.pod for each in self.targets},
            {pod["metadata"]["name"] for pod in self.cluster.pods()},
        )
        if names - present:
            self.cluster.apply(*(pod_body(name) for name in sorted(names - present)))
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
        """Return the differences from the baseline of each pod that has any.

        ``allow_extra`` ignores facts that the baseline does not have.
        """
        asked = _as_json(self.targets if targets is None else targets)
        wrong = self.exec_agent.ask("compare", targets=asked, allow_extra=allow_extra)["wrong"]
        return {pod: lines for pod, lines in wrong.items() if lines}

    def traffic(self, targets: Sequence[Target], timeout: float = 5) -> dict[str, list[str]]:
        """Return the gateways that each pod does not reach within ``timeout`` seconds, if any."""
        asked = self.exec_agent.ask(
            "traffic",
            targets=_as_json(targets),
            addresses=faults.GATEWAYS,
            timeout=timeout * self.patience,
            wait=reach.ANSWER_SECONDS * self.patience,
        )
        return dict(asked["unreachable"])

    def replug(self, unreachable: dict[str, list[str]], targets: Sequence[Target]) -> None:
        """Delete the ports of unreachable pods, so that they are attached again.

        A pod that stays unreachable is excluded: so one failure counts once, and not again in
        every trial that follows on it.
        """
        for one in [one for one in targets if one.pod in unreachable]:
            self.exec_agent.ask(
                "tools", tools=[["ovs-vsctl", "--if-exists", "del-port", "br-int", one.port]]
            )
            self.unreachable |= set(self.traffic([one]))

    def cni_check(self, targets: Sequence[Target]) -> dict[str, str]:
        """Return the CNI CHECK error of each pod that fails it."""
        return dict(self.exec_agent.ask("check", targets=_as_json(targets))["failed"])

    def traces(self, *container_ids: str) -> dict[str, list[str]]:
        """Return where the node still has each container ID: rows, links, records or pending
        deletes.
        """
        return dict(self.exec_agent.ask("traces", container_ids=container_ids)["traces"])

    def right(
        self, one: Target, since: float, timeout: float, *, allow_extra: bool = False
    ) -> dict[str, Any]:
        """Observe a broken pod until it is right, and return the exec agent's trial result.

        Its times are in ms after ``since``.
        """
        item = {"target": asdict(one), "tools": [], "allow_extra": allow_extra}
        return self.watch([item | {"ago": time.monotonic() - since}], timeout)[0]

    def take_floor(self) -> None:
        """Measure the floor for the next trial, where times are judged by it."""

    def watch(self, items: Sequence[Mapping[str, Any]], timeout: float) -> list[dict[str, Any]]:
        """Break pods, if the items have tools, and observe them until all are right."""
        hold, within = HOLD * self.patience, timeout * self.patience
        return list(self.exec_agent.ask("trial", items=items, timeout=within, hold=hold)["results"])

    def names(self) -> set[str]:
        """Return the names of all interfaces in OVSDB, as a foreign client reads them."""
        return set(self.exec_agent.ask("names")["names"])

    def sentinels(self, *, in_netns: bool = True) -> Inventory:
        """Return the inventory of the sentinels as they are now."""
        return dict(
            self.exec_agent.ask("sentinels", netns=self.sentinel_pod.netns if in_netns else None)[
                "inventory"
            ]
        )

    def changed_sentinels(self, timeout: float = 0) -> list[str]:
        """Return how the sentinels differ from the reference, after up to ``timeout`` s to
        settle.
        """
        left = compare(self.reference, self.sentinels())
        try:
            if left and timeout:
                wait_for(
                    lambda: not compare(self.reference, self.sentinels()),
                    "the sentinels to be unchanged",
                    timeout * self.patience,
                    every=0.3,
                )
                left = []
        except BedError:
            left = compare(self.reference, self.sentinels())
        return left

    def remove_agent(self) -> None:
        """Take the DaemonSet off the node. Return when the agent has ended.

        It ends as in an uninstallation, and nothing restarts it.
        """
        self.bed.kubectl(
            *NS, "patch", deploy.DAEMONSET, "--type=merge", "-p", json.dumps(UNSCHEDULABLE)
        )
        deploy.dismissed(self.bed)

    def restore_agent(self) -> None:
        """Put the DaemonSet back on the node. Return as soon as the agent's process exists."""
        self.bed.kubectl(
            *NS, "patch", deploy.DAEMONSET, "--type=merge", "-p", json.dumps(SCHEDULABLE)
        )
        wait_for(self.agent_pids, "the agent's process", timeout=60, every=0.05)

    def agent_pids(self) -> list[int]:
        """Return the process IDs of the agent on the node."""
        return deploy.agent_processes(self.bed.node())

    def agent_log(self) -> str:
        """Return the agent's log, or "" while its container is being made."""
        try:
            return self.bed.kubectl(*NS, "logs", deploy.DAEMONSET, "--tail=-1")
        except BedError:
            return ""

    def heartbeat(self) -> None:
        """Renew the node's lease in place of a frozen kubelet.

        A node without a heartbeat for 40 s counts as lost.
        """
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
        lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n0"
        self.bed.api.patch(lease, {"spec": {"renewTime": now}})

    def create_sentinels(self, *, pods: bool = True) -> None:
        """Create all sentinels and record them as the reference."""
        self.tools(sentinels.IN_KERNEL + sentinels.in_ovs(self.datapath))
        self.create_scratch_space()
        if pods:
            self.tools(sentinels.in_pod(self.sentinel_pod.netns))
        self.record_sentinels()

    def record_sentinels(self) -> None:
        """Make the sentinels' present state the reference.

        Duplicate address detection must be over, so wait for it.
        """
        wait_for(
            lambda: not sentinels.unsettled(self.sentinels()), "the sentinels to settle", every=0.2
        )
        self.reference = self.sentinels()

    def changed_sentinel_rows(self) -> list[str]:
        """Return how the sentinels' OVSDB rows alone differ from the reference."""
        return compare(
            {"ovsdb": self.reference["ovsdb"]}, {"ovsdb": self.sentinels(in_netns=False)["ovsdb"]}
        )

    def recreate_ovs_sentinels(self) -> None:
        """Recreate the sentinels' rows after the whole database was lost.

        That loss is not ovnlet's doing.
        """
        self.tools(sentinels.in_ovs(self.datapath))
        self.create_scratch_space()

    def create_scratch_space(self) -> None:
        """Create the bridge and the namespace to which faults move ports and links."""
        self.tools(
            [
                f"ovs-vsctl --may-exist add-br {faults.OTHER_BRIDGE}".split(),
                f"ovs-vsctl set bridge {faults.OTHER_BRIDGE} datapath_type={self.datapath}".split(),
                ["sh", "-c", f"ip netns add {faults.OTHER_NETNS} 2>/dev/null || :"],
            ]
        )


def _as_json(targets: Sequence[Target]) -> list[dict[str, Any]]:
    return [asdict(target) for target in targets]
