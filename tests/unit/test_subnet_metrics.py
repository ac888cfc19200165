"""What was forwarded for each Subnet, by the names that Kube-OVN's dashboards know."""

from prometheus_client import generate_latest

from ovnlet.agent.metrics import Metrics
from ovnlet.agent.subnet_metrics import SubnetCount


def test_each_direction_and_family_has_kube_ovns_labels() -> None:
    one = SubnetCount("n0", "ovn-default", "10.16.0.0/16", "egress", "IPv4", 700, 7)
    text = generate_latest(Metrics(list, subnets=lambda: [one]).registry).decode()
    labels = (
        '{cidr="10.16.0.0/16",direction="egress",hostname="n0",protocol="IPv4",'
        'subnet_name="ovn-default/egress/IPv4"}'
    )
    assert f"ovn_subnet_gateway_packets{labels} 7.0" in text
    assert f"ovn_subnet_gateway_packet_bytes{labels} 700.0" in text


def test_without_subnets_there_are_no_series() -> None:
    text = generate_latest(Metrics(list).registry).decode()
    assert "ovn_subnet_gateway_packets{" not in text
    assert "# TYPE ovn_subnet_gateway_packets gauge" in text
