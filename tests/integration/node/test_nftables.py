"""Our nftables table on a real kernel.

Every change of it is one transaction, every change by `nft` is detected and repaired, and foreign
tables stay.
"""

import json
import subprocess
from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from integration.node.spaces import Bed
from ovnlet.core.gateway import Cluster, parse
from ovnlet.core.gateway_network import tables
from ovnlet.core.plan import diff
from ovnlet.core.resources import ABSENT, Network
from ovnlet.core.resources.nftables import Elements, NftSet, NftTable
from ovnlet.drivers.links.nftables import Tables

POLICIES = [
    {"match": {"dstIPs": "198.51.100.7"}, "action": "forward"},
    {"match": {"srcIPs": "10.17.0.0/24", "dstIPs": "198.51.100.0/24"}, "action": "nat"},
    {"match": {"dstIPs": "0.0.0.0/0"}, "action": "forward"},
    {"match": {"dstIPs": "::/0"}, "action": "nat"},
]
SUBNETS = [
    {
        "name": "ovn-default",
        "spec": {"cidrBlock": "10.16.0.0/16,fd00:10:16::/64", "natOutgoing": True},
    },
    {
        "name": "policies",
        "spec": {
            "cidrBlock": "10.17.0.0/16,fd00:10:17::/64",
            "natOutgoing": True,
            "natOutgoingPolicyRules": POLICIES,
        },
    },
    {
        "name": "central",
        "designated": ["192.0.2.9", "2001:db8::9"],
        "spec": {
            "cidrBlock": "10.18.0.0/16,fd00:10:18::/64",
            "natOutgoing": True,
            "gatewayType": "centralized",
        },
    },
]
CLUSTER = parse(
    {
        "subnets": json.dumps(SUBNETS),
        "inside": "100.64.0.0/16,fd00:100:64::/64",
        "own": "100.64.0.2,fd00:100:64::2",
        "internal": "192.0.2.7,2001:db8::7",
        "peers": "192.0.2.8,2001:db8::8",
        "services": "10.96.0.1,10.96.0.2,10.96.0.10,fd00:10:96::1",
        "local_ports": "TCP/30080,UDP/30053",
    }
)
NO_SNAT = frozenset(map(ip_network, ("203.0.113.0/24", "2001:db8:1::/48")))
WANTED = frozenset(tables(CLUSTER, NO_SNAT))
OTHERS = (
    "table ip theirs {\n\tchain c {\n"
    "\t\ttype filter hook forward priority filter; policy accept;\n\t}\n}\n"
)


def nft(words: str) -> str:
    return subprocess.run(
        ["nft", *words.split()], check=True, capture_output=True, text=True, timeout=20
    ).stdout


@pytest.fixture
def kernel(bed: Bed) -> Iterator[Tables]:
    """Give the kernel's tables of the bed's node."""
    kernel = Tables()
    yield kernel
    kernel.close()


def settle(kernel: Tables, wanted: Network = WANTED) -> int:
    """Make the table as wanted, in one transaction; return the number of steps."""
    plan = diff(wanted, kernel.observe(wanted))
    if plan:
        kernel.carry_out(plan)
    assert kernel.observe(wanted) == wanted, diff(wanted, kernel.observe(wanted))
    return len(plan)


def lines(chain: str) -> list[str]:
    """Return the rules of a chain as nft lists them."""
    listed = nft(f"list chain inet ovnlet {chain}").splitlines()
    return [line.strip() for line in listed[2:-2]]


# By family: nft's word, the number, then addresses of the node and prefixes of Subnets.
FAMILIES = (
    ("ip", 4, "100.64.0.2", "192.0.2.7", "10.17.0.0/16", "10.18.0.0/16", "192.0.2.9"),
    (
        "ip6",
        6,
        "fd00:100:64::2",
        "2001:db8::7",
        "fd00:10:17::/64",
        "fd00:10:18::/64",
        "2001:db8::9",
    ),
)


