"""The bed of a run: one node with ovnlet as a DaemonSet, pods, witnesses, and the hand that reaches into its space."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from proofs.drift import kinds, witnesses
from proofs.drift.look import Facts, Target
from testbed import deploy, workloads
from testbed.bed import Bed
from testbed.inventory import Inventory, compare
from testbed.service import BedError, wait_for
from testbed.space import Inside
from testbed.workloads import OVN, Cluster, Running

CODE = {"PYTHONPATH": str(Path(__file__).parents[2])}
BUILD = deploy.PROJECT / "build"
EVIDENCE = BUILD / "evidence"
PARTS = ("ovsdb-server", "ovs-vswitchd", "ovn-controller", "containerd", "kubelet")
KEEPER = "keeper"  # holds a stranger's addresses and routes
AWAY = {"spec": {"template": {"spec": {"nodeSelector": {"nowhere": "true"}}}}}
BACK = {"spec": {"template": {"spec": {"nodeSelector": None}}}}
NS = ("-n", deploy.NAMESPACE)


@dataclass
class Hand:
    """The process in the node's space, spoken to by lines of JSON."""

    process: Inside
    errors: Path

    @classmethod
    def reach(cls, bed: Bed, evidence: Path) -> Hand:
        errors = evidence / "hand.log"
        evidence.mkdir(parents=True, exist_ok=True)
        with errors.open("a") as file:
            process = bed.node().popen(
                [sys.executable, "-m", "proofs.drift.hand"], env=CODE, stderr=file.fileno()
            )
        hand = cls(process, errors)
        hand._hear()
        return hand

    def ask(self, verb: str, **request: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"verb": verb, **request}) + "\n")
        self.process.stdin.flush()
        return self._hear()

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=10)

    def _hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise BedError(f"the hand ended: {self.errors.read_text()[-2000:]}")
        return dict(json.loads(line))


