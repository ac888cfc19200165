"""Names, addresses and directories that several modules must agree on.

A later run that knows nothing else of a bed finds it by these.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path("/run/ovnlet-bed")
PREFIX = "ovnlet-"
CONTROL = "ctl"
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?")

CONTROL_IP = "172.30.0.1"
CONTROL_IP6 = "fd00:172:30::1"
API_PORT = 6443
NB_PORT, SB_PORT = 6641, 6642
SERVICES = "10.96.0.0/16,fd00:10:96::/112"
CLUSTER_DOMAIN = "cluster.local"
DNS_SERVICE_IP = "10.96.0.10"
API_SERVICE_IP = "10.96.0.1"
PODS = "10.16.0.0/16,fd00:10:16::/64"

ETCD, APISERVER, MANAGER, SCHEDULER = "etcd", "apiserver", "controller-manager", "scheduler"
OVS, OVN, KUBELET, PROXY, ASSIGN = "ovs", "ovn", "kubelet", "proxy", "assign"
CENTRAL = "central"  # OVN's databases and northd; `ovn` includes it
BOOTED = "booted"  # a file of a node whose virtual machine has booted
RAFT = "raft"  # OVN's databases as a cluster of three members, instead of `central`
BARE = "bare"  # an empty space for a node, in which a virtual machine brings its own programs
CONTROL_PARTS = frozenset({ETCD, APISERVER, MANAGER, SCHEDULER, CENTRAL, RAFT})
NODE_PARTS = frozenset({OVS, OVN, KUBELET, PROXY, BARE})
KNOWN_PARTS = CONTROL_PARTS | NODE_PARTS | {ASSIGN}
ALL_PARTS = KNOWN_PARTS - {RAFT}
STANDALONE = ALL_PARTS - {ASSIGN}  # `ovnlet controller` assigns the addresses


def directory(bed: str) -> Path:
    """Return the directory of all files of a bed, the same path outside and inside its spaces."""
    if not NAME.fullmatch(bed):
        raise SystemExit(f"a bed's name is like a host name, at most 30 letters: not {bed!r}")
    return ROOT / bed


def space_name(bed: str, role: str) -> str:
    """Return the name of a space's init, host and control group."""
    return f"{PREFIX}{bed}-{role}"


def member(index: int) -> str:
    """Return the role of a member of the databases' cluster."""
    return f"db{index}"


def member_ip(index: int) -> str:
    """Return the IPv4 address of a member of the databases' cluster."""
    return f"172.30.0.{2 + index}"


def node_ip(index: int) -> str:
    """Return a node's IPv4 address."""
    return f"172.30.0.{10 + index}"


def node_ip6(index: int) -> str:
    """Return a node's IPv6 address."""
    return f"fd00:172:30::{10 + index}"


def tunnel_ip(index: int) -> str:
    """Return the address of a node's end of the tunnel."""
    return f"172.31.0.{10 + index}"
