"""Which InternalIPs of Nodes the controller believes (E8)."""

import pytest

from ovnlet.core.topology import internal_addresses

pytestmark = pytest.mark.review2


def test_e8_each_node_has_its_own() -> None:
    own = {"a": ("192.0.2.1", "fd00::1"), "b": ("192.0.2.2",), "c": ()}
    assert internal_addresses(own) == (own, {})


def test_e8_an_address_that_two_nodes_claim_is_neither_ones() -> None:
    """A stolen token of one agent could claim another node's address, spelled as it likes."""
    claimed = {
        "a": ("192.0.2.1", "fd00::1"),
        "thief": ("192.0.2.9", "fd00:0:0::1", "192.0.2.1"),
        "third": ("192.0.2.1",),
    }
    believed, ignored = internal_addresses(claimed)
    assert believed == {"a": (), "thief": ("192.0.2.9",), "third": ()}
    assert set(ignored) == {"a", "thief", "third"}
    assert "192.0.2.1 is claimed by the Nodes a, thief, third" in ignored["a"]
    assert "fd00::1 is claimed by the Nodes a, thief" in ignored["thief"]
    assert "fd00" not in ignored["third"]


def test_e8_text_that_is_no_address_is_ignored_and_stops_nothing() -> None:
    claimed = {"a": ("192.0.2.1",), "thief": ("192.0.2.1 || 1", "", "999.1.1.1")}
    believed, ignored = internal_addresses(claimed)
    assert believed == {"a": ("192.0.2.1",), "thief": ()}
    assert "'999.1.1.1' is no IP address" in ignored["thief"]


def test_e8_one_node_may_state_an_address_twice() -> None:
    assert internal_addresses({"a": ("192.0.2.1", "192.0.2.1")})[1] == {}
