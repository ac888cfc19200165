"""Subnets as people write them: which rows they become, and why some are refused."""

from typing import Any

import pytest

from ovnlet.core import topology
from ovnlet.core.ipam import subnets
from ovnlet.core.ipam.subnets import Unusable
from ovnlet.core.resources.northbound import RouterPort, Switch


def config(**spec: Any) -> dict[str, str]:
    rows = topology.subnet(subnets.read("s", spec), "r")
    return dict(next(row for row in rows if isinstance(row, Switch)).config)


def test_both_families_become_ovns_address_settings() -> None:
    assert config(
        cidrBlock="fd00:10:16::/64,10.16.0.0/16", excludeIps=["10.16.0.9..10.16.0.20", "10.16.0.5"]
    ) == {
        "subnet": "10.16.0.0/16",
        "exclude_ips": "10.16.0.1 10.16.0.5 10.16.0.9..10.16.0.20",
        "ipv6_prefix": "fd00:10:16::",
    }


def test_the_routers_port_has_the_gateways() -> None:
    rows = topology.subnet(
        subnets.read("s", {"cidrBlock": "10.1.0.0/24,fd00::/64", "gateway": "10.1.0.254"}), "r"
    )
    port = next(row for row in rows if isinstance(row, RouterPort))
    assert port.networks == {"10.1.0.254/24", "fd00::1/64"}
    assert int(port.mac[:2], 16) & 3 == 2, "local, and of one host"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({}, "cidrBlock"),
        ({"cidrBlock": "10.0.0.0/16,10.1.0.0/16"}, "one prefix of each family"),
        ({"cidrBlock": "10.0.0.1/16"}, "host bits"),
        ({"cidrBlock": "300.0.0.0/16"}, "300.0.0.0/16"),
        ({"cidrBlock": "fd00::/112"}, "/64 only"),
        ({"cidrBlock": "10.0.0.0/31"}, "from /8 to /30"),
        ({"cidrBlock": "224.0.0.0/8"}, "not host addresses"),
        ({"cidrBlock": "10.0.0.0/24", "gateway": "10.0.1.1"}, "is not a host address"),
        ({"cidrBlock": "10.0.0.0/24", "gateway": "10.0.0.255"}, "is not a host address"),
        ({"cidrBlock": "10.0.0.0/24", "gateway": "fd00::1"}, "no IPv6"),
        ({"cidrBlock": "10.0.0.0/24", "gateway": "x"}, "gateway"),
        ({"cidrBlock": "10.0.0.0/24", "excludeIps": ["10.0.1.1"]}, "not inside"),
        ({"cidrBlock": "10.0.0.0/24", "excludeIps": ["10.0.0.9..10.0.0.2"]}, "ends before"),
        ({"cidrBlock": "10.0.0.0/24", "excludeIps": ["me"]}, "excludeIps"),
        ({"cidrBlock": "10.0.0.0/24", "protocol": "Dual"}, "protocol"),
    ],
)
def test_what_a_schema_cannot_refuse_is_refused_with_a_reason(
    spec: dict[str, Any], words: str
) -> None:
    with pytest.raises(Unusable, match=words):
        subnets.read("s", spec)


def test_the_older_of_two_overlapping_subnets_wins() -> None:
    old = subnets.read("old", {"cidrBlock": "10.0.0.0/16", "namespaces": ["shop"], "default": True})
    for spec, words in (
        ({"cidrBlock": "10.0.5.0/24"}, "overlaps 10.0.0.0/16 of subnet old"),
        ({"cidrBlock": "10.1.0.0/24", "namespaces": ["a", "shop"]}, "namespace shop"),
        ({"cidrBlock": "10.1.0.0/24", "default": True}, "already the default"),
    ):
        assert words in (subnets.clash(subnets.read("new", spec), [old]) or "")
    assert subnets.clash(subnets.read("new", {"cidrBlock": "fd00::/64"}), [old]) is None


@pytest.mark.parametrize(
    ("spec", "free"),
    [
        ({"cidrBlock": "10.0.0.0/26"}, 61),
        ({"cidrBlock": "10.0.0.0/24", "gateway": "10.0.0.254"}, 252),
        (
            {
                "cidrBlock": "10.0.0.0/24",
                "excludeIps": ["10.0.0.1..10.0.0.9", "10.0.0.5..10.0.0.20"],
            },
            234,
        ),
        ({"cidrBlock": "fd00::/64"}, 0),
    ],
)
def test_how_many_addresses_there_are(spec: dict[str, Any], free: int) -> None:
    assert subnets.read("s", spec).capacity == free