@dataclass
class Stage:
    bed: Bed
    hand: Hand
    cluster: Cluster
    evidence: Path
    targets: list[Target] = field(default_factory=list)
    reference: Inventory = field(default_factory=dict)
    baseline: dict[str, Facts] = field(default_factory=dict)
    silent: set[str] = field(
        default_factory=set
    )  # pods that nothing brings back: no trial begins with one

    @property
    def keeper(self) -> Target:
        return next(target for target in self.targets if target.pod == KEEPER)

    def told(self, targets: Sequence[Target]) -> list[dict[str, Any]]:
        return [asdict(target) for target in targets]

    def tools(self, lines: kinds.Tools) -> None:
        """Foreign tools that must succeed."""
        for answer in self.hand.ask("tools", tools=lines)["exits"]:
            if answer["status"]:
                raise BedError(f"{' '.join(answer['argv'])}: {answer['said']}")

    def facts(self) -> dict[str, Facts]:
        """All pods as they are become the baseline."""
        self.baseline = dict(self.hand.ask("baseline", targets=self.told(self.targets))["facts"])
        return self.baseline

    def recover(self) -> None:
        """After trouble: the node's parts run, an agent, and all pods; a hand that ended is replaced by one as wise."""
        self._restore_parts()
        if self.hand.process.poll() is not None:
            self.hand = Hand.reach(self.bed, self.evidence)
            self.hand.ask("baseline", targets=[], facts=self.baseline)
        self.agent_back()
        self._repopulate()

    def _restore_parts(self) -> None:
        """A play that broke off may have left one of them stopped or frozen."""
        node, plane, control = self.bed.node(), self.bed.control_plane, self.bed.control
        for name in PARTS:
            service = node.service(name)
            service.send(signal.SIGCONT)
            if not service.alive:
                node.restart(name)
        if control and not control.service("kube-apiserver").alive:
            service = plane.start_apiserver(service_accounts=True)
            service.wait_ready(lambda: plane.answers(self.bed.api_url), timeout=60)

    def _repopulate(self) -> None:
        """A pod that a play took away comes back; one that has another sandbox since is right as it is now."""
        names, there = (
            {each.pod for each in self.targets},
            {pod["metadata"]["name"] for pod in self.cluster.pods()},
        )
        if names - there:
            self.cluster.apply(*(body(name) for name in sorted(names - there)))
        known, found = set(self.targets), self.cluster.running(len(self.targets), timeout=90)
        self.targets = [target(pod) for pod in found]
        if renewed := [each for each in self.targets if each not in known]:
            self.traffic(renewed, 20)
            self.baseline = dict(self.hand.ask("baseline", targets=self.told(renewed))["facts"])

    def wrong(
        self, targets: Sequence[Target] | None = None, *, keeps: bool = False
    ) -> dict[str, list[str]]:
        """The pods that are not as they were, and in what."""
        asked = self.told(self.targets if targets is None else targets)
        told = self.hand.ask("compare", targets=asked, keeps=keeps)["wrong"]
        return {pod: lines for pod, lines in told.items() if lines}

    def traffic(self, targets: Sequence[Target], timeout: float = 5) -> dict[str, list[str]]:
        """Pods with the gateways' addresses that they do not reach, after waiting for it."""
        asked = self.hand.ask(
            "traffic", targets=self.told(targets), addresses=kinds.GATEWAYS, timeout=timeout
        )
        return dict(asked["silent"])

    def revive(self, silent: dict[str, list[str]], targets: Sequence[Target]) -> None:
        """One failure is told once: a pod without traffic is plugged anew, or left out from then on."""
        for one in [one for one in targets if one.pod in silent]:
            self.hand.ask(
                "tools", tools=[["ovs-vsctl", "--if-exists", "del-port", "br-int", one.port]]
            )
            self.silent |= set(self.traffic([one]))

    def check(self, targets: Sequence[Target]) -> dict[str, str]:
        return dict(self.hand.ask("check", targets=self.told(targets))["failed"])

    def traces(self, *container_ids: str) -> dict[str, list[str]]:
        """What the node still has of each: rows, links, records, notes of its deletion."""
        return dict(self.hand.ask("traces", container_ids=container_ids)["traces"])

    def right(
        self, one: Target, since: float, timeout: float, *, keeps: bool = False
    ) -> dict[str, Any]:
        """How long after `since` a pod that was broken is right."""
        item = {"target": asdict(one), "tools": [], "keeps": keeps, "since": since}
        return dict(self.hand.ask("trial", items=[item], timeout=timeout)["results"][0])

    def names(self) -> set[str]:
        """The interfaces of OVSDB, as a foreign client sees them."""
        return set(self.hand.ask("names")["names"])

    def witnesses(self, *, inside: bool = True) -> Inventory:
        return dict(
            self.hand.ask("witnesses", netns=self.keeper.netns if inside else None)["inventory"]
        )

    def harmed(self, patience: float = 0) -> list[str]:
        """What of the witnesses is not as it was, once it has had `patience` seconds to settle."""
        left = compare(self.reference, self.witnesses())
        try:
            if left and patience:
                wait_for(
                    lambda: not compare(self.reference, self.witnesses()),
                    "witnesses",
                    patience,
                    every=0.3,
                )
                left = []
        except BedError:
            left = compare(self.reference, self.witnesses())
        return left

    def agent_away(self) -> None:
        """The DaemonSet leaves the node: the agent ends as in an uninstallation, nothing restarts it."""
        self.bed.kubectl(*NS, "patch", deploy.DAEMONSET, "--type=merge", "-p", json.dumps(AWAY))
        deploy.dismissed(self.bed)

    def agent_back(self) -> None:
        """Return as soon as its process is there."""
        self.bed.kubectl(*NS, "patch", deploy.DAEMONSET, "--type=merge", "-p", json.dumps(BACK))
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

    def lay_witnesses(self, *, pods: bool = True) -> None:
        self.tools(witnesses.IN_KERNEL + witnesses.IN_OVS)
        self.lay_workshop()
        if pods:
            self.tools(witnesses.in_pod(self.keeper.netns))
        self.refer()

    def refer(self) -> None:
        """The witnesses as they are, once the kernel has taken their addresses for its own."""
        wait_for(lambda: not witnesses.unsettled(self.witnesses()), "witnesses at rest", every=0.2)
        self.reference = self.witnesses()

    def harmed_rows(self) -> list[str]:
        """What of the witnesses' rows alone is not as it was."""
        return compare(
            {"ovsdb": self.reference["ovsdb"]}, {"ovsdb": self.witnesses(inside=False)["ovsdb"]}
        )

    def lay_witnesses_in_ovs(self) -> None:
        """After their rows were lost with the whole database, which is not ovnlet's doing."""
        self.tools(witnesses.IN_OVS)
        self.lay_workshop()

    def lay_workshop(self) -> None:
        """Where the foreign hand puts what it takes away."""
        self.tools(
            [
                f"ovs-vsctl --may-exist add-br {kinds.ELSEWHERE}".split(),
                f"ovs-vsctl set bridge {kinds.ELSEWHERE} datapath_type=netdev".split(),
                ["sh", "-c", f"ip netns add {kinds.STRANGE} 2>/dev/null || :"],
            ]
        )


