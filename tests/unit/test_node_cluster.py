"""What the API server tells of Subnets and of the agent's own Node, read."""

from typing import Any

import pytest

from ovnlet.cluster.following import _take
from ovnlet.cluster.session import ApiFault
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
    assert {str(prefix) for prefix in prefixes({"one": {"spec": spec}})} == found


def test_a_watch_changes_what_is_there_until_history_is_lost() -> None:
    there: dict[str, Any] = {}
    body = b'"object": {"metadata": {"name": "n0"}, "kind": "Node"}}'
    assert _take(b'{"type": "ADDED", ' + body, there)
    assert list(there) == ["n0"]
    assert _take(b'{"type": "BOOKMARK", ' + body, there)
    assert _take(b'{"type": "DELETED", ' + body, there)
    assert not there
    assert not _take(b'{"type": "ERROR", "object": {"kind": "Status", "code": 410}}', there)


@pytest.mark.parametrize("line", [b"", b"[]", b'{"type": "ADDED"}', b'{"type": "ADDED", "object": {}}'])
def test_what_is_no_event_is_a_fault_of_the_api_servers(line: bytes) -> None:
    with pytest.raises(ApiFault):
        _take(line, {})