def _rules(words: tuple[str, int, str, str, str, str, str]) -> list[str]:
    """Return the rules for a family, in order, as nft lists them."""
    ip, f, own, node, policies, central, designated = words
    marked = "meta mark & 0x00004000 == 0x00004000"
    port = (
        f"meta l4proto . ct original proto-dst @local-ports ct original {ip} daddr != @subnets{f}"
        f" ct original {ip} daddr != @services{f}"
    )
    return [
        f"{ip} saddr @services{f} {ip} daddr @subnets{f} {marked} snat {ip} to {node} fully-random",
        f"{ip} saddr @subnets{f} {marked} goto translate",
        f"{ip} daddr @subnets{f} {marked} goto translate",
        f"{ip} saddr {own} return",
        f"{ip} saddr @subnets{f} ct original {ip} daddr @services{f} goto translate",
        f"{ip} saddr @subnets{f} {ip} daddr @subnets{f} goto translate",
        f"{ip} daddr @subnets{f} {ip} saddr @peers{f} {port} goto translate",
        f"{ip} daddr @distributed{f} {port} return",
        f"{ip} daddr @subnets{f} {port} goto translate",
        "tcp flags ! syn ct state new return",
        f"{ip} saddr @nat{f} {ip} daddr @no-snat{f} return",
        f"{ip} saddr {policies} {ip} daddr != @subnets{f} jump policy-policies",
        f"{ip} saddr {central} {ip} daddr != @subnets{f} snat {ip} to {designated} fully-random",
        f"{ip} saddr @nat{f} {ip} daddr != @subnets{f} goto translate",
    ]


def test_nft_reads_what_we_wrote(kernel: Tables) -> None:
    settle(kernel)
    assert lines("translate") == ["meta mark set 0x00000000 masquerade fully-random"]
    shown = lines("postrouting")
    assert shown[0] == "type nat hook postrouting priority srcnat - 5; policy accept;"
    assert shown[1:] == [rule for words in FAMILIES for rule in _rules(words)]
    assert lines("policy-policies") == [
        "ip daddr @policy-policies-1-daddr4 accept",
        "ip saddr @policy-policies-2-saddr4 ip daddr @policy-policies-2-daddr4 goto translate",
        "ip daddr @policy-policies-3-daddr4 accept",
        "ip6 daddr @policy-policies-4-daddr6 goto translate",
    ]
    assert lines("dropped")[1:3] == [
        "ip saddr @subnets4 tcp flags rst ct state invalid drop",
        "ip saddr 10.18.0.0/16 ip daddr != @subnets4 tcp flags ! syn ct state new drop",
    ]
    assert lines("tunnels")[1:] == [
        "udp dport 6081 meta mark set 0x00000000",
        "udp dport 4789 meta mark set 0x00000000",
    ]
    assert lines("counted")[1:3] == [
        "counter name ip saddr map @egress4",
        "counter name ip daddr map @ingress4",
    ]
    elements = nft("list set inet ovnlet policy-policies-3-daddr4")
    assert "0.0.0.0/0" in elements
    assert "tcp . 30080" in nft("list set inet ovnlet local-ports")
    assert '10.16.0.0/16 : "egress-4-ovn-default"' in nft("list map inet ovnlet egress4")


DAMAGES = (
    "flush ruleset",
    "delete table inet ovnlet",
    "flush chain inet ovnlet postrouting",
    "add rule inet ovnlet postrouting counter",
    "insert rule inet ovnlet postrouting ip daddr 198.51.100.0/24 return",
    "insert rule inet ovnlet translate ip protocol tcp accept",
    "add rule inet ovnlet dropped ip saddr {10.99.0.0/16, 10.98.0.0/16} drop",
    "add chain inet ovnlet other",
    "add chain inet ovnlet hooked { type filter hook input priority 0 ; }",
    "add chain inet ovnlet postrouting { policy drop ; }",
    "add table inet ovnlet { flags dormant ; }",
    "add element inet ovnlet nat4 { 10.99.0.0/16 }",
    "add element inet ovnlet nat4 { 10.99.0.3-10.99.0.9 }",
    "delete element inet ovnlet nat6 { fd00:10:16::/64 }",
    "flush set inet ovnlet subnets6",
    "flush set inet ovnlet local-ports",
    "add element inet ovnlet local-ports { sctp . 99 }",
    "add element inet ovnlet local-ports { * }",
    "add element inet ovnlet nat4 { * }",
    "flush map inet ovnlet egress4",
    "add element inet ovnlet egress6 { * : egress-6-ovn-default }",
    "add set inet ovnlet theirs { type mark ; }",
    "add set inet ovnlet same4 { type ipv4_addr ; flags interval ; }",
    "add counter inet ovnlet theirs",
)


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_change_by_nft_is_detected_and_repaired_in_one_transaction(
    kernel: Tables, damage: str
) -> None:
    settle(kernel)
    whole = nft("list table inet ovnlet")
    nft(damage)
    assert settle(kernel) > 0, "the damage was not seen"
    assert sorted(nft("list table inet ovnlet").splitlines()) == sorted(whole.splitlines())
    assert settle(kernel) == 0


