"""Sentinels: foreign objects on the node that ovnlet must not touch.

They are created before the run and compared by inventory.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable

from proofs.drift.observe import in_netns
from testbed import inventory as whole
from testbed.inventory import Inventory, Section

TABLE = "foreign"
NAMES = (
    "vendor0",
    "br-up",
    "up0",
    "up1",
    "to-up",
    "to-int",
    "foreign-tun",
    "feedbeef0123_h",
    "feedbeef0123_c",
    TABLE,
)
MARKS = ("10.77.0.", "fd00:77:", "203.0.113.0/24", "2001:db8:99:")
# What the kernel or ovs-vswitchd assigns again when an internal port or a bridge comes back.
_ASSIGNED = (
    "ifindex",
    "link_index",
    "qdisc",
    "group",
    "txqlen",
    "num_tx_queues",
    "num_rx_queues",
    "operstate",
    "flags",
)
_ASSIGNED_COLUMNS = ("interfaces", "ports", "ofport", "mac_in_use", "error", "admin_state", "mtu")
_SECTIONS: dict[str, Callable[[], Section]] = {
    "links": whole.links,
    "addresses": whole.addresses,
    "routes": whole.routes,
    "firewall": whole.firewall,
    "ovsdb": whole.ovsdb,
}
_INSIDE = ("addresses", "routes")

_IN_OVS = (
    "ovs-vsctl add-port br-int vendor0"
    " -- set interface vendor0 type=internal mac='\"0a:77:00:00:00:01\"' external_ids:vendor=other"
    " external_ids:pod_name=alien external_ids:pod_namespace=default",
    "ovs-vsctl add-br br-up -- set bridge br-up datapath_type={datapath}"
    " other_config:hwaddr=0a:77:00:00:00:02 -- add-port br-up up0",
    "ovs-vsctl add-port br-int to-up -- set interface to-up type=patch options:peer=to-int"
    " -- add-port br-up to-int -- set interface to-int type=patch options:peer=to-up",
    "ovs-vsctl add-port br-int foreign-tun"
    " -- set interface foreign-tun type=geneve options:remote_ip=203.0.113.9 options:key=99",
)
_IN_KERNEL = (
    "ip link add up0 type veth peer name up1",
    "ip address add 198.18.0.1/24 dev up1",
    "ip link set up0 up",
    "ip link set up1 up",
    "ip link add feedbeef0123_h type veth peer name feedbeef0123_c",
    "ip link set feedbeef0123_h up",
    f"nft add table inet {TABLE}",
    f"nft 'add chain inet {TABLE} count {{ type filter hook input priority 10; }}'",
    f"nft add rule inet {TABLE} count udp dport 4789 accept",
)
IN_KERNEL = [shlex.split(line) for line in _IN_KERNEL]


def in_ovs(datapath: str) -> list[list[str]]:
    """Return commands that add ports, bridges and tunnels to a switch with this datapath."""
    return [shlex.split(line.format(datapath=datapath)) for line in _IN_OVS]


def in_pod(netns: str) -> list[list[str]]:
    """Return commands that add addresses and routes to one of our pods, as NET_ADMIN permits."""
    name = netns.rpartition("/")[2]
    lines = (
        "address add 10.77.0.1/24 dev eth0",
        "-6 address add fd00:77::1/64 dev eth0 nodad",
        "route add 203.0.113.0/24 via 10.16.0.1",
        "-6 route add 2001:db8:99::/64 via fd00:10:16::1",
    )
    return [["ip", "-n", name, *line.split()] for line in lines]


def inventory(netns: str | None) -> Inventory:
    """Return the sentinels as they are now; with ``netns``, also those inside that pod."""
    found = {name: _plain(name, _only(section(), NAMES)) for name, section in _SECTIONS.items()}
    if netns:
        with in_netns(netns):
            found |= {f"pod {name}": _only(_SECTIONS[name](), MARKS) for name in _INSIDE}
    return found


def _only(section: Section, words: tuple[str, ...]) -> Section:
    return {key: value for key, value in section.items() if any(word in key for word in words)}


def _plain(name: str, section: Section) -> Section:
    assigned = {"links": _ASSIGNED, "ovsdb": _ASSIGNED_COLUMNS}.get(name, ())
    return {
        key: {fact: kept for fact, kept in value.items() if fact not in assigned}
        if isinstance(value, dict)
        else value
        for key, value in section.items()
    }


def unsettled(found: Inventory) -> bool:
    """Return whether duplicate address detection still runs for an address."""
    return any("tentative" in facts for facts in found["addresses"].values())
