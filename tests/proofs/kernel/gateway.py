"""What makes a virtual machine without kubelet a gateway: its Node, the Subnets, and its firewall.

kubelet would register the Node, kube-proxy would make the chains of iptables, and a node's own
network would have the control space on its link.
"""

from __future__ import annotations

from ipaddress import ip_interface

from proofs.drift import provision
from testbed import guest_boot, layout
from testbed.assign import Assigner
from testbed.bed import Bed
from testbed.service import wait_for

LINK = guest_boot.LINK
_NETWORK = ip_interface(f"{layout.CONTROL_IP}/24").network
# QEMU answers no ARP for an address of the control space, but forwards what is sent to its own MAC.
_ON_LINK = f"""
ip address replace {layout.node_ip(0)}/24 dev {LINK} noprefixroute
ip route replace {_NETWORK} dev {LINK} src {guest_boot.ADDRESS}
mac=$(ip neigh show {guest_boot.GATEWAY} dev {LINK} | sed -n 's/.*lladdr \\([^ ]*\\).*/\\1/p')
ip neigh replace {layout.CONTROL_IP} dev {LINK} lladdr $mac nud permanent
ip -6 address replace {layout.node_ip6(0)}/64 dev {LINK} nodad
"""
_CHAINS = """
for tables in iptables ip6tables; do
    $tables -N KUBE-FORWARD
    $tables -A FORWARD -j KUBE-FORWARD
done
"""
_ADDRESS = "100.64.0.2"  # of the node's interface, as the first node gets it


def prepare(bed: Bed) -> None:
    """Make the node a gateway; return once the agent has its table and the node's interface."""
    node = bed.node()
    lay(bed)
    addresses = [layout.node_ip(0), layout.node_ip6(0)]
    body = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node.role},
        "status": {"addresses": [{"type": "InternalIP", "address": each} for each in addresses]},
    }
    bed.api.create("/api/v1/nodes", body)
    Assigner(bed.api, bed.nbctl).add_node(body)
    provision.make_subnets(bed)
    wait(bed)


def lay(bed: Bed) -> None:
    """Do the part of it that each boot of the virtual machine needs."""
    bed.node().sh(f"set -e\n{_ON_LINK}{_CHAINS}")


def wait(bed: Bed) -> None:
    """Wait until the node's interface has its address."""
    node = bed.node()
    wait_for(lambda: _ADDRESS in node.sh("ip -br address show dev ovn0 || :"), "ovn0", timeout=120)
