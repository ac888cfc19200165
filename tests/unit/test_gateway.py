"""The node as a gateway: from objects of the API server to texts, and from these to the table."""

import json
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from ovnlet.core.gateway import Cluster, Egress, NatPolicy, collapsed, parse, port
from ovnlet.core.gateway_network import counter, tables
from ovnlet.core.gateway_routing import accepts, routing
from ovnlet.core.node_network import HostPrefix
from ovnlet.core.resources import NftChain, NftCounter, NftSet, PolicyRoute, PolicyRule
from ovnlet.core.resources.nft_statements import Rule
from ovnlet.kube import gateway
from ovnlet.kube.objects import OwnNode, other_node, own_node, subnet
from ovnlet.kube.service_addresses import ServiceAddresses, service_addresses

OWN = own_node(
    {
        "metadata": {
            "name": "n0",
            "uid": "u",
            "labels": {"zone": "a"},
            "annotations": {
                "ovn.kubernetes.io/cidr": "100.64.0.0/16",
                "ovn.kubernetes.io/ip_address": "100.64.0.2",
            },
        },
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.7"}]},
    }
)


def text(*specs: dict[str, Any], services: tuple[ServiceAddresses, ...] = ()) -> dict[str, str]:
    subnets = [
        subnet(
            {
                "metadata": {"name": spec.pop("name", f"s{number}"), "uid": str(number)},
                "status": spec.pop("status", {}),
                "spec": {"cidrBlock": f"10.{number}.0.0/16,fd00:10:{number:x}::/64", **spec},
            }
        )
        for number, spec in enumerate(specs, 16)
    ]
    other = other_node(
        {
            "metadata": {"name": "n1", "uid": "v", "annotations": {"ovn.kubernetes.io/cidr": "x"}},
            "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.8"}]},
        }
    )
    assert other == OwnNode("n1", "v", internal=("192.0.2.8",))
    found = gateway.of_router(subnets, "ovn-cluster")
    return gateway.text(OWN, [OWN, other], found, services)


def cluster(*specs: dict[str, Any]) -> Cluster:
    return parse(text(*specs))


def elements(found: Cluster, name: str) -> set[str]:
    (one,) = (each for each in tables(found) if isinstance(each, NftSet) and each.name == name)
    return {str(each) for each in one.elements.of}


def rules(found: Cluster, chain: str) -> list[str]:
    (one,) = (each for each in tables(found) if isinstance(each, NftChain) and each.name == chain)
    return [" ".join(map(str, rule)) for rule in one.rules.of]


def test_which_subnets_are_in_which_set() -> None:
    found = cluster(
        {"natOutgoing": True},
        {"natOutgoing": True, "gatewayType": "centralized"},
        {"gatewayType": "distributed"},
        {"natOutgoing": True, "vlan": "v1"},
        {"natOutgoing": True, "vpc": "tenant"},
    )
    assert elements(found, "subnets4") == {"10.16.0.0/15", "10.18.0.0/16", "100.64.0.0/16"}
    assert elements(found, "nat4") == {"10.16.0.0/15"}
    assert elements(found, "nat6") == {"fd00:10:10::/64", "fd00:10:11::/64"}
    assert elements(found, "distributed4") == {"10.16.0.0/16", "10.18.0.0/16"}
    assert elements(found, "peers4") == {"192.0.2.8/32"}


def test_what_a_service_adds() -> None:
    def read(**spec: Any) -> ServiceAddresses | None:
        return service_addresses(
            {"metadata": {"namespace": "a", "name": "b", "uid": "u"}, "spec": spec}
        )

    assert read(clusterIP="None") is None
    assert read(type="ExternalName") is None
    ports = [{"port": 80, "nodePort": 30080}, {"port": 53, "nodePort": 30053, "protocol": "UDP"}]
    local = read(
        clusterIP="10.96.0.1",
        clusterIPs=["10.96.0.1", "fd00::1"],
        type="NodePort",
        externalTrafficPolicy="Local",
        ports=ports,
    )
    plain = read(clusterIP="10.96.0.2", type="NodePort", ports=ports)
    assert local is not None
    assert plain is not None
    assert plain.local_ports == ()
    found = parse(text({}, services=(local, plain)))
    assert elements(found, "services4") == {"10.96.0.1/32", "10.96.0.2/32"}
    assert elements(found, "services6") == {"fd00::1/128"}
    assert found.local_ports == {(6, 30080), (17, 30053)}
    assert port("SCTP/1") == (132, 1)
    with pytest.raises(ValueError, match="no protocol"):
        port("ICMP/1")


