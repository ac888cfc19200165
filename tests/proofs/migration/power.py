"""The power of a node is cut half-way through a take-over: after its restart it is whole.

Its database, its files and the cluster's objects stay; the old sandboxes, chains, sets and routes
are gone. What kubelet does after a restart is done here: DEL of the old sandboxes, ADD of new ones.
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
from proofs.migration.policy import PROBED
from testbed.service import BedError, wait_for

CUT_AFTER = 0.8  # seconds after the agent's start
WITHIN, RESYNC = 60.0, 10  # seconds
STEP = "the power is cut half-way, and the node restarts"


def rows(cluster: Cluster, left: Callable[[], list[str]]) -> list[dict[str, Any]]:
    """Cut the power, start the node and its pods again, and return a row for what is there then.

    ``left`` returns what is not taken over yet. The control is that without an agent the ports of
    the old sandboxes stay.
    """
    old = {pod.port for pod in cluster.pods.values()}
    cluster.launch()
    time.sleep(CUT_AFTER)
    cluster.bed.reboot(0)
    cluster.agent = None
    stayed = old & _ports(cluster)
    # Ports that were adopted before the cut are garbage, which goes after two rounds of the sweep.
    cluster.flags = (*cluster.flags, f"--resync={RESYNC}")
    cluster.start()
    cluster.pods = {name: again(cluster.bed, pod) for name, pod in cluster.pods.items()}
    different: list[str] = []

    def whole() -> bool:
        try:
            different[:] = [*left(), *sorted(old & _ports(cluster))]
        except BedError as error:  # a command that the agent cannot answer yet
            different[:] = [str(error)]
        return not different

    with suppress(BedError):  # the row says what is left
        wait_for(whole, STEP, timeout=WITHIN, every=0.5)
    first: dict[str, Any] = {"step": STEP, "traffic": "the node's inventory"}
    first |= {"different": different, "without an agent": sorted(stayed)}
    found = [first | {"ok": not different and stayed == old}]
    for family, address in OUTSIDE.items():
        seen = {name: pod.sees(address) for name, pod in cluster.pods.items() if name != PROBED}
        seen["a probe"] = _probed(cluster, family)
        row: dict[str, Any] = {"step": STEP, "traffic": f"IPv{family}", "seen": seen}
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
