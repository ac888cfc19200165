"""The bed of the proof: two nodes without Kube-OVN, pods that get a further interface, and load."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any

from testbed import deploy, layout, meta_networks, workloads
from testbed.bed import Bed
from testbed.ping import Ping
from testbed.service import BedError, wait_for
from testbed.workloads import Cluster, Running

N1 = "n1.default.ovn"
SECOND = "10.17.0.0/24,fd00:10:17::/64"
HOT, TRANSIENT = 4, 3
FIRST = ("net1",)
BOTH = ("net1", "net2")
COOL_DOWN = 5
PATIENCE = 180.0  # seconds; kubelet looks for what it has missed about once a minute
BARE, BARE_PAUSE = 40, 0.1
PODS = "/api/v1/namespaces/default/pods"


def listed(interfaces: tuple[str, ...]) -> str:
    """Return the annotation's text for one network with these interfaces."""
    return json.dumps([{"name": "n1", "interface": each} for each in interfaces])


def _pod(name: str, node: str, interfaces: tuple[str, ...], label: str) -> dict[str, Any]:
    body = workloads.pod(name, **{meta_networks.NETWORKS: listed(interfaces)})
    body["metadata"]["labels"] = {"made-by": label}
    body["spec"]["nodeName"] = node
    return body


@dataclass(frozen=True, slots=True)
class Stage:
    """The bed with its pods: those that are plugged on the first node, a peer on the second."""

    bed: Bed
    cluster: Cluster
    hot: list[Running]
    peer: Running

    def annotations(self, name: str) -> dict[str, str]:
        """Return the annotations of a pod as they are."""
        return dict(self.bed.api.get(f"{PODS}/{name}")["metadata"]["annotations"])

    def given(self, name: str, provider: str) -> list[str]:
        """Return the addresses of a pod in a network."""
        return self.annotations(name)[f"{provider}.kubernetes.io/ip_address"].split(",")

    def wanted(self, pod: Running, interfaces: tuple[str, ...], **edits: str | None) -> None:
        """Have a pod list these interfaces, and edit annotations of the second one by name."""
        keys = {f"{N1}.net2.kubernetes.io/{name}": value for name, value in edits.items()}
        notes = {meta_networks.NETWORKS: listed(interfaces), **keys}
        self.bed.api.patch(f"{PODS}/{pod.name}", {"metadata": {"annotations": notes}})

    def synced(self, pod: Running) -> list[str]:
        """Return what the stand-in for Multus attached and detached of a pod."""
        answer = pod.space.run(meta_networks.sync(pod.container_id), timeout=180)
        return list(json.loads(answer))

    def is_allocated(self, name: str) -> bool:
        """Return whether the pod has an allocation of the second interface."""
        return f"{N1}.net2.kubernetes.io/allocated" in self.annotations(name)

    def reaches_by_second(self, pod: Running, address: str) -> bool:
        """Return whether one ping by the second interface is answered within 0.5 s."""
        words = pod.enter("ping", "-c1", "-W0.5", "-I", "net2", address)
        return pod.space.result(words).returncode == 0


@contextmanager
def provisioned(name: str) -> Iterator[Stage]:
    """Run the bed with all pods, each reachable by both of its interfaces."""
    with Bed.up(name, nodes=2, parts=layout.STANDALONE) as bed:
        deploy.apply(bed, OVNLET_COOL_DOWN=str(COOL_DOWN))
        cluster = Cluster(bed, label="hot")
        cluster.make_subnet(workloads.subnet("ovn-default", layout.PODS, default=True))
        meta_networks.install(bed)
        network = meta_networks.definition("n1", {"type": "ovnlet", "provider": N1})
        bed.kubectl("apply", "-f", "-", stdin=json.dumps(network))
        cluster.make_subnet(workloads.subnet("second", SECOND, provider=N1))
        bodies = [_pod(f"hot{number}", "n0", FIRST, "hot") for number in range(HOT)]
        cluster.apply(*bodies, _pod("peer", "n1", FIRST, "hot"))
        *hot, peer = cluster.running(HOT + 1, timeout=120)
        stage = Stage(bed, cluster, hot, peer)
        for pod in hot:
            for address in (*peer.ips, *stage.given("peer", N1)):
                wait_for(lambda p=pod, a=address: p.reaches(a), f"{address} by {pod.name}", 30)  # type: ignore[misc]
        yield stage


@dataclass(frozen=True, slots=True)
class Losses:
    """What the pings of the interfaces that stay lost; ``longest`` is the most in a row of one."""

    sent: int
    lost: int
    longest: int

    @property
    def percent(self) -> float:
        """The share of lost packets."""
        return 100 * self.lost / max(self.sent, 1)


class Pings:
    """A ping by each interface that stays, a packet every 20 ms."""

    def __init__(self, stage: Stage) -> None:
        targets = (stage.peer.ips[0], stage.given("peer", N1)[0])
        self._pings: list[Ping] = [pod.ping(each) for pod in stage.hot for each in targets]

    def end(self) -> Losses:
        """End them."""
        ended = [ping.end() for ping in self._pings]
        lost = [sorted(set(range(1, sent + 1)) - answered) for sent, answered in ended]
        every = sum(sent for sent, _ in ended)
        return Losses(every, sum(map(len, lost)), max(map(_in_a_row, lost)))


def _in_a_row(numbers: list[int]) -> int:
    """Return how many of these sorted numbers follow each other at most."""
    longest = length = 0
    for before, number in zip([-1, *numbers], numbers, strict=False):
        length = length + 1 if number == before + 1 else 1
        longest = max(longest, length)
    return longest


def bare(stage: Stage) -> Losses:
    """Return what the pings lose while ports come and go that no pod has, without an agent's work.

    Open vSwitch's userspace datapath stops its threads for each port that comes or goes.
    """
    node, pings = stage.bed.node(0), Pings(stage)
    for number in range(BARE):
        name = f"bare{number}"
        node.vsctl("add-port", "br-int", name, "--", "set", "Interface", name, "type=internal")
        time.sleep(BARE_PAUSE)
        node.vsctl("del-port", "br-int", name)
        time.sleep(BARE_PAUSE)
    return pings.end()


class Load:
    """Pods with two networks that come and go on the first node, and pings that never stop."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self._stage, self._random = stage, random.Random(f"{seed} load")
        self._stopped = Event()
        self._thread = Thread(target=self._run, name="load", daemon=True)
        self._pings = Pings(stage)
        self.pods = 0
        self._thread.start()

    def stop(self) -> Losses:
        """End it."""
        self._stopped.set()
        self._thread.join(timeout=180)
        losses = self._pings.end()
        everyone = [f"transient{number}" for number in range(TRANSIENT)]
        words = ("--ignore-not-found", "--force", "--grace-period=0")
        self._stage.bed.kubectl("delete", "pod", *everyone, *words, timeout=90)
        return losses

    def _run(self) -> None:
        """Create or delete one of the transient pods, again and again."""
        there: set[str] = set()
        while not self._stopped.wait(self._random.uniform(0.3, 1.5)):
            name = f"transient{self._random.randrange(TRANSIENT)}"
            with suppress(BedError, OSError):
                self._turn(name, there)

    def _turn(self, name: str, there: set[str]) -> None:
        bed = self._stage.bed
        if name in there:
            bed.kubectl("delete", "pod", name, "--force", "--grace-period=0", "--ignore-not-found")
            there.discard(name)
        else:
            body = _pod(name, "n0", FIRST, "transient")
            bed.kubectl("apply", "-f", "-", stdin=json.dumps(body))
            there.add(name)
            self.pods += 1
