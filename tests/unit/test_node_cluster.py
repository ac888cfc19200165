"""What the API server tells of Subnets, read."""

from typing import Any

import pytest

from ovnlet.core.annotations import SUBNET_GATEWAY, SUBNET_MTU
from ovnlet.core.ipam.subnets import SubnetObject
from ovnlet.kube.objects import subnet
from ovnlet.kube.subnets import facts, reach


def of(spec: dict[str, Any]) -> SubnetObject:
    return subnet({"metadata": {"name": "one", "uid": "u"}, "spec": spec})


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ({"cidrBlock": "10.16.0.0/16,fd00:10:16::/64"}, {"10.16.0.0/16", "fd00:10:16::/64"}),
        ({"cidrBlock": "10.17.0.0/16", "vpc": "ovn-cluster"}, {"10.17.0.0/16"}),
        ({"cidrBlock": "10.17.0.0/16", "vpc": "tenant"}, set()),
        ({"cidrBlock": "192.0.2.0/24", "vlan": "v1"}, set()),
        ({"cidrBlock": "192.0.2.0/24", "vlan": "v1", "logicalGateway": True}, {"192.0.2.0/24"}),
        ({"cidrBlock": "nonsense,0.0.0.0/0"}, set()),
        ({}, set()),
    ],
)
def test_prefixes_that_the_clusters_router_reaches(spec: dict[str, Any], found: set[str]) -> None:
    reached = reach([of(spec)], "ovn-cluster")
    assert {str(prefix) for prefix in reached.clusters} == found


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ({"mtu": 1300, "gateway": "10.16.0.1"}, {SUBNET_MTU: "1300", SUBNET_GATEWAY: "10.16.0.1"}),
        ({"mtu": 0, "gateway": ""}, {}),
        ({"gateway": "10.16.0.1", "u2oInterconnection": True}, {}),
    ],
)
def test_what_running_pods_follow(spec: dict[str, Any], found: dict[str, str]) -> None:
    assert facts(of(spec)) == found
    assert facts(None) is None