def test_a_dormant_table_with_foreign_hooks_is_repaired(kernel: Tables) -> None:
    settle(kernel)
    nft("add chain inet ovnlet theirs { type filter hook input priority 0 ; }")
    nft("flush chain inet ovnlet tunnels")
    nft("delete chain inet ovnlet tunnels")
    nft("add table inet ovnlet { flags dormant ; }")
    settle(kernel)
    assert settle(kernel) == 0


def test_a_chain_at_another_hook_is_replaced(kernel: Tables) -> None:
    settle(kernel)
    nft("flush chain inet ovnlet counted")
    nft("delete chain inet ovnlet counted")
    nft("add chain inet ovnlet counted { type filter hook input priority 10 ; }")
    settle(kernel)
    assert lines("counted")[0] == "type filter hook forward priority filter; policy accept;"


def test_a_counter_keeps_its_figures_while_rules_and_subnets_change(kernel: Tables) -> None:
    settle(kernel)
    nft("add counter inet ovnlet egress-4-ovn-default { packets 7 bytes 700 ; }")
    nft("delete table inet ovnlet")
    nft("add table inet ovnlet")
    nft("add counter inet ovnlet egress-4-ovn-default { packets 7 bytes 700 ; }")
    settle(kernel)
    settle(kernel, frozenset(tables(Cluster(CLUSTER.subnets[:2]))))
    settle(kernel)
    counted = {each.name: (each.packets, each.size) for each in kernel.counts()}
    assert counted["egress-4-ovn-default"] == (7, 700)
    assert counted["ingress-4-central"] == (0, 0)


def test_a_look_writes_nothing_and_the_removal_leaves_others_alone(kernel: Tables) -> None:
    nft("add table ip theirs")
    nft("add chain ip theirs c { type filter hook forward priority filter ; }")
    assert kernel.is_there()
    assert kernel.observe(ABSENT) == ABSENT
    settle(kernel)
    settle(kernel, ABSENT)
    assert nft("list ruleset") == OTHERS


def test_a_refused_transaction_changes_nothing_and_the_next_one_works(kernel: Tables) -> None:
    settle(kernel)
    whole = nft("list table inet ovnlet")
    overlapping = frozenset(map(ip_network, ("10.0.0.0/8", "10.1.0.0/16", "10.1.0.0/24")))
    wrong = WANTED | {NftSet("wrong", "ipv4", Elements(overlapping))}
    with pytest.raises(Exception, match="NftSet wrong"):
        kernel.carry_out(diff(wrong, kernel.observe(wrong)))
    assert nft("list table inet ovnlet") == whole
    assert settle(kernel) == 0


def test_thousands_of_services_and_subnets_are_one_transaction(kernel: Tables) -> None:
    body = [
        {"name": f"s{n}", "spec": {"cidrBlock": f"10.{n}.0.0/16", "natOutgoing": True}}
        for n in range(200)
    ]
    services = ",".join(f"172.20.{n >> 8}.{n & 255}" for n in range(1, 5000, 2))
    cluster = parse({"subnets": json.dumps(body), "services": services})
    wanted = frozenset(tables(cluster))
    assert NftTable() in wanted
    settle(kernel, wanted)
    assert settle(kernel, wanted) == 0
