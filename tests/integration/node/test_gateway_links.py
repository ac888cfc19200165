"""Rules and routes of egress gateways, and accepts in chains of iptables, on a real kernel."""

import json
import shlex
import subprocess
from collections.abc import Iterator

import pytest

from integration.node.monitor import monitored
from integration.node.spaces import Bed
from ovnlet.core.gateway import GatewayIdentity, parse
from ovnlet.core.gateway_network import tables
from ovnlet.core.gateway_routing import accepts, routing
from ovnlet.core.identity import NodeInterface
from ovnlet.core.resources import ABSENT, Network, PolicyRoute
from ovnlet.core.settings import Settings
from ovnlet.core.values import address
from ovnlet.doctor.interference import examine
from ovnlet.drivers.links.gateway import GatewayLinks
from ovnlet.drivers.links.nftables import Tables
from ovnlet.reconcile.loop import converge

SELF = GatewayIdentity()
EGRESS = {
    "cidrBlock": "10.20.0.0/16,fd00:10:20::/64",
    "externalEgressGateway": "192.0.2.254,2001:db8::fe",
    "policyRoutingTableID": 1001,
    "policyRoutingPriority": 3000,
}
CLUSTER = parse(
    {
        "subnets": json.dumps(
            [
                {"name": "one", "spec": {"cidrBlock": "10.16.0.0/16,fd00:10:16::/64"}},
                {"name": "egress", "spec": EGRESS},
            ]
        )
    }
)
PODS = {"egress": [address("10.20.0.5"), address("fd00:10:20::5")]}


def run(words: str) -> str:
    return subprocess.run(
        words.split(), check=True, capture_output=True, text=True, timeout=20
    ).stdout


@pytest.fixture
def host(bed: Bed) -> Iterator[GatewayLinks]:
    """Give the kernel of a node with a LAN and the chains of iptables."""
    run("ip link add lan0 type veth peer name lan1")
    for link in ("lan0", "lan1"):
        run(f"ip link set {link} up")
    run("ip address add 192.0.2.7/24 dev lan0")
    run("ip address add 2001:db8::7/64 dev lan0 nodad")
    for words in ("iptables-nft", "ip6tables-nft"):
        run(f"{words} -A FORWARD -s 203.0.113.0/24 -j DROP" if words[2] != "6" else f"{words} -S")
        run(f"{words} -P FORWARD DROP")
        run(f"{words} -P INPUT DROP")
    kernel = Tables()
    yield GatewayLinks(kernel, NodeInterface("n0"))
    kernel.close()


def wanted(host: GatewayLinks) -> Network:
    return frozenset(
        {*routing(CLUSTER, PODS, host.prefixes).resources, *accepts(CLUSTER, host.firewall)}
    )


def rules() -> str:
    return run("ip rule") + run("ip -6 rule")


def chain(words: str, name: str = "FORWARD") -> list[str]:
    return run(f"{words} -S {name}").splitlines()


async def test_they_are_made_and_iptables_shows_plain_rules_in_front(host: GatewayLinks) -> None:
    before = chain("iptables-nft")
    await converge(host, SELF, wanted(host))
    assert not (await converge(host, SELF, wanted(host))).steps
    found = chain("iptables-nft")
    assert found == [
        before[0],
        *(
            f"-A FORWARD {side} {prefix} -m comment --comment ovnlet -j ACCEPT"
            for prefix in ("10.16.0.0/16", "10.20.0.0/16")
            for side in ("-s", "-d")
        ),
        *before[1:],
    ]
    assert "-A INPUT -s fd00:10:16::/64" in "\n".join(chain("ip6tables-nft", "INPUT"))
    assert "3000:\tfrom 10.20.0.5 lookup 1001 proto 157" in rules()
    assert "3000:\tfrom fd00:10:20::5 lookup 1001 proto 157" in rules()
    assert "default via 192.0.2.254 dev lan0 proto 157" in run("ip route show table 1001")
    assert "default via 2001:db8::fe dev lan0 proto 157" in run("ip -6 route show table 1001")


async def test_the_doctor_names_a_chain_that_drops_until_our_rules_are_there(
    host: GatewayLinks,
) -> None:
    settings = Settings.of({"node_name": "n0", "run_dir": "/nonexistent"})

    def named() -> list[str]:
        return [found.what for found in examine(settings) if "FORWARD" in found.what]

    assert len(named()) == 2
    await converge(host, SELF, wanted(host))
    assert named() == []


