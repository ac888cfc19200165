"""A NetworkPolicy on a pod, as Kube-OVN's controller writes it into OVN (pkg/ovs/ovn-nb-acl.go).

What comes to the pod is dropped, except from the InternalIPs of its own node: kubelet's probes.
"""

from __future__ import annotations

from proofs.gateway.cluster import JOIN_IP, Cluster
from proofs.gateway.conditions import node_ip

PROBED = "dddd"
_POLICY, _OF_NODE = "deny.default", "node.n0"


def deny(cluster: Cluster) -> None:
    """Write the policy for the pod that is probed."""
    nbctl, port = cluster.bed.nbctl, f"{PROBED}.default"
    for group in (_POLICY, _OF_NODE):
        nbctl("pg-add", group, port)
    for family in JOIN_IP:
        ip, own, pods = f"ip{family}", node_ip(family), f"${_OF_NODE}_ip{family}"
        drop = f"outport == @{_POLICY} && {ip}"
        nbctl("--type=port-group", "acl-add", _POLICY, "to-lport", "2000", drop, "drop")
        into, out = (
            f"{ip}.src == {own} && {ip}.dst == {pods}",
            f"{ip}.dst == {own} && {ip}.src == {pods}",
        )
        given = ("--type=port-group", "acl-add", _OF_NODE)
        nbctl(*given, "to-lport", "3000", into, "allow-stateless")
        nbctl("--apply-after-lb", *given, "from-lport", "3000", out, "allow-stateless")


def speak_as_join(cluster: Cluster) -> None:
    """Give the node's routes to pods its address in the join network as source."""
    for family, source in JOIN_IP.items():
        ip = f"ip -{family}"
        cluster.node.sh(
            f"{ip} route show dev ovn0 proto static | while read route; do"
            f' {ip} route replace $(echo "$route" | sed "s/src [^ ]*/src {source}/") dev ovn0; done'
        )
