"""Names, addresses and directories: what any two modules must agree on, and what a stranger finds a bed by."""

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
DNS_SERVICE_IP = "10.96.0.10"
API_SERVICE_IP = "10.96.0.1"
PODS = "10.16.0.0/16,fd00:10:16::/64"

ETCD, APISERVER, MANAGER, SCHEDULER = "etcd", "apiserver", "controller-manager", "scheduler"
OVS, OVN, KUBELET, PROXY, ASSIGN = "ovs", "ovn", "kubelet", "proxy", "assign"
CENTRAL = "central"  # of OVN: comes with `ovn` by itself
BARE = "bare"  # a node's empty space, for a guest that brings its own
CONTROL_PARTS = frozenset({ETCD, APISERVER, MANAGER, SCHEDULER, CENTRAL})
NODE_PARTS = frozenset({OVS, OVN, KUBELET, PROXY, BARE})
ALL_PARTS = CONTROL_PARTS | NODE_PARTS | {ASSIGN}
STANDALONE = ALL_PARTS - {ASSIGN}  # for `ovnlet controller` to do what `assign` plays


def directory(bed: str) -> Path:
    """Everything of one bed that is a file; the same path outside and inside its spaces."""
    if not NAME.fullmatch(bed):
        raise SystemExit(f"a bed's name is like a host name, at most 30 letters: not {bed!r}")
    return ROOT / bed


def space_name(bed: str, role: str) -> str:
    """What a space's init, host name and cgroup are called."""
    return f"{PREFIX}{bed}-{role}"


def node_ip(index: int) -> str:
    return f"172.30.0.{10 + index}"


def node_ip6(index: int) -> str:
    return f"fd00:172:30::{10 + index}"


def tunnel_ip(index: int) -> str:
    return f"172.31.0.{10 + index}"
