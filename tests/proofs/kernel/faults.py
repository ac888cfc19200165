"""The drift table on the kernel's datapath: what of it applies there, and what only that has."""

from __future__ import annotations

from proofs.drift import outages, table
from proofs.drift.faults import Fault, tools
from proofs.drift.node_faults import NODE_FAULTS
from proofs.drift.plan import Plan
from proofs.kernel import reboot
from proofs.kernel.module import reloaded

# The kernel's datapath fills in checksums, so that the pod's offload is nobody's business there.
USERSPACE_ONLY = ("tx-checksum switched on",)
POLICED = "burst 1mb mtu 64kb drop"

DATAPATH = [
    Fault("police filter deleted", "ovs", tools("tc filter del dev {port} ingress"), limited=True),
    Fault("ingress qdisc deleted", "ovs", tools("tc qdisc del dev {port} ingress"), limited=True),
    Fault(
        "police filter replaced",
        "ovs",
        tools(
            "sh -ec 'tc filter del dev {port} ingress; tc filter add dev {port} ingress protocol"
            f" all prio 1 matchall action police rate 77mbit {POLICED}'"
        ),
        limited=True,
    ),
    Fault(
        "netem's delay altered",
        "ovs",
        tools("tc qdisc change dev {port} parent 1:1 handle 158: netem delay 99ms"),
        limited=True,
    ),
]
FAULTS = [each for each in table.FAULTS if each.name not in USERSPACE_ONLY] + DATAPATH
# No kubelet restarts a killed agent here, and the API server's outage is none of the datapath's.
_ELSEWHERE = ("agent killed", "API server away for 3 min")
OUTAGES = [
    *(each for each in outages.OUTAGES if each.name not in _ELSEWHERE),
    outages.Outage("openvswitch module reloaded", reloaded, outages.IN_KERNEL),
]
# Of each layer some, and all that only the kernel's datapath has.
SLICE = (
    *(fault.name for fault in DATAPATH),
    "port removed from br-int",
    "port on another bridge",
    "iface-id removed",
    "all external_ids cleared",
    "ovn-installed lost",
    "host veth deleted",
    "host veth set down",
    "pod MAC changed",
    "pod addresses flushed",
    "default route replaced",
    "all routes flushed",
    "QoS and Queue rows destroyed",
    "host qdisc deleted",
    "host class's queue deleted",
    "pod's shaper deleted",
    "pod's shaper altered",
)


def whole(repeats: int, pairs: int) -> Plan:
    """Return the plan of all kinds that apply."""
    return Plan(FAULTS, NODE_FAULTS, OUTAGES, [reboot.CHECK], repeats, pairs)


def a_slice(repeats: int) -> Plan:
    """Return the plan of the 20 kinds that every CI run includes."""
    return Plan([fault for fault in FAULTS if fault.name in SLICE], [], [], [], repeats)
