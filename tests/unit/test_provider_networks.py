"""What ProviderNetworks and Vlans want of a node, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from ovnlet.core.errors import NodeFault
from ovnlet.core.plan import Verb, diff
from ovnlet.core.resources import LinkEntry, LinkUp, Network, UplinkBridge, UplinkPort
from ovnlet.core.underlay import networks
from ovnlet.core.underlay.networks import Intent, ProviderNetwork, Vlan, Wanted, of_node
from ovnlet.core.underlay.record import Found, Record, chassis_mac, from_json, to_json
from ovnlet.drivers.store.journal import Journal

ENTRIES = (
    LinkEntry("eth0", "address", "192.0.2.10/24", b"\x02\x18", 0),
    LinkEntry("eth0", "route", "default via 192.0.2.1", b"\x02\x00", 1500),
)
FOUND = Found(
    ENTRIES, "02:00:00:00:00:01", "netdev", "02:11:22:33:44:55", (("ipv4/rp_filter", "2"),)
)
RECORD = Record(Intent("net1", "eth0", "br-net1", (0, 10), "u/3"), FOUND, "settled", ("gateway a",))


def network(name: str = "net1", **spec: Any) -> ProviderNetwork:
    return ProviderNetwork(name, f"uid-{name}", 1, False, {"defaultInterface": "eth0", **spec})


def wanted(*every: ProviderNetwork, labels: dict[str, str] | None = None) -> Wanted:
    return of_node("n1", labels or {}, every, [], {})


def test_the_default_interface_and_the_vlans_of_the_network() -> None:
    vlans = [Vlan("a", "1", 10, "net1"), Vlan("b", "2", 20, "other"), Vlan("c", "3", 7, "net1")]
    found = of_node("n1", {}, [network()], vlans, {})
    assert found.intents == {"net1": Intent("net1", "eth0", "br-net1", (0, 7, 10), "uid-net1/1")}


def test_the_first_custom_interface_that_names_the_node() -> None:
    entries = [
        {"interface": "eth1", "nodes": ["n2"]},
        {"interface": "eth2", "nodes": ["n2", "n1"]},
        {"interface": "eth3", "nodes": ["n1"]},
    ]
    assert wanted(network(customInterfaces=entries)).intents["net1"].nic == "eth2"


@pytest.mark.parametrize(
    ("spec", "labels", "chosen"),
    [
        ({"excludeNodes": ["n1"]}, {}, False),
        ({"excludeNodes": ["n2"]}, {}, True),
        ({"nodeSelector": {"matchLabels": {"rack": "a"}}}, {"rack": "a"}, True),
        ({"nodeSelector": {"matchLabels": {"rack": "a"}}}, {}, False),
        (
            {"nodeSelector": {"matchLabels": {"rack": "a"}}, "excludeNodes": ["n1"]},
            {"rack": "a"},
            True,
        ),
    ],
)
def test_which_nodes_it_is_for(spec: dict[str, Any], labels: dict[str, str], chosen: bool) -> None:
    """With a selector, `excludeNodes` is ignored, as by Kube-OVN."""
    found = wanted(network(**spec), labels=labels)
    assert ("net1" in found.intents) is chosen
    assert ("net1" in found.excluded) is not chosen


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"defaultInterface": ""}, "is not the name of an interface"),
        ({"defaultInterface": "a/b"}, "is not the name of an interface"),
        ({"defaultInterface": "a" * 16}, "is not the name of an interface"),
        ({"exchangeLinkName": True}, "exchangeLinkName is not supported"),
        ({"preserveVlanInterfaces": True}, "preserveVlanInterfaces and vlanInterfaces are not"),
        (
            {"defaultInterface": "eth0.5", "autoCreateVlanSubinterfaces": True},
            "autoCreateVlanSubinterfaces is not supported",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(spec: dict[str, Any], why: str) -> None:
    found = wanted(network(**spec))
    assert not found.intents
    assert why in found.refused["net1"]


def test_a_name_whose_bridge_cannot_exist_is_refused() -> None:
    assert "too long" in wanted(network("a" * 13)).refused["a" * 13]


def test_two_networks_that_want_one_nic_the_holder_keeps_it() -> None:
    both = [network("aaa"), network("bbb")]
    found = of_node("n1", {}, both, [], {})
    assert set(found.intents) == {"aaa"}
    assert found.refused == {"bbb": "ProviderNetwork bbb: eth0 belongs to ProviderNetwork aaa"}
    found = of_node("n1", {}, both, [], {"eth0": "bbb"})
    assert set(found.intents) == {"bbb"}


def test_a_network_that_is_being_deleted_wants_nothing() -> None:
    gone = ProviderNetwork("net1", "u", 1, True, {"defaultInterface": "eth0"})
    assert wanted(gone) == Wanted()


def test_objects_are_read_with_the_deprecated_names_too() -> None:
    metadata = {"name": "v", "uid": "u"}
    spec = {"vlanId": 5, "providerInterfaceName": "net1"}
    assert networks.vlan({"metadata": metadata, "spec": spec}) == Vlan("v", "u", 5, "net1")
    assert networks.vlan({"metadata": metadata}) == Vlan("v", "u", 0, "provider")
    body = {"metadata": {**metadata, "generation": 4}, "spec": {"defaultInterface": "eth0"}}
    assert networks.provider_network(body).generation == 4


def test_nothing_is_removed_before_its_copy_and_the_nic_are_in_place() -> None:
    before: Network = frozenset({*ENTRIES, LinkUp("eth0")})
    steps = diff(RECORD.desired(), before)
    verbs = [step.verb for step in steps]
    assert verbs == sorted(verbs, key=[Verb.ENSURE, Verb.REMOVE].index)
    kinds = [type(step.resource) for step in steps if step.verb is Verb.ENSURE]
    assert kinds.index(UplinkBridge) < kinds.index(LinkEntry) < kinds.index(UplinkPort)
    assert [str(step) for step in steps if step.verb is Verb.REMOVE] == [
        "- LinkEntry eth0 route default via 192.0.2.1",
        "- LinkEntry eth0 address 192.0.2.10/24",
    ]


def test_an_entry_with_other_attributes_is_not_recorded_twice() -> None:
    """An address that somebody sets on the NIC again often lacks the broadcast address."""
    again = LinkEntry("eth0", "address", "192.0.2.10/24", b"other")
    assert RECORD.refreshed([again], (), 0.0) is RECORD
    new = LinkEntry("eth0", "address", "192.0.2.11/24", b"other")
    assert RECORD.refreshed([again, new], (), 0.0).found.entries == (*ENTRIES, new)


def test_the_mac_for_ovn_is_the_same_each_time_and_its_own_on_each_node() -> None:
    own = chassis_mac("02:00:00:00:00:01", "net1")
    assert own == chassis_mac("02:00:00:00:00:01", "net1")
    assert own != chassis_mac("02:00:00:00:00:02", "net1")
    assert own.startswith("02:")
    assert len(own) == 17


def test_a_record_survives_the_disk(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "uplinks")
    assert list(journal.read()) == []
    journal.write(RECORD)
    assert list(journal.read()) == [RECORD]
    journal.remove("net1")
    journal.remove("net1")
    assert list(journal.read()) == []


@pytest.mark.parametrize("damage", ["", "{", "[]", "no phase", "no entries"])
def test_a_damaged_record_is_never_taken_for_none(tmp_path: Path, damage: str) -> None:
    body = to_json(RECORD)
    if damage == "no phase":
        body["phase"] = "elsewhere"
    if damage == "no entries":
        del body["found"]["entries"]
    text = json.dumps(body) if damage.startswith("no") else damage
    (tmp_path / "net1.json").write_text(text)
    with pytest.raises(NodeFault, match="the record of a move"):
        list(Journal(tmp_path).read())


def test_a_disk_that_is_full_refuses_and_keeps_the_old_record(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NodeFault, match="cannot be written"):
        Journal(tmp_path / "file").write(RECORD)


def test_json_keeps_all_of_a_record() -> None:
    assert from_json(json.loads(json.dumps(to_json(RECORD)))) == RECORD
