"""kube-ovn-cni's plugin and configuration: aside while we stand in for it, and back with it."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ovnlet.core.cni_directories import CniDirectories
from ovnlet.drivers.store.cni_files import CniFiles
from ovnlet.reconcile.loop import converge
from ovnlet_cni import kube_ovn_files
from ovnlet_cni.installer import before_ours
from ovnlet_cni.site import Site

pytestmark = pytest.mark.review2
OURS = (
    "#!/bin/sh\n# CNI plugin ovnlet v0\n"
    """echo '{"cniVersion":"1.0.0","supportedVersions":["0.3.1","1.0.0"]}'\n"""
)
THEIRS, NEWER = "the Go plugin", "the Go plugin, a later release"
CONFLIST = json.dumps({"name": "kube-ovn", "plugins": [{"type": "kube-ovn"}, {"type": "portmap"}]})
NAME = "01-kube-ovn.conflist"


class Node:
    """The two directories as kube-ovn-cni leaves them, and whether it answers on its socket."""

    def __init__(self, root: Path, *, replaces: bool = True) -> None:
        self.bin, self.conf = root / "bin", root / "conf"
        for each in (self.bin, self.conf):
            each.mkdir()
        (self.bin / "kube-ovn").write_text(THEIRS)
        (self.conf / NAME).write_text(CONFLIST)
        source = root / "ovnlet"
        source.write_text(OURS)
        source.chmod(0o755)
        self.directories = CniDirectories(
            str(self.bin), str(self.conf), str(root / "theirs.sock"), replaces=replaces
        )
        site = SimpleNamespace(
            is_foreign=False, is_ours=False, has_ended=True, path=root / "theirs.sock"
        )
        self.site: Any = site
        self.files = CniFiles(
            self.directories, source, root / "cni.sock", lambda: cast(Site, self.site)
        )

    async def settle(self) -> None:
        """Run a pass."""
        await self.files.prepare()
        await converge(self.files, self.directories, self.files.wanted)

    @property
    def seen(self) -> dict[str, str]:
        """The files of kube-ovn-cni's names, by name: OURS, or what is in it."""
        found = [*self.bin.glob("kube-ovn*"), *self.conf.glob("*kube-ovn*")]
        return {path.name: path.read_text() for path in found}


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """Return a node as kube-ovn-cni leaves it."""
    return Node(tmp_path)


async def test_its_files_are_aside_once_it_has_left_and_the_runtime_uses_ours(node: Node) -> None:
    await node.settle()
    saved = {f"kube-ovn{kube_ovn_files.SAVED}": THEIRS, f"{NAME}{kube_ovn_files.SAVED}": CONFLIST}
    assert node.seen == saved | {"kube-ovn": OURS}
    assert before_ours(node.conf) == []
    assert node.files.overriding() == []
    assert not await node.files.observe(node.directories, node.files.wanted) ^ node.files.wanted


async def test_nothing_of_its_is_touched_while_it_answers(node: Node) -> None:
    node.site.is_foreign = True
    await node.settle()
    assert node.seen == {"kube-ovn": THEIRS, NAME: CONFLIST}
    assert node.files.overriding() == [NAME]


async def test_its_files_are_back_when_it_answers_again_a_newer_plugin_too(node: Node) -> None:
    """Its init container writes both before it answers, and then they are wanted again."""
    await node.settle()
    (node.bin / "kube-ovn").write_text(NEWER)
    (node.conf / NAME).write_text(CONFLIST)
    await node.settle()
    assert node.seen["kube-ovn"] == OURS
    assert NAME not in node.seen
    node.site.is_foreign = True
    await node.settle()
    assert node.seen == {"kube-ovn": NEWER, NAME: CONFLIST}
    node.site.is_foreign = False
    await node.settle()
    assert node.seen["kube-ovn"] == OURS


async def test_a_hand_back_restores_both(node: Node) -> None:
    await node.settle()
    back = kube_ovn_files.restore(node.bin, node.conf)
    assert back == [node.conf / NAME, node.bin / "kube-ovn"]
    assert node.seen == {"kube-ovn": THEIRS, NAME: CONFLIST}
    assert kube_ovn_files.restore(node.bin, node.conf) == []


async def test_a_hand_back_keeps_what_it_has_written_since(node: Node) -> None:
    await node.settle()
    (node.bin / "kube-ovn").write_text(NEWER)
    (node.conf / NAME).write_text(CONFLIST + "\n")
    kube_ovn_files.restore(node.bin, node.conf)
    assert node.seen == {"kube-ovn": NEWER, NAME: CONFLIST + "\n"}


async def test_a_node_that_never_had_it_has_our_plugin_of_its_name_and_gives_it_back(
    node: Node,
) -> None:
    (node.bin / "kube-ovn").unlink()
    (node.conf / NAME).unlink()
    await node.settle()
    assert node.seen == {"kube-ovn": OURS}
    node.site.is_foreign = True
    await node.settle()
    assert node.seen == {}


async def test_foreign_configurations_and_its_files_stay_without_the_setting(
    tmp_path: Path,
) -> None:
    node = Node(tmp_path, replaces=False)
    await node.settle()
    assert node.seen == {"kube-ovn": THEIRS, NAME: CONFLIST}
    assert node.files.overriding() == [NAME]


async def test_a_meta_plugins_configuration_is_never_its(node: Node) -> None:
    text = json.dumps({"type": "multus", "delegates": [{"type": "kube-ovn"}]})
    (node.conf / "00-multus.conf").write_text(text)
    await node.settle()
    assert (node.conf / "00-multus.conf").read_text() == text
    assert node.files.overriding() == ["00-multus.conf"]
