"""The power of a node is cut half-way, forth and back: after its restart the node is whole.

Its database, its files and the cluster's objects stay; processes, namespaces, links, chains and
everything under /run are gone. What kubelet does after a restart is done here: DEL of the old
sandboxes, ADD of new ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from proofs.gateway.cluster import OUTSIDE, Cluster
from proofs.gateway.conditions import node_ip
from proofs.gateway.pods import again, speak
from proofs.gateway.traffic import LISTEN, PORT
from proofs.migration import kube_ovn
from proofs.migration.policy import PROBED
from testbed import progress
from testbed.service import BedError, wait_for

# When the power is cut, one for each round. Forth: once a command succeeds; back: after so many
# lines of the hand-back.
FORTH_AT = {
    "the first record is there": "ls /run/ovnlet/sandboxes/*.json",
    "ovnlet's table is there": "nft list table inet ovnlet",
    "kube-ovn-cni's chains are gone": "! iptables-save | grep OVN-MASQUERADE",
}
BACK_AT = (1, 4, 8)
WITHIN = 60.0
FORTH, BACK = "power cut on the way forth", "power cut on the way back"
# What may be there of us after a hand-back, and is not.
_LEFT = (
    "nft list tables | grep ovnlet; iptables-save | grep ovnlet; ip6tables-save | grep ovnlet;"
    " ip rule | grep 'proto 157'; ip -6 rule | grep 'proto 157';"
    " ip route show table all proto 157; ip -6 route show table all proto 157;"
    " find /run/ovnlet -not -type d 2>/dev/null; ls -A /opt/cni/bin | grep ovnlet;"
    f" ls /etc/cni/net.d | grep -v 01-kube-ovn.conflist; ls {kube_ovn.SOCKET} 2>/dev/null"
)
Row = dict[str, Any]
Left = Callable[[], list[str]]


def rows(cluster: Cluster, left: Left, hand_back: list[str], rounds: int) -> list[Row]:
    """Cut the power in both directions, and return rows for what is there after each restart.

    ``left`` returns what is not taken over yet, ``hand_back`` is the command line of a hand-back.
    """
    found = []
    for number in range(rounds):
        reached, lines = list(FORTH_AT)[number % len(FORTH_AT)], BACK_AT[number % len(BACK_AT)]
        with progress.step(f"{FORTH}, when {reached}"):
            kube_ovn.take_place(cluster)
            found += _forth(cluster, left, reached)
        with progress.step(f"{BACK}, after line {lines}"):
            found += _back(cluster, left, hand_back, lines)
    return found


def _forth(cluster: Cluster, left: Left, reached: str) -> list[Row]:
    """Cut the power of a node that is being taken over. Without an agent the old ports stay."""
    old = {pod.port for pod in cluster.pods.values()}
    cluster.launch()
    words = ["sh", "-c", FORTH_AT[reached]]
    wait_for(lambda: cluster.node.result(words).returncode == 0, reached, timeout=60)
    _cut(cluster)
    stayed = old & _ports(cluster)
    found = _taken_over(cluster, left, FORTH)
    found[0]["without an agent"] = sorted(stayed)
    found[0]["ok"] &= stayed == old
    return found


def _back(cluster: Cluster, left: Left, hand_back: list[str], lines: int) -> list[Row]:
    """Cut the power of a node that is being handed back, hand it back, and take it over again."""
    cluster.kill()
    kube_ovn.start(cluster)
    running = cluster.node.popen(hand_back)
    assert running.stdout is not None
    said = [running.stdout.readline() for _ in range(lines)]
    _cut(cluster)
    kube_ovn.boot(cluster)
    rest = cluster.node.run(hand_back).splitlines()
    different = cluster.node.result(["sh", "-c", _LEFT]).stdout.splitlines()
    if (plugin := cluster.node.sh(f"cat {kube_ovn.PLUGIN}")) != kube_ovn.PLUGIN_TEXT:
        different.append(f"the plugin is {plugin[:80]!r}")
    row: Row = {"step": BACK, "traffic": "what is left", "different": different}
    row |= {"before": "".join(said).splitlines(), "after": rest, "ok": all(said) and not different}
    return [row, *_taken_over(cluster, left, f"{BACK}, then forth")]


def _cut(cluster: Cluster) -> None:
    cluster.bed.reboot(0)
    cluster.agent = None


def _taken_over(cluster: Cluster, left: Left, step: str) -> list[Row]:
    """Start the agent on a node after its restart, and its pods; return what is not as it must."""
    old = {pod.port for pod in cluster.pods.values()}
    cluster.start()
    cluster.pods = {name: again(cluster.bed, pod) for name, pod in cluster.pods.items()}
    different: list[str] = []

    def whole() -> bool:
        try:
            different[:] = [*left(), *sorted(old & _ports(cluster))]
        except BedError as error:  # a command that the agent cannot answer yet
            different[:] = [str(error)]
        return not different

    began = time.monotonic()
    with suppress(BedError):  # the row says what is left
        wait_for(whole, step, timeout=WITHIN, every=0.5)
    row: Row = {"step": step, "traffic": "what is left", "different": different}
    found = [row | {"seconds": round(time.monotonic() - began, 1), "ok": not different}]
    for family, address in OUTSIDE.items():
        seen = {name: pod.sees(address) for name, pod in cluster.pods.items() if name != PROBED}
        seen["a probe"] = _probed(cluster, family)
        row = {"step": step, "traffic": f"IPv{family}", "seen": seen}
        found.append(row | {"ok": set(seen.values()) == {node_ip(family)}})
    return found


def _probed(cluster: Cluster, family: int) -> str:
    """Return the address that the pod under the NetworkPolicy sees of a probe of its node."""
    pod = cluster.pods[PROBED]
    words = pod.enter("python3", "-c", LISTEN, str(family), str(PORT))
    server = cluster.node.popen(words)
    try:
        assert server.stdout is not None
        server.stdout.readline()
        return speak(cluster.node, [], pod.ips[family])
    finally:
        server.kill()


def _ports(cluster: Cluster) -> set[str]:
    return set(cluster.node.vsctl("list-ports", "br-int").split())
