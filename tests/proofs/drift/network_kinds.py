"""The faults of further interfaces and of a virtual machine's, as data."""

from __future__ import annotations

import json
from dataclasses import dataclass

from proofs.drift.faults import GATEWAYS
from testbed.workloads import OVN

N1 = "n1.default.ovn"
LISTED = (("n1", "net1"), ("n1", "net2"))
# Networks of one kind each: what defines them is taken away, or they give no addresses.
UNDEFINED, MOVED, BARE = "n2", "n3", "bare"
SUBNET = "third"  # of MOVED
OLDER = "-older"  # behind the pod's name: an older launcher of its machine
# What KubeVirt's bridge binding does to the interface in a launcher.
BIND = (
    "ip -n {ns} link set eth0 down",
    "ip -n {ns} address flush dev eth0 scope global",
    "ip -n {ns} link set eth0 name eth0-nic address 02:00:00:00:00:99",
    "ip -n {ns} link add k6t-eth0 type bridge",
    "ip -n {ns} link set eth0-nic master k6t-eth0 up",
    "ip -n {ns} link add eth0 type bridge",
    "ip -n {ns} address add {v4}/16 dev eth0",
)
BOUND = (
    "ip -n {ns} -o link show eth0-nic | grep -q 02:00:00:00:00:99"
    " && ip -n {ns} -o link show eth0-nic | grep -q k6t-eth0"
    " && ! ip -n {ns} -o address show dev eth0-nic scope global | grep -q ."
    " && ip -n {ns} -o address show dev eth0 | grep -q {v4}"
    " && ip -o link show {port} up | grep -q . && ! ip link show {port} | grep -q 'mtu 1280 '"
    " && ovs-vsctl port-to-br {port} | grep -q br-int"
    " && ovs-vsctl get interface {port} external_ids:iface-id | grep -q {id}"
)
# From here on ARP and neighbour advertisements of the pod are written down.
LISTEN = (
    "timeout 300 tcpdump -lnn -i {port} -Q in 'arp or (icmp6 and ip6[40] == 136)'"
    " </dev/null >/run/heard-{port} 2>/run/heard-{port}.log &",
    "for n in $(seq 100); do grep -q 'listening on' /run/heard-{port}.log && exit; sleep 0.1; done;"
    " exit 1",
)
SILENT = "! test -s /run/heard-{port}"
# An announcement as an agent would send it for any other pod: a gratuitous ARP.
ANNOUNCE = (
    'ip netns exec {ns} /usr/bin/python3 -Ic "import socket;'
    " out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); out.bind(('eth0-nic', 0x806));"
    " mac = out.getsockname()[4]; out.send(bytes([255]) * 6 + mac"
    " + bytes.fromhex('08060001080006040001') + (mac + bytes(4)) * 2)\"",
)


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to break or change an interface, named like an interface of the pod.

    It is right when the facts are as before, or when the shell command ``right`` succeeds.
    ``untouched`` means that nothing may be done: ``eager`` is what a wrong agent would do, which
    the control run does in its place. ``edit`` are annotations of the pod, None for one to remove.
    With ``allow_extra``, what the tool added may stay behind what was repaired.

    ``listed`` are the networks of the pod, each with its interface, and ``given`` annotations that
    the pod has from the start. ``cluster`` are calls of kubectl, where ``{pod}`` is the older
    launcher that ``older`` asks for. ``away`` means that the agent ends
    before the fault and starts after it. ``quiet`` means that nothing may be announced.
    """

    name: str
    ifname: str
    tools: tuple[str, ...] = ()
    right: str = ""
    untouched: bool = False
    eager: tuple[str, ...] = ()
    edit: tuple[tuple[str, str | None], ...] = ()
    machine: bool = False
    allow_extra: bool = False
    listed: tuple[tuple[str, str], ...] = LISTED
    given: tuple[tuple[str, str], ...] = ()
    cluster: tuple[tuple[str, ...], ...] = ()
    older: bool = False
    away: bool = False
    quiet: bool = False

    @property
    def title(self) -> str:
        """The name of the row."""
        what = "a virtual machine's interface" if self.machine else "further interface"
        return f"{what}: {self.name}"


DELETE_PORT = ("ovs-vsctl del-port br-int {port}",)
UNLABEL = ("ovs-vsctl remove interface {port} external_ids iface-id",)
TARGET = (("kubevirt.io/migrationJobName", "move"),)
_ELSEWHERE = json.dumps({"spec": {"provider": "elsewhere.default.ovn"}})
FURTHER = (
    Kind("its port removed", "net1", DELETE_PORT),
    Kind("deleted in the pod", "net1", ("ip -n {ns} link del net1",)),
    Kind(
        "default route moved to it",
        "eth0",
        ("ip -n {ns} route replace default via {gw4} dev net1",),
        allow_extra=True,  # a foreign route by another link than ours competes with none of ours
    ),
    Kind(
        "default route is its own, and the first interface's routes are flushed",
        "eth0",
        ("ip -n {ns} route flush dev eth0", "ip -n {ns} -6 route flush dev eth0 proto 157"),
        right=(
            "ip -n {ns} route show 10.16.0.0/16 | grep -q 'dev eth0'"
            " && ! ip -n {ns} route show default | grep -q 'dev eth0'"
            " && ! ip -n {ns} -6 route show default | grep -q 'dev eth0'"
            " && ip -n {ns} route show default | grep -q 'dev net1'"
            " && ip -n {ns} -6 route show default | grep -q 'dev net1'"
        ),
        given=((f"{N1}.net1.kubernetes.io/default_route", "true"),),
    ),
    Kind("one of two in a network loses its iface-id", "net2", UNLABEL),
    Kind("its addresses flushed", "net2", ("ip -n {ns} address flush dev net2 scope global",)),
    Kind(
        "its rate edited",
        "net2",
        right="tc class show dev {port} | grep -q 'ceil 7Mbit'",
        edit=((f"{N1}.net2.kubernetes.io/ingress_rate", "7"),),
    ),
    Kind(
        "its routes edited",
        "net1",
        right="ip -n {ns} route show 192.0.2.0/24 | grep -q 'via {gw4} dev net1'",
        edit=(
            (
                f"{N1}.net1.kubernetes.io/routes",
                json.dumps([{"dst": "192.0.2.0/24", "gw": GATEWAYS[0]}]),
            ),
        ),
    ),
    Kind(
        "its network's definition deleted, then its port",
        "net1",
        DELETE_PORT,
        listed=((UNDEFINED, "net1"),),
        cluster=(("delete", "network-attachment-definition", UNDEFINED),),
    ),
    Kind(
        "its Subnet given to another provider, then deleted in the pod",
        "net1",
        ("ip -n {ns} link del net1",),
        listed=((MOVED, "net1"),),
        given=((f"{MOVED}.default.ovn.net1.kubernetes.io/logical_switch", SUBNET),),
        cluster=(("patch", "subnet", SUBNET, "--type=merge", "-p", _ELSEWHERE),),
    ),
    Kind(
        "a foreign address on it",
        "net1",
        ("ip -n {ns} address add 10.99.0.1/24 dev net1",),
        right="ip -n {ns} -o address show dev net1 | grep -q 10.99.0.1",
        untouched=True,
        eager=("ip -n {ns} address del 10.99.0.1/24 dev net1",),
    ),
    Kind(
        "the guest's address on one with a MAC alone",
        "net1",
        ("ip -n {ns} address add 10.99.0.2/24 dev net1",),
        right="ip -n {ns} -o address show dev net1 | grep -q 10.99.0.2",
        untouched=True,
        eager=("ip -n {ns} address flush dev net1 scope global",),
        listed=((BARE, "net1"),),
        given=((f"{BARE}.default.ovn.net1.kubernetes.io/ip_address", ""),),
    ),
    Kind(
        "an interface of another plugin beside it",
        "net1",
        (
            "ip -n {ns} link add net9 type veth peer name peer9",
            "ip -n {ns} link set net9 up",
            "ip -n {ns} address add 10.99.0.3/24 dev net9",
        ),
        right="ip -n {ns} -o address show dev net9 | grep -q 10.99.0.3",
        untouched=True,
        eager=("ip -n {ns} link del net9",),
    ),
    Kind(
        "its annotations gone before its DEL",
        "net2",
        right="ovs-vsctl port-to-br {port} && ip -n {ns} link show net2",
        untouched=True,
        eager=DELETE_PORT,
        edit=tuple(
            (f"{N1}.net2.kubernetes.io/{name}", None)
            for name in (
                *("ip_address", "mac_address", "cidr", "gateway", "logical_switch"),
                *("allocated", "routed", "pod_nic_type"),
            )
        ),
    ),
)
MACHINES = (
    Kind("bound by a bridge", "eth0", BIND, BOUND, untouched=True, eager=DELETE_PORT, machine=True),
    Kind(
        "MTU and state of the node's end after that",
        "eth0",
        (*BIND, "ip link set {port} mtu 1280 down"),
        BOUND,
        machine=True,
    ),
    Kind("its port removed after that", "eth0", (*BIND, *DELETE_PORT), BOUND, machine=True),
    Kind(
        "its iface-id removed while it runs",
        "eth0",
        (*BIND, *LISTEN, *UNLABEL),
        BOUND,
        machine=True,
        quiet=True,
    ),
    Kind(
        "port of a migration's target removed",
        "eth0",
        (*BIND, *LISTEN, *DELETE_PORT),
        BOUND,
        machine=True,
        given=TARGET,
        quiet=True,
    ),
    Kind(
        "iface-id of a migration's target removed while the agent restarts",
        "eth0",
        (*BIND, *LISTEN, *UNLABEL),
        BOUND,
        machine=True,
        given=TARGET,
        away=True,
        quiet=True,
    ),
    Kind(
        "an older launcher on the node deleted",
        "eth0",
        untouched=True,
        eager=UNLABEL,
        machine=True,
        given=((f"{OVN}/ingress_rate", "9"), (f"{OVN}/egress_rate", "8")),
        cluster=(("delete", "pod", "{pod}", "--wait=false", "--force", "--grace-period=0"),),
        older=True,
    ),
)
KINDS = (*FURTHER, *MACHINES)
