"""The conditions of a gateway: what is seen by traffic, and how a foreign tool breaks it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from proofs.gateway.cluster import (
    DESIGNATED,
    EXEMPT,
    FAR,
    FORWARDED,
    JOIN_IP,
    OUTSIDE,
    Cluster,
)
from proofs.gateway.pods import speak
from proofs.gateway.services import cluster_ip, node_port
from proofs.gateway.traffic import MARKED, PORT, SEGMENT
from testbed import layout

ACK, RST = "16", "4"
DROPPED, UNMARKED, COUNTED = "dropped", "unmarked", "counted"
_IPTABLES = {4: "iptables", 6: "ip6tables"}
_IP = {4: "ip", 6: "ip6"}
_FLUSHED = "nft flush chain inet ovnlet postrouting"


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition for one family.

    ``look`` returns what is seen, and ``expected`` what should be. ``breaks`` are command lines on
    the node. ``slice`` is whether CI runs it.
    """

    name: str
    family: int
    look: Callable[[Cluster], str]
    expected: str
    breaks: str
    slice: bool = False


def node_ip(family: int, index: int = 0) -> str:
    """Return an address of a node."""
    return layout.node_ip(index) if family == 4 else layout.node_ip6(index)


def _translation(f: int) -> list[Condition]:
    """Return the conditions of what leaves the cluster."""
    return [
        Condition(
            "natOutgoing: masquerade",
            f,
            lambda c: c.pods["a"].sees(OUTSIDE[f]),
            node_ip(f),
            f"nft flush set inet ovnlet nat{f}",
            slice=True,
        ),
        Condition(
            "destination of the setting no_snat",
            f,
            lambda c: c.pods["a"].sees(EXEMPT[f]),
            "pod a",
            f"nft flush set inet ovnlet no-snat{f}",
        ),
        Condition(
            "natOutgoingPolicyRules: the first match forwards",
            f,
            lambda c: c.pods["ccc"].sees(FORWARDED[f]),
            "pod ccc",
            "nft flush chain inet ovnlet policy-policies",
            slice=True,
        ),
        Condition(
            "natOutgoingPolicyRules: a later /0 translates",
            f,
            lambda c: c.pods["ccc"].sees(OUTSIDE[f]),
            node_ip(f),
            "nft insert rule inet ovnlet policy-policies accept",
        ),
        Condition(
            "centralized: SNAT to an address of the node",
            f,
            lambda c: c.pods["dddd"].sees(OUTSIDE[f]),
            DESIGNATED[f],
            _FLUSHED,
            slice=True,
        ),
        Condition(
            "externalEgressGateway: rule of routing",
            f,
            lambda c: c.pods["eeeee"].sees(FAR[f]),
            "pod eeeee",
            f"ip -{f} rule del pref 3000",
            slice=True,
        ),
        Condition(
            "externalEgressGateway: table of routing",
            f,
            lambda c: c.pods["eeeee"].sees(FAR[f]),
            "pod eeeee",
            f"ip -{f} route flush table 1001",
        ),
        Condition(
            "FORWARD policy DROP (iptables-nft): accepts in front",
            f,
            lambda c: c.pods["a"].sees(OUTSIDE[f]),
            node_ip(f),
            f"{_IPTABLES[f]} -F FORWARD",
            slice=True,
        ),
    ]


def _services(f: int) -> list[Condition]:
    """Return the conditions of Services, with kube-proxy in iptables mode."""
    return [
        Condition(
            "pod to ClusterIP: the reply comes back",
            f,
            lambda c: c.pods["a"].sees(cluster_ip("plain", f)),
            JOIN_IP[f],
            _FLUSHED,
            slice=True,
        ),
        Condition(
            "externalTrafficPolicy Local: the pod sees the client",
            f,
            lambda c: speak(c.outside, [], node_ip(f), node_port("local", f), OUTSIDE[f]),
            OUTSIDE[f],
            f"nft insert rule inet ovnlet postrouting {_IP[f]} daddr @distributed{f} masquerade",
        ),
        Condition(
            "externalTrafficPolicy Local: a client on another node",
            f,
            lambda c: speak(c.bed.node(1), [], node_ip(f), node_port("local", f)),
            JOIN_IP[f],
            f"nft flush set inet ovnlet peers{f}",
            slice=True,
        ),
        Condition(
            "externalTrafficPolicy Local: a pod of a centralized Subnet",
            f,
            lambda c: speak(c.outside, [], node_ip(f), node_port("far", f)),
            JOIN_IP[f],
            "nft flush set inet ovnlet local-ports",
        ),
    ]


def _filters(f: int) -> list[Condition]:
    """Return the conditions of what is dropped, cleared of its mark, and counted."""
    return [
        Condition(
            "centralized: a late packet is dropped, not sent untranslated",
            f,
            lambda c: _segment(c, "dddd", ACK, f),
            DROPPED,
            f"nft flush chain inet ovnlet dropped; {_FLUSHED}",
        ),
        Condition(
            "a reset of a connection that is not known is dropped",
            f,
            lambda c: _segment(c, "a", RST, f),
            DROPPED,
            "nft flush chain inet ovnlet dropped",
        ),
        Condition(
            "tunnel packets lose the mark of the packet inside",
            f,
            lambda c: _marked(c, f),
            UNMARKED,
            "nft flush chain inet ovnlet tunnels",
        ),
        Condition(
            "counters of a Subnet, in the agent's metrics",
            f,
            lambda c: _counted(c, f),
            COUNTED,
            f"nft flush map inet ovnlet egress{f}",
        ),
    ]


def _segment(cluster: Cluster, name: str, flags: str, family: int) -> str:
    pod = cluster.pods[name]
    words = ("python3", "-c", SEGMENT, pod.ips[family], OUTSIDE[family], flags)
    return cluster.sniff(pod.enter(*words)) or DROPPED


def _marked(cluster: Cluster, family: int) -> str:
    """Send a marked datagram to the port of a tunnel; a table of the proof's own sees the mark.

    It looks before kube-proxy's chain, which takes that mark away.
    """
    node = cluster.node
    node.sh(
        "nft 'add table inet proof; delete table inet proof; add table inet proof;"
        " add chain inet proof c { type filter hook output priority 10 ; };"
        " add rule inet proof c udp dport 6081 meta mark 0x4000 counter'"
    )
    node.run(["python3", "-c", MARKED, OUTSIDE[family]])
    seen = node.run(["nft", "list", "table", "inet", "proof"])
    return UNMARKED if "packets 0" in seen else "marked"


def _counted(cluster: Cluster, family: int) -> str:
    """Return whether a pod's traffic is counted: by the agent's metrics, without it by nft."""
    name = f"egress-{family}-ovn-default"
    labels = (f'subnet_name="ovn-default/egress/IPv{family}"', 'hostname="n0"')

    def packets() -> float:
        if cluster.agent is not None:
            return cluster.metric("ovn_subnet_gateway_packets", *labels)
        words = ["nft", "list", "counter", "inet", "ovnlet", name]
        text = cluster.node.result(words).stdout.split()
        return int(text[text.index("packets") + 1]) if "packets" in text else -1

    before = packets()
    cluster.pods["a"].sees(OUTSIDE[family], PORT)
    return COUNTED if packets() > before >= 0 else "not counted"


def every() -> list[Condition]:
    """Return all conditions, those of one family after those of the other."""
    return [
        condition
        for family in (4, 6)
        for group in (_translation, _services, _filters)
        for condition in group(family)
    ]
