"""Rows of the northbound database that somebody else made, as the client sees them."""

from typing import Any

import pytest

from ovnlet.core.errors import Taken
from ovnlet.core.settings import ControllerSettings
from ovnlet.drivers.northbound import schema
from ovnlet.drivers.northbound.client import Northbound

pytestmark = pytest.mark.review2


def northbound(**rows: dict[str, dict[str, Any]]) -> Northbound:
    """Return a client whose copy has these rows, by table and UUID."""
    settings = ControllerSettings.model_validate({"identity": "a"})
    client = Northbound(settings, lambda *_: None, lambda: None, lambda _: None)
    client._database.rows |= rows
    client._database.connected.set()
    client._process_dump()
    return client


async def test_a_router_port_of_somebody_else_with_our_name_is_left_alone() -> None:
    """OVN's schema allows one router port of a name: a write would change the other router's."""
    port = {
        "name": "ovn-cluster-shop",
        "mac": "0a:00:00:00:00:01",
        "networks": frozenset({"192.0.2.1/24"}),
        "external_ids": {},
    }
    theirs = {
        "name": "theirs",
        "ports": frozenset({"p"}),
        "static_routes": frozenset(),
        "policies": frozenset(),
        "external_ids": {},
    }
    rows = {schema.ROUTER_PORT: {"p": port}, schema.ROUTER: {"r": theirs}}
    with pytest.raises(Taken, match="ovn-cluster-shop"):
        northbound(**rows).subnet("shop", "ovn-cluster")
    port["external_ids"] = {"ovnlet": "ovnlet"}
    assert not northbound(**rows).subnet("shop", "ovn-cluster")
