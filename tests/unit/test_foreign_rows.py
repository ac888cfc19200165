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
    settings = ControllerSettings.of({"identity": "a"})
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


def switch(name: str, **labels: str) -> dict[str, Any]:
    """Return a row of a logical switch without ports."""
    empty: dict[str, Any] = {"ports": frozenset(), "load_balancer_group": frozenset()}
    return {"name": name, "other_config": {}, "external_ids": labels, **empty}


async def test_a_second_switch_of_the_name_changes_nothing_when_it_comes_or_goes() -> None:
    """OVN's schema allows two logical switches of one name."""
    ours = switch("shop", ovnlet="ovnlet")
    client = northbound(**{schema.SWITCH: {"ours": ours}})
    rows, theirs = client._database.rows[schema.SWITCH], switch("shop")
    rows["theirs"] = theirs
    client._process_changes([(schema.SWITCH, "theirs", None, theirs)])
    assert client.subnet("shop", "ovn-cluster")
    del rows["theirs"]
    client._process_changes([(schema.SWITCH, "theirs", theirs, None)])
    assert client.has(switch="shop")
    assert client.subnet("shop", "ovn-cluster")


async def test_a_switch_that_somebody_renamed_is_not_there_by_its_old_name() -> None:
    ours = {**switch("shop", ovnlet="ovnlet"), "ports": frozenset({"p"})}
    client = northbound(**{schema.SWITCH: {"ours": ours}})
    renamed = client._database.rows[schema.SWITCH]["ours"] = {**ours, "name": "other"}
    client._process_changes([(schema.SWITCH, "ours", ours, renamed)])
    assert (client.has(switch="shop"), client.has(switch="other")) == (False, True)
    assert client._index.switch_of("p") == "other"
