"""Pods of a VLAN, in memory: the wait of an ADD for the node's uplink, and the MTU."""

import asyncio
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from kit.memory import COMPLETE, World, pod
from kit.uplinks import Nothing
from ovnlet.agent.underlay import Underlay
from ovnlet.core.annotations import SUBNET_MTU
from ovnlet.core.errors import NotReady
from ovnlet.core.settings import Settings
from ovnlet.core.underlay.networks import ERROR, Intent, Wanted, label
from ovnlet.core.underlay.record import Found, Record
from ovnlet.kube import subnets
from ovnlet.kube.objects import OwnNode
from ovnlet.kube.provider_networks import ProviderLabels
from ovnlet.reconcile.loop import Loop
from ovnlet.reconcile.scopes.provider_reports import Labels, ProviderReports

VLAN = {**COMPLETE, "ovn.kubernetes.io/provider_network": "net1"}
INTENT = Intent("net1", "eth0", "br-net1")
FOUND = Found((), "02:00:00:00:00:01", "", "02:00:00:00:00:02")


@pytest.fixture
def world() -> World:
    world = World()
    world.unjoined["net1"] = "no interface eth0"
    return world


@pytest.mark.looptime
async def test_without_the_uplink_the_add_fails_in_five_seconds_and_names_the_network(
    world: World,
) -> None:
    world.tell(pod(VLAN))
    with pytest.raises(NotReady, match=r"ProviderNetwork net1 .* no interface eth0"):
        await world.attaching.add(world.attachment())
    assert world.nothing_left()
    assert asyncio.get_running_loop().time() < 5


@pytest.mark.looptime
async def test_an_uplink_that_comes_in_time_is_waited_for(world: World) -> None:
    world.tell(pod(VLAN))
    asyncio.get_running_loop().call_later(3, world.host.joins.set)
    assert (await world.attaching.add(world.attachment())).desired
    assert asyncio.get_running_loop().time() == pytest.approx(3, abs=0.1)


@pytest.mark.looptime
@pytest.mark.parametrize("text", [COMPLETE, {**VLAN, "ovn.kubernetes.io/provider_network": "n2"}])
async def test_a_pod_without_a_network_or_of_one_with_a_logical_gateway_waits_for_none(
    world: World, text: dict[str, str]
) -> None:
    world.tell(pod(text))
    assert (await world.attaching.add(world.attachment())).desired
    assert asyncio.get_running_loop().time() < 1


def reports() -> tuple[ProviderReports, list[Labels]]:
    seen: list[Labels] = []
    return ProviderReports(lambda *_: None, seen.append, lambda _: 1500), seen


def test_the_node_says_why_a_network_is_not_there() -> None:
    told, seen = reports()
    told.wanted(Wanted({}, {"net1": "no interface eth0"}))
    assert seen[-1] == {(label("net1", ERROR), "no interface eth0")}
    told.wanted(Wanted({"net1": INTENT}))
    told.show([Record(INTENT, FOUND, "held", why="gateway 192.0.2.1 does not answer within 30 s")])
    assert seen[-1] == {(label("net1", ERROR), "gateway 192.0.2.1 does not answer within 30 s")}
    told.show([Record(INTENT, FOUND, "settled")])
    assert (label("net1", "ready"), "true") in seen[-1]
    assert label("net1", ERROR) not in dict(seen[-1])


@pytest.mark.parametrize(
    ("wanted", "records", "words"),
    [
        (None, (), "not known yet"),
        (Wanted(), (), "no such ProviderNetwork"),
        (Wanted(excluded=frozenset({"net1"})), (), "excludes this node"),
        (Wanted({}, {"net1": "refused so"}), (), "refused so"),
        (Wanted({"net1": INTENT}), (), "not in the bridge yet"),
        (Wanted({"net1": INTENT}), (Record(INTENT, FOUND, "settled"),), ""),
    ],
)
def test_why_an_add_waits(wanted: Wanted | None, records: Iterable[Record], words: str) -> None:
    told, _ = reports()
    if wanted is not None:
        told.wanted(wanted)
    told.show(records)
    found = told.why("net1")
    assert words in found
    assert bool(found) == bool(words)


def test_the_reason_is_an_annotation_and_goes_again() -> None:
    nothing: Any = Nothing()
    labels = ProviderLabels(nothing, "n1")
    why = label("net1", ERROR)
    labels.seen(OwnNode("n1", "u", {why: "old"}, labels={label("net1", "ready"): "true"}))
    assert labels.body(frozenset({(why, "new")}))["metadata"] == {
        "labels": {label("net1", "ready"): None},
        "annotations": {why: "new"},
    }
    assert labels.body(frozenset())["metadata"]["annotations"] == {why: None}


@pytest.mark.parametrize("underlay", ["off", "manage"])
def test_only_a_subnet_whose_gateway_is_outside_needs_an_uplink(
    underlay: Any, tmp_path: Any
) -> None:
    nothing: Any = Nothing()
    settings = Settings(node_name="n1", underlay=underlay, state_dir=str(tmp_path))
    cluster: Any = SimpleNamespace(is_underlay=lambda name: name == "shop")
    made = Underlay(settings, nothing, Loop(), nothing, cluster)
    made.make_scope(nothing, nothing)
    assert made.unjoined("net1", "ovn-default") is None
    words = "ovn-bridge-mappings" if underlay == "off" else "not known yet"
    assert words in (made.unjoined("net1", "shop") or "")


def cluster_of(**spec: Any) -> Any:
    subnet = SimpleNamespace(name="shop", spec=spec)
    return SimpleNamespace(
        is_underlay=lambda name: name == "shop",
        vlan_of=lambda name: "v10" if name == "shop" else "",
        facts={"shop": subnets.facts(subnet), "plain": {}}.get,  # type: ignore[arg-type]
        subnets=[subnet],
    )


def test_pods_have_the_mtu_of_the_link_unless_their_subnet_has_one(tmp_path: Any) -> None:
    nothing: Any = Nothing()
    settings = Settings(node_name="n1", underlay="manage", state_dir=str(tmp_path))
    made = Underlay(settings, nothing, Loop(), nothing, cluster_of())
    made.make_scope(nothing, nothing)
    made._reports._mtu = {"eth0": 9000}.__getitem__
    edited: list[str] = []
    made.edited = edited.append
    assert made.facts("plain") == {}
    assert made.facts("shop") is None, "nothing is known: running pods keep what they have"
    vlans = made._vlans
    meta = {"name": "v10", "uid": "u", "resourceVersion": "1"}
    vlans.update(vlans.read({"metadata": meta, "spec": {"id": 10, "provider": "net1"}}))
    assert made.facts("shop") is None
    made._reports.wanted(Wanted({"net1": INTENT}))
    made._reports.show([Record(INTENT, FOUND, "settled")])
    assert (made.facts("shop"), edited) == ({SUBNET_MTU: "9000"}, ["shop"])
    made._reports.show([Record(INTENT, FOUND, "settled")])
    assert edited == ["shop"], "the same labels ask for no pass"
    made._cluster = cluster_of(mtu=1400)
    assert made.facts("shop") == {SUBNET_MTU: "1400"}