def test_the_first_policy_that_matches_decides_and_zero_length_prefixes_work() -> None:
    policies = [
        {"match": {"dstIPs": "10.0.11.1"}, "action": "forward"},
        {"match": {"srcIPs": "10.16.1.0/24", "dstIPs": "10.0.11.0/24,::/0"}, "action": "nat"},
        {"match": {"srcIPs": "0.0.0.0/0"}, "action": "forward"},
        {"match": {"dstIPs": "nonsense"}, "action": "nat"},
        {"match": {}, "action": "nat"},
        {"match": {"dstIPs": "192.0.2.1"}, "action": "reject"},
    ]
    found = cluster({"name": "one", "natOutgoing": True, "natOutgoingPolicyRules": policies})
    assert rules(found, "policy-one") == [
        "ip daddr @policy-one-1-daddr4 accept",
        "ip saddr @policy-one-2-saddr4 ip daddr @policy-one-2-daddr4 goto translate",
        "ip saddr @policy-one-3-saddr4 accept",
    ]
    assert elements(found, "policy-one-3-saddr4") == {"0.0.0.0/0"}
    assert [each[:32] for each in found.problems] == ["Subnet one: natOutgoingPolicyRules"[:32]] * 3
    assert NatPolicy((), (ip_network("::/0"),), nat=True).of(4) is None
    without_nat = cluster({"name": "one", "natOutgoingPolicyRules": policies})
    assert "policy-one" not in {
        each.name for each in tables(without_nat) if isinstance(each, NftChain)
    }


@pytest.mark.parametrize(
    ("spec", "designated"),
    [
        ({"gatewayNode": "n0:192.0.2.7", "status": {"activateGateway": "n0"}}, ["192.0.2.7"]),
        ({"gatewayNode": "n0: 192.0.2.7", "enableEcmp": True}, ["192.0.2.7"]),
        ({"gatewayNode": "n1:192.0.2.8,n0:2001:db8::7", "enableEcmp": True}, ["2001:db8::7"]),
        (
            {"gatewayNode": "n0:192.0.2.7,n0:2001:db8::7", "enableEcmp": True},
            ["192.0.2.7", "2001:db8::7"],
        ),
        ({"gatewayNode": "n0:192.0.2.7", "status": {"activateGateway": "n1"}}, []),
        ({"gatewayNode": "n0", "enableEcmp": True}, []),
        ({"gatewayNode": "n0:nonsense", "enableEcmp": True}, []),
    ],
)
def test_the_addresses_of_a_centralized_subnet_on_this_node(
    spec: dict[str, Any], designated: list[str]
) -> None:
    found = cluster({"gatewayType": "centralized", "natOutgoing": True, **spec})
    assert [str(each) for each in found.subnets[0].designated] == designated
    translated = [line for line in rules(found, "postrouting") if "!= @subnets" in line]
    for each in designated:
        assert any(f"to {each} " in line for line in translated), translated
    late = [line for line in rules(found, "dropped") if "ct state new drop" in line]
    assert len(late) == len(designated)


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({"policyRoutingTableID": 0, "policyRoutingPriority": 9}, "policyRoutingTableID 0"),
        ({"policyRoutingTableID": 254, "policyRoutingPriority": 9}, "policyRoutingTableID 254"),
        ({"policyRoutingTableID": 255, "policyRoutingPriority": 9}, "policyRoutingTableID 255"),
        ({"policyRoutingTableID": 1 << 32, "policyRoutingPriority": 9}, "policyRoutingTableID"),
        ({"policyRoutingTableID": 1001}, "policyRoutingPriority 0"),
        ({"policyRoutingTableID": 1001, "policyRoutingPriority": 32766}, "policyRoutingPriority"),
    ],
)
def test_numbers_that_would_change_the_hosts_own_routing_are_refused(
    spec: dict[str, Any], problem: str
) -> None:
    found = cluster({"externalEgressGateway": "192.0.2.254", **spec})
    assert found.subnets[0].egress is None
    assert problem in found.problems[0]


EGRESS = {
    "externalEgressGateway": "192.0.2.254,2001:db8::fe",
    "policyRoutingTableID": 1001,
    "policyRoutingPriority": 9,
}
LAN = [
    HostPrefix(ip_network("192.0.2.0/24"), "eth0"),
    HostPrefix(ip_network("192.0.0.0/16"), "eth1"),
    HostPrefix(ip_network("2001:db8::/64"), "eth0"),
]


