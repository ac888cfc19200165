"""What the API server tells of Subnets, read."""

from typing import Any

import pytest

from ovnlet.cluster.bodies import subnet
from ovnlet.cluster.subnets import prefixes


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
    assert {
        str(prefix) for prefix in prefixes([subnet({"metadata": {"name": "one", "uid": "u"}, "spec": spec})])
    } == found
