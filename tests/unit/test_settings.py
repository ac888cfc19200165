"""The settings: the prefixes of the cluster."""

from ipaddress import ip_network

import pytest

from ovnlet.core.settings import Settings

PREFIXES = frozenset({ip_network("10.16.0.0/16"), ip_network("fd00:10:16::/64")})


@pytest.mark.parametrize("wrong", ["nonsense", "10.16.0.0/33", "0.0.0.0/0", "10.16.0.1/16"])
def test_wrong_prefixes_are_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="cluster_cidrs"):
        Settings(node_name="n0", cluster_cidrs=wrong)


def test_prefixes_are_read() -> None:
    found = Settings(node_name="n0", cluster_cidrs="10.16.0.0/16, fd00:10:16::/64")
    assert found.clusters == PREFIXES