DAMAGES = {
    "rule deleted": "ip rule del pref 3000",
    "rule of IPv6 deleted": "ip -6 rule del pref 3000",
    "rule of ours that nobody wants": "ip rule add from 10.20.0.9 lookup 1001 pref 3000 proto 157",
    "table flushed": "ip route flush table 1001",
    "table of IPv6 flushed": "ip -6 route flush table 1001",
    "route replaced": "ip route replace default via 192.0.2.9 dev lan0 table 1001 proto 157",
    "route of ours in another table": "ip route add default via 192.0.2.9 table 1002 proto 157",
    "accepts flushed": "iptables-nft -F FORWARD",
    "an accept deleted": "iptables-nft -D FORWARD 1",
    "an accept of IPv6 deleted": "ip6tables-nft -D FORWARD 2",
    "a drop in front": "iptables-nft -I FORWARD -j DROP",
    "an accept that nobody wants": (
        "iptables-nft -I FORWARD -s 10.99.0.0/16 -m comment --comment ovnlet -j ACCEPT"
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
async def test_damage_is_seen_and_repaired(host: GatewayLinks, name: str) -> None:
    before = (await converge(host, SELF, wanted(host))).observed
    run(DAMAGES[name])
    outcome = await converge(host, SELF, wanted(host))
    assert outcome.steps, "the damage was not seen"
    assert outcome.observed == before
    accepted = [line for line in chain("iptables-nft") if "ACCEPT" in line]
    assert accepted == chain("iptables-nft")[1 : 1 + len(accepted)]
    assert not (await converge(host, SELF, wanted(host))).steps


@pytest.mark.review2
async def test_another_gateway_comes_before_the_old_one_goes(host: GatewayLinks, bed: Bed) -> None:
    """Rules and routes went first, and came after the table's transaction: pods had no way."""
    await converge(host, SELF, wanted(host))
    moved = {**EGRESS, "externalEgressGateway": "192.0.2.253,2001:db8::fd"}
    moved["policyRoutingPriority"] = 3001
    subnets = [{"name": "egress", "spec": moved}]
    cluster = parse({"subnets": json.dumps(subnets)})
    with monitored(bed.node) as seen:
        await converge(host, SELF, routing(cluster, PODS, host.prefixes).resources)
    print(*seen.lines, sep="\n")
    for old, new in (("192.0.2.254", "192.0.2.253"), ("2001:db8::fe", "2001:db8::fd")):
        assert seen.came(f"via {new}") < seen.went(f"via {old}")
    for pod in ("10.20.0.5", "fd00:10:20::5"):
        assert seen.came(f"3001:\tfrom {pod}") < seen.went(f"3000:\tfrom {pod}")
    assert "192.0.2.254" not in run("ip route show table 1001")
    assert "2001:db8::fe" not in run("ip -6 route show table 1001")


async def test_rules_routes_and_chains_of_others_stay(host: GatewayLinks) -> None:
    run("ip rule add from 10.20.0.5 lookup 77 pref 77")
    run("ip route add default via 192.0.2.3 table 1001 metric 50")
    before = rules(), run("ip route show table all"), chain("iptables-nft")
    await converge(host, SELF, wanted(host))
    await converge(host, SELF, ABSENT)
    assert (rules(), run("ip route show table all"), chain("iptables-nft")) == before


async def test_a_gateway_that_no_link_reaches_is_reported_and_has_no_rules(
    host: GatewayLinks,
) -> None:
    run("ip address del 2001:db8::7/64 dev lan0")
    found = routing(CLUSTER, PODS, host.prefixes)
    assert {each.via for each in found.resources if isinstance(each, PolicyRoute)} == {
        address("192.0.2.254")
    }
    assert len(found.resources) == 2
    assert "2001:db8::fe" in found.problems[0]


KUBE_OVN = """
-t nat -N OVN-KUBE-NODEPORT
-t nat -N OVN-MASQUERADE
-t nat -A OVN-MASQUERADE -j MASQUERADE
-t nat -N OVN-POSTROUTING
-t nat -A OVN-POSTROUTING -m mark --mark 0x4000/0x4000 -j OVN-MASQUERADE
-t nat -I POSTROUTING 1 -m comment --comment "kube-ovn postrouting rules" -j OVN-POSTROUTING
-t nat -A POSTROUTING -s 203.0.113.0/24 -j RETURN
-t mangle -N OVN-POSTROUTING
-t mangle -A POSTROUTING -j OVN-POSTROUTING
"""


async def test_chains_that_kube_ovns_agent_left_go_when_our_table_is_there(
    host: GatewayLinks,
) -> None:
    for words in ("iptables-nft", "ip6tables-nft"):
        for line in KUBE_OVN.strip().splitlines():
            if words == "iptables-nft" or "-s 203" not in line:
                subprocess.run([words, *shlex.split(line)], check=True, timeout=20)
    table = frozenset(tables(CLUSTER))
    done = [str(step) for step in (await converge(host, SELF, table)).steps]
    assert sorted(step for step in done if step.startswith("-")) == [
        "- KubeOvnChains ip mangle",
        "- KubeOvnChains ip nat",
        "- KubeOvnChains ip6 mangle",
        "- KubeOvnChains ip6 nat",
    ]
    assert done.index("- KubeOvnChains ip nat") > done.index("+ NftTable ovnlet")
    left = run("iptables-nft -t nat -S") + run("ip6tables-nft -t nat -S")
    assert "OVN-" not in (left + run("iptables-nft -t mangle -S")).replace("OVN-KUBE-NODEPORT", "")
    assert "OVN-KUBE-NODEPORT" in left, "a chain of OVN-Kubernetes is none of kube-ovn-cni"
    assert "-A POSTROUTING -s 203.0.113.0/24 -j RETURN" in left
    assert not (await converge(host, SELF, table)).steps


IPSETS = """
ipset create ovn40subnets hash:net
ipset create ovn40services hash:net
ipset create ovn40legacy hash:net
ipset create ovn60subnets hash:net family inet6
ipset create theirs hash:net
ipset create ovnkube hash:net
iptables-legacy -t mangle -A PREROUTING -m set --match-set ovn40legacy src -j ACCEPT
iptables-nft -A FORWARD -m set --match-set theirs src -j ACCEPT
iptables-nft -A INPUT -m set --match-set ovn40subnets src -j ACCEPT
iptables-nft -A FORWARD -m set --match-set ovn40subnets dst -j ACCEPT
iptables-nft -A FORWARD -m set --match-set ovn40services dst -j ACCEPT
ip6tables-nft -A FORWARD -m set --match-set ovn60subnets dst -j ACCEPT
iptables-nft -A FORWARD -s 10.16.0.0/16 -m comment --comment ovn-subnet-gateway,one
"""


@pytest.mark.review2
async def test_k4_rules_and_ipsets_that_kube_ovns_agent_left_go_too(host: GatewayLinks) -> None:
    """K4: they stayed until a reboot. A set that a rule of iptables-legacy matches is in use."""
    before = chain("iptables-nft"), chain("ip6tables-nft"), chain("iptables-nft", "INPUT")
    for line in IPSETS.strip().splitlines():
        run(line)
    table = frozenset(tables(CLUSTER))
    done = [str(step) for step in (await converge(host, SELF, table)).steps]
    assert done[-3:] == ["- KubeOvnRules ip6", "- KubeOvnRules ip", "- KubeOvnSets ipset"]
    left = chain("iptables-nft"), chain("ip6tables-nft"), chain("iptables-nft", "INPUT")
    theirs = "-A FORWARD -m set --match-set theirs src -j ACCEPT"
    assert left == ([*before[0], theirs], *before[1:])
    assert run("ipset list -n").split() == ["ovn40legacy", "theirs", "ovnkube"]
    assert not (await converge(host, SELF, table)).steps
    run("iptables-legacy -t mangle -F PREROUTING")
    assert len((await converge(host, SELF, table)).steps) == 1
    assert run("ipset list -n").split() == ["theirs", "ovnkube"]


async def test_a_table_of_iptables_legacy_cleared_right_after_its_repair_is_a_change(
    host: GatewayLinks,
) -> None:
    """The agent asks each second, and then the table is as it was at the question before."""
    assert not host.legacy_changed()
    run("iptables-legacy -P FORWARD DROP")
    for _ in range(2):
        assert host.legacy_changed()
        await converge(host, SELF, wanted(host))
        assert not host.legacy_changed()
        assert len(chain("iptables-legacy")) > 1
        run("iptables-legacy -F FORWARD")
    assert host.legacy_changed()
