"""The faults of the node as a whole that foreign tools cause, as command lines."""

from __future__ import annotations

from pathlib import Path

from proofs.drift import forwarding
from proofs.drift.faults import Fault, tools
from proofs.drift.gateway_faults import OF_THE_GATEWAY
from proofs.drift.node_facts import BRIDGE, CONF, CONFLIST, PLUGIN

ELSEWHERE = "ssl:203.0.113.9:6642"
# The type that the bridge does not have.
_OTHER_DATAPATH = "case $(ovs-vsctl get bridge br-int datapath_type) in"
_OTHER_DATAPATH += " *netdev*) other=system;; *) other=netdev;; esac"
AFTER, BEFORE = CONF / "10-ovnlet.conflist", CONF / "00-ovnlet.conflist"
REMOVED = "conflist removed"
# Seconds. All files are of one key, whose budget allows so many repairs in the long run.
_APART = 2.5


def _file(name: str, path: Path, line: str) -> Fault:
    breaks = f"file {path}"
    return Fault(name, "node", tools(line), breaks=breaks, min_interval=_APART, budget="cni/files")


def _fault(name: str, breaks: str, *lines: str, restores: tuple[str, ...] = ()) -> Fault:
    return Fault(name, "node", tools(*lines), breaks=breaks, restores=restores)


FILES = [
    _file("conflist of an older release after ours", AFTER, f"cp {CONFLIST} {AFTER}"),
    _file("conflist of an older release before ours", BEFORE, f"cp {CONFLIST} {BEFORE}"),
    _file("conflist torn", CONFLIST, f"truncate -s 40 {CONFLIST}"),
    _file(REMOVED, CONFLIST, f"rm {CONFLIST}"),
    _file("conflist overwritten", CONFLIST, f"sh -c 'echo {{{{}}}} >{CONFLIST}'"),
    _file("plugin file removed", PLUGIN, f"rm {PLUGIN}"),
    _file("plugin file overwritten", PLUGIN, f"sh -c 'echo broken >{PLUGIN}'"),
]
CHASSIS = [
    _fault(
        "ovn-encap-type removed",
        "chassis ovn-encap-type",
        "ovs-vsctl remove Open_vSwitch . external_ids ovn-encap-type",
    ),
    _fault(
        "ovn-remote changed",
        "chassis ovn-remote",
        f"ovs-vsctl set Open_vSwitch . external_ids:ovn-remote={ELSEWHERE}",
    ),
    _fault(
        "chassis keys cleared",
        "chassis ",
        "ovs-vsctl clear Open_vSwitch . external_ids",
    ),
    # ovn-controller corrects the datapath type itself, unless its own key is gone. It corrects the
    # fail mode too, and only it can install the flows that OVS drops with a change of that: see
    # tests/integration/node/ovs/test_ovs_flows.py.
    _fault(
        "datapath_type of br-int changed, its key removed",
        f"{BRIDGE} datapath_type",
        f"sh -ec '{_OTHER_DATAPATH};"
        " ovs-vsctl --no-wait remove Open_vSwitch . external_ids ovn-bridge-datapath-type"
        f" -- set bridge {BRIDGE} datapath_type=$other'",
        # ovs-vswitchd makes the bridge and ovn0 again, and OVN installs its flows.
        restores=("table ", "ovn0 "),
    ),
]
NODE_FAULTS = [*FILES, *CHASSIS, *forwarding.OF_THE_NODE, *OF_THE_GATEWAY]
