"""`python -m proofs.kernel.ipvs`: Services of the gateway with kube-proxy in IPVS mode.

The machine's own kernel may have no IPVS; Debian's has it. The outside of the cluster is a
namespace of the virtual machine. Rows as in build/gateway.json, in build/gateway-ipvs.json.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from kit.report import write_rows
from proofs.drift.carrying import heed_signals
from proofs.gateway import services
from proofs.gateway.cluster import JOIN_IP, Cluster, apply, prepare
from proofs.gateway.conditions import Condition, node_ip
from proofs.gateway.pods import Pod, attach, speak
from proofs.gateway.row import Row
from proofs.gateway.services import cluster_ip, node_port
from proofs.gateway.traffic import LISTEN, PORT
from proofs.kernel import stage
from testbed import progress
from testbed.service import BedError, wait_for

NAME = "gateway-ipvs"
PODS = {"a": "ovn-default", "bb": "ovn-default", "dddd": "central"}
# Outside: a client, and one at the address of another Node. The node's own end of that link.
CLIENT = {4: "203.0.113.2", 6: "2001:db8:113::2"}
PEER = {4: "203.0.113.3", 6: "2001:db8:113::3"}
OWN = {4: "203.0.113.1", 6: "2001:db8:113::1"}
OUTSIDE = ["ip", "netns", "exec", "outside"]
WITHIN, STAYS = 10.0, 0.5  # seconds
MODULES = (
    "ip_vs ip_vs_rr ip_vs_wrr ip_vs_sh nf_conntrack dummy xt_set xt_comment xt_addrtype"
    " ip_set_bitmap_port ip_set_hash_ip ip_set_hash_ipport ip_set_hash_ipportip"
    " ip_set_hash_ipportnet"
)
_FLUSHED = "nft flush chain inet ovnlet postrouting"
_IP, _LENGTH = {4: "ip", 6: "ip6"}, {4: 24, 6: 64}


def every(f: int) -> list[Condition]:
    """Return the conditions of a family."""
    return [
        Condition(
            "natOutgoing: masquerade",
            f,
            lambda c: c.pods["a"].sees(CLIENT[f]),
            OWN[f],
            f"nft flush set inet ovnlet nat{f}",
        ),
        Condition(
            "node to ClusterIP: the pod sees the InternalIP",
            f,
            lambda c: speak(c.node, [], cluster_ip("plain", f), PORT),
            node_ip(f),
            _FLUSHED,
        ),
        Condition(
            "pod to ClusterIP: the reply comes back",
            f,
            lambda c: c.pods["a"].sees(cluster_ip("plain", f)),
            JOIN_IP[f],
            _FLUSHED,
        ),
        Condition(
            "externalTrafficPolicy Local: the pod sees the client",
            f,
            lambda c: speak(c.node, OUTSIDE, OWN[f], node_port("local", f), CLIENT[f]),
            CLIENT[f],
            f"nft insert rule inet ovnlet postrouting {_IP[f]} daddr @distributed{f} masquerade",
        ),
        Condition(
            "externalTrafficPolicy Local: a client on another node",
            f,
            lambda c: speak(c.node, OUTSIDE, OWN[f], node_port("local", f), PEER[f]),
            JOIN_IP[f],
            f"nft flush set inet ovnlet peers{f}",
        ),
        Condition(
            "externalTrafficPolicy Local: a pod of a centralized Subnet",
            f,
            lambda c: speak(c.node, OUTSIDE, OWN[f], node_port("far", f), CLIENT[f]),
            JOIN_IP[f],
            "nft flush set inet ovnlet local-ports",
        ),
    ]


@contextmanager
def serving() -> Iterator[Cluster]:
    """Run a virtual machine with an agent, pods, servers, and kube-proxy in IPVS mode."""
    with stage.booted(f"ipvs-{os.getpid()}") as (bed, _):
        cluster = Cluster(bed)
        _outside(cluster)
        prepare(bed)
        _peer(cluster)
        cluster.start()
        for name, subnet in PODS.items():
            cluster.pods[name] = attach(bed, Pod(name, subnet, cluster.node))
        servers = {name: cluster.pods[name].enter() for name in ("bb", "dddd")}
        for name, enter in (servers | {"outside": OUTSIDE}).items():
            for family in ("4", "6"):
                words = [*enter, "python3", "-c", LISTEN, family, str(PORT)]
                cluster.node.spawn(f"server-{name}-{family}", words)
        services.make(cluster, "ipvs")
        cluster.node.run(["ip", "link", "show", "kube-ipvs0"])
        yield cluster


def _outside(cluster: Cluster) -> None:
    """Make a namespace with a client, whose gateway the node is."""
    lines = [
        f"modprobe -a {MODULES}",
        "ip netns add outside",
        "ip link add client type veth peer name eth0 netns outside",
        "ip link set client up; ip -n outside link set eth0 up; ip -n outside link set lo up",
    ]
    for family, own in OWN.items():
        add, length, ip = "address add", _LENGTH[family], f"ip -{family}"
        safe = "nodad" if family == 6 else ""
        lines += [
            f"{ip} {add} {own}/{length} dev client {safe}",
            f"{ip} address replace {node_ip(family)} dev lo",
            f"{ip} -n outside {add} {CLIENT[family]}/{length} dev eth0 {safe}",
            f"{ip} -n outside {add} {PEER[family]}/{length} dev eth0 {safe}",
            f"{ip} -n outside route add default via {own} src {CLIENT[family]}",
        ]
    cluster.node.sh("\n".join(lines))


def _peer(cluster: Cluster) -> None:
    """Make a second Node, at an address of the client."""
    apply(cluster.bed, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}})
    addresses = [{"type": "InternalIP", "address": each} for each in PEER.values()]
    cluster.bed.api.patch("/api/v1/nodes/n1/status", {"status": {"addresses": addresses}})


def main() -> int:
    """Run every condition; return 0 if all hold, else 1."""
    heed_signals()
    conditions = [each for family in (4, 6) for each in every(family)]
    rows = [Row(f"{each.name} (IPVS)", f"IPv{each.family}") for each in conditions]
    with serving() as cluster:
        with progress.step(f"{len(rows)} conditions: seen, broken, repaired"):
            for condition, row in zip(conditions, rows, strict=True):
                _try(cluster, condition, row)
        cluster.kill()
        with progress.step(f"{len(rows)} conditions: broken without an agent"):
            for condition, row in zip(conditions, rows, strict=True):
                _control(cluster, condition, row)
    write_rows(NAME, rows)
    for row in rows:
        words = f"{row.family} {row.condition}: {row.seen}, repaired {row.repaired_ms} ms"
        progress.say(f"{'   ' if row.holds else 'NOT'} {words}, control {row.control_broken}")
    return 0 if all(row.holds for row in rows) else 1


def _holds(cluster: Cluster, condition: Condition, row: Row) -> bool:
    def holds() -> bool:
        row.seen = condition.look(cluster)
        return row.seen == condition.expected

    try:
        return wait_for(holds, condition.name, WITHIN * cluster.node.patience)
    except BedError:
        return False


def _try(cluster: Cluster, condition: Condition, row: Row) -> None:
    """Look, break it, and wait until it is seen again."""
    row.ok = _holds(cluster, condition, row)
    if not row.ok:
        progress.say(f"    {row.condition}: {row.seen!r}, not {condition.expected!r}")
        return
    cluster.node.sh(condition.breaks)
    began = time.monotonic()
    row.repaired = _holds(cluster, condition, row)
    row.repaired_ms = round((time.monotonic() - began) * 1000, 1) if row.repaired else None


def _control(cluster: Cluster, condition: Condition, row: Row) -> None:
    """Break it without an agent: it stays broken. Then put the table back."""
    if not row.ok:
        return
    save = "nft list table inet ovnlet >/run/gateway.nft"
    cluster.node.sh(save)
    stands = condition.look(cluster) == condition.expected
    cluster.node.sh(condition.breaks)
    time.sleep(STAYS)
    row.control_broken = stands and condition.look(cluster) != condition.expected
    cluster.node.sh("nft delete table inet ovnlet; nft -f /run/gateway.nft")


if __name__ == "__main__":
    sys.exit(main())
