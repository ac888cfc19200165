"""The faults of the node as a gateway that foreign tools cause, as command lines.

Those that kube-ovn-cni never repairs are among them: docs/explanation/gateway.md names them.
"""

from __future__ import annotations

from proofs.drift.faults import Fault, tools
from proofs.drift.gateway_facts import PRIORITY, TABLE

# Seconds. All are of two keys, whose budget allows so many repairs in the long run.
_APART = 2.5


def _fault(name: str, breaks: str, *lines: str, cleanup: tuple[str, ...] = ()) -> Fault:
    made, after = tools(*lines), tools(*cleanup)
    key = "node/ovn0" if breaks.startswith("ovn0") else "node/gateway"
    return Fault(name, "node", made, breaks=breaks, cleanup=after, min_interval=_APART, budget=key)


TABLES = [
    _fault("gateway: table deleted", "gateway ", "nft delete table inet ovnlet"),
    _fault(
        "gateway: table dormant",
        "gateway table",
        "nft add table inet ovnlet {{ flags dormant ; }}",
    ),
    _fault(
        "gateway: element of a set lost",
        "gateway set nat4",
        "nft delete element inet ovnlet nat4 {{ 10.16.0.0/16 }}",
    ),
    _fault(
        "gateway: foreign element in a set",
        "gateway set no-snat4",
        "nft add element inet ovnlet no-snat4 {{ 10.99.0.0/16 }}",
    ),
    _fault(
        "gateway: set flushed, IPv6", "gateway set subnets6", "nft flush set inet ovnlet subnets6"
    ),
    _fault(
        "gateway: set of a policy flushed",
        "gateway set policy-ovn-default-2-daddr4",
        "nft flush set inet ovnlet policy-ovn-default-2-daddr4",
    ),
    _fault(
        "gateway: foreign set in the table",
        "gateway set theirs",
        "nft add set inet ovnlet theirs {{ type mark ; }}",
    ),
    _fault(
        "gateway: chain of a policy flushed",
        "gateway chain policy-ovn-default",
        "nft flush chain inet ovnlet policy-ovn-default",
    ),
    _fault(
        "gateway: foreign rule in front",
        "gateway chain postrouting",
        "nft insert rule inet ovnlet postrouting ip daddr 198.51.100.9 accept",
    ),
    _fault(
        "gateway: chain deleted",
        "gateway chain tunnels",
        "nft flush chain inet ovnlet tunnels",
        "nft delete chain inet ovnlet tunnels",
    ),
    _fault(
        "gateway: policy of a chain changed",
        "gateway chain counted",
        "nft add chain inet ovnlet counted {{ policy drop ; }}",
    ),
    _fault(
        "gateway: foreign chain at a hook",
        "gateway chain theirs",
        "nft add chain inet ovnlet theirs {{ type filter hook input priority 0 ; }}",
    ),
    _fault(
        "gateway: map of counters flushed",
        "gateway set egress4",
        "nft flush map inet ovnlet egress4",
    ),
    _fault(
        "gateway: foreign counter",
        "gateway counter theirs",
        "nft add counter inet ovnlet theirs",
    ),
]
ROUTING = [
    _fault("egress gateway: rule deleted", "gateway rules -4", f"ip rule del pref {PRIORITY}"),
    _fault(
        "egress gateway: rule deleted, IPv6", "gateway rules -6", f"ip -6 rule del pref {PRIORITY}"
    ),
    _fault(
        "egress gateway: stale rule",
        "gateway rules -4",
        f"ip rule add from 10.20.0.9 lookup {TABLE} pref {PRIORITY} proto 157",
    ),
    _fault("egress gateway: table flushed", "gateway routes -4", f"ip route flush table {TABLE}"),
    _fault(
        "egress gateway: table flushed, IPv6",
        "gateway routes -6",
        f"ip -6 route flush table {TABLE}",
    ),
    _fault(
        "egress gateway: another gateway in the table",
        "gateway routes -4",
        f"ip route replace default via 172.30.0.77 dev eth0 table {TABLE} proto 157",
    ),
    _fault(
        "egress gateway: stale table",
        "gateway routes -4",
        "ip route add default via 172.30.0.77 dev eth0 table 1002 proto 157",
    ),
]
ACCEPTS = [
    _fault("FORWARD: an accept deleted", "gateway accepts ip ", "iptables -D FORWARD 1"),
    _fault("FORWARD: an accept deleted, IPv6", "gateway accepts ip6 ", "ip6tables -D FORWARD 2"),
    _fault(
        "FORWARD: accepts sunk below a rule of others",
        "gateway accepts ip ",
        "iptables -I FORWARD -s 198.51.100.0/24 -j DROP",
        cleanup=("iptables -D FORWARD -s 198.51.100.0/24 -j DROP",),
    ),
    _fault(
        "FORWARD: a stale accept of ours",
        "gateway accepts ip ",
        "iptables -I FORWARD -s 10.99.0.0/16 -m comment --comment ovnlet -j ACCEPT",
    ),
]
# Not its MTU: ovs-vswitchd sets that of an internal port again by its row (mtu_request).
OVN0 = [
    _fault("ovn0: address deleted", "ovn0 ", "ip address del 100.64.0.2/16 dev ovn0"),
    _fault(
        "ovn0: route with another gateway",
        "ovn0 routes -4",
        "ip route replace 10.16.0.0/16 via 100.64.0.9 dev ovn0 proto 157",
    ),
    _fault(
        "ovn0: route of another metric beside ours, IPv6",
        "ovn0 routes -6",
        "ip -6 route add fd00:10:16::/64 via fd00:100:64::1 dev ovn0 proto static metric 1024",
    ),
    _fault(
        "ovn0: route with another source",
        "ovn0 routes -4",
        "ip route replace 10.16.0.0/16 via 100.64.0.1 dev ovn0 proto 157 src 172.30.0.10",
    ),
]
OF_THE_GATEWAY = [*TABLES, *ROUTING, *ACCEPTS, *OVN0]
