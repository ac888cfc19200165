"""Faults of what forwards: OVN's flows, OpenFlow's port flags, ARP, loopback, the tunnel's address.

OpenFlow and `lo` send no notification that the agent follows: it looks at the switch every second,
and at `lo` with each resync.
"""

from __future__ import annotations

from proofs.drift.faults import Fault, tools

_BRIDGE = "br-int"
TABLES = (0, 65)  # OVN's first and last
_ELSEWHERE = "203.0.113.77"
# Seconds. The agent has ovn-controller install its flows twice in a row, and then once a minute.
_REMEDY = 61.0

IN_PODS = [
    Fault("pod link's ARP switched off", "pod", tools("ip -n {ns} link set eth0 arp off")),
    Fault("pod's lo set down", "pod", tools("ip -n {ns} link set lo down"), klass="resync"),
    Fault(
        "port told not to forward",
        "ovs",
        tools(f"ovs-ofctl mod-port {_BRIDGE} {{port}} no-forward"),
        klass="resync",
    ),
]
OF_THE_NODE = [
    Fault(
        "all of OVN's flows deleted",
        "node",
        tools(f"ovs-ofctl -O OpenFlow15 del-flows {_BRIDGE}"),
        klass="resync",
        min_interval=_REMEDY,
        budget="node/flows",
        breaks="table ",
    ),
    Fault(
        "OVN's first table emptied",
        "node",
        tools(f"ovs-ofctl -O OpenFlow15 del-flows {_BRIDGE} table={TABLES[0]}"),
        klass="resync",
        min_interval=_REMEDY,
        budget="node/flows",
        breaks=f"table {TABLES[0]}",
    ),
    Fault(
        "ovn-encap-ip changed",
        "node",
        tools(f"ovs-vsctl set Open_vSwitch . external_ids:ovn-encap-ip={_ELSEWHERE}"),
        breaks="chassis ovn-encap-ip",
    ),
]