@pytest.mark.parametrize(
    ("spec", "sources"),
    [
        ({}, {"10.16.0.5/32", "fd00:10:10::5/128"}),
        ({"gatewayType": "centralized", "gatewayNode": "n1"}, set()),
        (
            {"gatewayType": "centralized", "gatewayNode": "n1,n0"},
            {"10.16.0.0/16", "fd00:10:10::/64"},
        ),
        (
            {
                "gatewayType": "centralized",
                "gatewayNodeSelectors": [
                    {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}
                ],
            },
            {"10.16.0.0/16", "fd00:10:10::/64"},
        ),
        (
            {
                "gatewayType": "centralized",
                "gatewayNodeSelectors": [{"matchLabels": {"zone": "b"}}],
            },
            set(),
        ),
        ({"natOutgoing": True}, set()),
    ],
)
def test_what_leaves_by_an_egress_gateway(spec: dict[str, Any], sources: set[str]) -> None:
    found = cluster({**EGRESS, **spec})
    pods = {"s16": [ip_address("10.16.0.5"), ip_address("fd00:10:10::5")]}
    wanted = routing(found, pods, LAN).resources
    assert {str(each.source) for each in wanted if isinstance(each, PolicyRule)} == sources
    routes = {each.link for each in wanted if isinstance(each, PolicyRoute)}
    assert routes == ({"eth0"} if sources else set())


def test_two_subnets_that_want_one_table_for_two_gateways() -> None:
    found = cluster({**EGRESS}, {**EGRESS, "externalEgressGateway": "192.0.2.253"})
    pods = {name: [ip_address("10.17.0.5")] for name in ("s16", "s17")}
    wanted = routing(found, pods, LAN)
    assert "Subnet s17" in wanted.problems[0]
    assert {each.source for each in wanted.resources if isinstance(each, PolicyRule)} == {
        ip_network("10.17.0.5/32")
    }


def test_a_single_counter_for_each_direction_however_long_the_name_and_no_packet_twice() -> None:
    long = "x" * 253
    found = cluster({"name": long}, {"name": "y", "cidrBlock": "10.16.0.0/24"})
    names = {each.name for each in tables(found) if isinstance(each, NftCounter)}
    assert counter(long, "egress", 4) in names
    assert all(len(name) <= 255 for name in names)
    assert len(elements(found, "egress4")) == 1


def test_prefixes_that_overlap_become_one() -> None:
    given = map(ip_network, ("10.0.0.0/8", "10.1.0.0/16", "fd00::/64", "10.0.0.0/8"))
    assert {str(each) for each in collapsed(given)} == {"10.0.0.0/8", "fd00::/64"}


def test_what_the_firewall_must_let_pass() -> None:
    found = accepts(cluster({}), [("ip", "FORWARD"), ("ip6", "INPUT")])
    shown = {(each.family, each.chain): [*map(str, each.accepted)] for each in found}
    assert shown["ip6", "INPUT"] == ["-s fd00:10:10::/64"]
    assert shown["ip", "FORWARD"][:2] == ["-s 10.16.0.0/16", "-d 10.16.0.0/16"]
    assert accepts(Cluster(), [("ip", "FORWARD")]) == frozenset()


@pytest.mark.parametrize(("family", "version"), [("legacy ip", 4), ("legacy ip6", 6)])
def test_chains_of_iptables_legacy_accept_prefixes_of_their_own_family(
    family: str, version: int
) -> None:
    (found,) = accepts(cluster({}), [(family, "FORWARD")])
    assert {each.prefix.version for each in found.accepted} == {version}


def test_what_the_api_server_lets_pass_is_left_out() -> None:
    found = parse({"subnets": "[]", "peers": "nonsense,192.0.2.8", "local_ports": "TCP/x"})
    assert found == Cluster(peers=frozenset({ip_address("192.0.2.8")}))
    assert parse({}) == Cluster()
    body = [{"name": "one", "spec": {"cidrBlock": "0.0.0.0/0,nonsense,10.16.0.0/16"}}]
    assert parse({"subnets": json.dumps(body)}).subnets[0].prefixes == (ip_network("10.16.0.0/16"),)
    assert Egress((), 1, 1, whole=False) != Egress((), 1, 1, whole=True)


def test_every_rule_ends_with_a_verdict_or_acts() -> None:
    found = cluster({"natOutgoing": True})
    every: list[Rule] = [
        rule for each in tables(found) if isinstance(each, NftChain) for rule in each.rules.of
    ]
    assert all(rule for rule in every)
    assert rules(found, "postrouting")[-1].endswith("ip6 daddr != @subnets6 goto translate")


def test_an_address_of_a_gateway_that_no_link_has_is_reported() -> None:
    spec = {"gatewayType": "centralized", "natOutgoing": True, "enableEcmp": True}
    found = cluster({**spec, "gatewayNode": "n0:192.0.2.7,n0:2001:db8::9"})
    host = [HostPrefix(ip_network("192.0.2.0/24"), "eth0", ip_address("192.0.2.7"))]
    (problem,) = routing(found, {}, host).problems
    assert "2001:db8::9" in problem