def body(name: str) -> dict[str, Any]:
    """Every pod has custom routes, and every second one limits, of a rate of its own."""
    routes = [
        {"dst": target, "gw": gateway}
        for target, gateway in zip(kinds.CUSTOM, kinds.GATEWAYS, strict=True)
    ]
    number = int("".join(filter(str.isdecimal, name)) or "0")
    limits = (
        {"ingress_rate": 20 + number, "egress_rate": 10 + number}
        if number and not number % 2
        else {}
    )
    notes = {"routes": json.dumps(routes), **{key: str(value) for key, value in limits.items()}}
    return workloads.pod(name, **{f"{OVN}/{key}": value for key, value in notes.items()})


def target(pod: Running) -> Target:
    notes = pod.body["metadata"]["annotations"]
    mac, namespace = notes[f"{OVN}/mac_address"], pod.body["metadata"]["namespace"]
    ingress, egress = (int(notes.get(f"{OVN}/{key}_rate", 0)) for key in ("ingress", "egress"))
    iface_id = f"{pod.name}.{namespace}"
    return Target(
        pod.name,
        pod.container_id,
        pod.netns,
        pod.port,
        iface_id,
        tuple(pod.ips),
        mac,
        ingress=ingress,
        egress=egress,
    )


@contextmanager
def staged(
    pods: int, evidence: Path, name: str | None = None, *, keep: bool = False
) -> Iterator[Stage]:
    """A whole bed with `pods` pods, one of them the keeper, all of them right."""
    bed = Bed.up(name or f"drift-{os.getpid()}")
    try:
        deploy.apply(bed)
        manage_chassis(bed)
        cluster = Cluster(bed)
        stage = Stage(bed, Hand.reach(bed, evidence), cluster, evidence)
        try:
            people(stage, pods)
            stage.lay_witnesses()
            stage.facts()
            yield stage
        finally:
            stage.hand.close()
    finally:
        if not keep:
            bed.down()


def manage_chassis(bed: Bed) -> None:
    """The node stands alone: nobody else brings a wiped database's chassis back."""
    bed.kubectl(*NS, "set", "env", deploy.DAEMONSET, "OVNLET_CHASSIS=manage")
    bed.kubectl(*NS, "rollout", "status", deploy.DAEMONSET, "--timeout=60s", timeout=70)


def people(stage: Stage, pods: int) -> None:
    """All pods run and are reachable before anything is broken."""
    names = [KEEPER, *(f"p{number:02d}" for number in range(1, pods))]
    stage.cluster.apply(*(body(name) for name in names))
    stage.targets = [target(pod) for pod in stage.cluster.running(pods, timeout=60 + 4 * pods)]
    if silent := stage.traffic(stage.targets, timeout=30):
        raise BedError(f"not reachable before anything was broken: {silent}")
    stage.bed.say(f"{pods} pods run and reach their gateways")
