"""What the wiring of provider networks does with the setting, the lists and the Node."""

from pathlib import Path
from typing import Any

import pytest

from kit.uplinks import INTENT, Nothing
from ovnlet.agent.underlay import Underlay
from ovnlet.core.settings import Settings
from ovnlet.core.underlay.networks import label
from ovnlet.core.underlay.record import Found, Record
from ovnlet.drivers.ovs.boot_unit import NAME, BootUnit
from ovnlet.drivers.store.journal import Journal
from ovnlet.kube.objects import OwnNode
from ovnlet.kube.provider_networks import ProviderLabels
from ovnlet.reconcile.loop import Loop

NODE = OwnNode("n1", "u-1", labels={"rack": "a", label("net1", "ready"): "true"})


def wired(tmp_path: Path, **settings: Any) -> Underlay:
    chosen = Settings(node_name="n1", state_dir=str(tmp_path), **settings)
    nothing: Any = Nothing()
    underlay = Underlay(chosen, nothing, Loop(), nothing, nothing)
    underlay.make_scope(nothing, nothing)
    return underlay


def network(name: str, version: int, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "uid": "u", "resourceVersion": str(version), "generation": version}
    return {"metadata": metadata, "spec": {"defaultInterface": "eth0", **spec}}


@pytest.mark.parametrize(("setting", "lists"), [("off", 0), ("plan", 2), ("manage", 2)])
async def test_off_lists_nothing(tmp_path: Path, setting: str, lists: int) -> None:
    underlay = wired(tmp_path, underlay=setting)
    underlay.load()
    assert len(underlay.relists) == lists
    names = [part.name for part in underlay.parts()]
    assert ("uplinks" in names) is (setting == "manage")
    assert not underlay.scope.active.is_set(), "it connects to OVSDB"


async def test_nothing_is_wanted_before_all_lists_and_the_node_are_known(tmp_path: Path) -> None:
    underlay = wired(tmp_path, underlay="manage")
    networks, vlans = (each.store for each in underlay.relists)
    networks.replace([networks.read(network("net1", 1))], 1)
    assert list(underlay.scope.every_key()) == []
    vlans.replace([], 1)
    assert list(underlay.scope.every_key()) == []
    underlay.seen(NODE)
    assert list(underlay.scope.every_key()) == ["net1"]
    networks.update(networks.read(network("net1", 2, nodeSelector={"matchLabels": {"rack": "b"}})))
    assert list(underlay.scope.every_key()) == []


async def test_with_a_record_that_cannot_be_read_nothing_is_done(tmp_path: Path) -> None:
    (tmp_path / "uplinks").mkdir()
    (tmp_path / "uplinks" / "net1.json").write_text("{")
    underlay = wired(tmp_path, underlay="manage")
    underlay.load()
    for each in underlay.relists:
        each.store.replace([], 1)
    underlay.relists[0].store.update(underlay.relists[0].store.read(network("net2", 2)))
    underlay.seen(NODE)
    assert list(underlay.scope.every_key()) == []


async def test_a_record_is_kept_also_where_the_setting_is_off(tmp_path: Path) -> None:
    found = Found((), "02:00:00:00:00:01", "", "02:00:00:00:00:02")
    Journal(tmp_path / "uplinks").write(Record(INTENT, found, "settled"))
    underlay = wired(tmp_path)
    underlay.load()
    assert list(underlay.scope.every_key()) == ["net1"]
    assert underlay.scope.active.is_set()


def test_labels_that_are_not_wanted_are_removed_and_others_stay() -> None:
    nothing: Any = Nothing()
    labels = ProviderLabels(nothing, "n1")
    labels.seen(NODE)
    patch = labels.body(frozenset({(label("net1", "mtu"), "9000")}))
    assert patch == {
        "metadata": {
            "labels": {label("net1", "ready"): None, label("net1", "mtu"): "9000"},
            "annotations": {},
        }
    }


@pytest.mark.parametrize(
    ("setting", "moved", "kept"),
    [("manage", False, True), ("plan", False, False), ("off", False, False), ("off", True, True)],
)
async def test_a_reboot_is_prepared_while_something_may_move_or_has_moved(
    tmp_path: Path, setting: str, moved: bool, kept: bool
) -> None:
    """It is there before the first move, and what somebody removed comes back with a resync."""
    if moved:
        found = Found((), "02:00:00:00:00:01", "", "02:00:00:00:00:02")
        Journal(tmp_path / "uplinks").write(Record(INTENT, found, "settled"))
    drop_in = tmp_path / "units" / NAME
    BootUnit(str(tmp_path / "units")).write()  # of an agent that had another setting
    underlay = wired(tmp_path, underlay=setting, systemd_dir=str(tmp_path / "units"))
    underlay.load()
    assert drop_in.exists() is kept
    drop_in.unlink(missing_ok=True)
    underlay.restore()
    assert drop_in.exists() is kept


async def test_a_read_only_host_keeps_no_agent_from_its_start(tmp_path: Path) -> None:
    (tmp_path / "units").write_text("")
    underlay = wired(tmp_path, underlay="manage", systemd_dir=str(tmp_path / "units"))
    underlay.load()
    assert len(underlay.relists) == 2
