"""Beside Kube-OVN the order of files decides: ours gives way to kube-ovn-cni's while that answers.

Then it takes over, and nobody has to remove a file.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ovnlet.core.cni_directories import CniDirectories
from ovnlet.core.plan import diff
from ovnlet.core.settings import Settings
from ovnlet.doctor.files import examine
from ovnlet.drivers.store.cni_files import CniFiles
from ovnlet_cni import installer

THEIRS = "01-kube-ovn.conflist"
CONTENT = json.dumps({"cniVersion": "0.3.1", "name": "kube-ovn", "plugins": [{"type": "kube-ovn"}]})
GIVES_WAY, TAKES_OVER = "01-ovnlet.conflist", "00-ovnlet.conflist"


@dataclass(slots=True)
class Socket:
    """kube-ovn-cni's socket, which the test says is answered by it or by us."""

    path: Path
    is_foreign: bool = False
    is_ours: bool = True
    has_ended: bool = False


@dataclass(slots=True)
class Node:
    """The files of a node, kept by passes."""

    files: CniFiles
    socket: Socket
    conf: Path
    bin: Path

    async def look(self) -> list[str]:
        """Make a pass, and return the configurations as a runtime sorts them."""
        await self.files.prepare()
        wanted = self.files.wanted
        directories = CniDirectories("", "")
        await self.files.apply(
            directories, diff(wanted, await self.files.observe(directories, wanted))
        )
        return sorted(os.listdir(self.conf))


@pytest.fixture
def node(plugin: Path, tmp_path: Path) -> Node:
    conf, binaries = tmp_path / "net.d", tmp_path / "bin"
    binaries.mkdir()
    conf.mkdir()
    (conf / THEIRS).write_text(CONTENT)
    socket = Socket(tmp_path / "kube-ovn-daemon.sock")
    site: Any = socket
    directories = CniDirectories(str(binaries), str(conf), str(socket.path))
    files = CniFiles(directories, plugin, Path("/run/ovnlet/cni.sock"), lambda: site)
    return Node(files, socket, conf, binaries)


async def test_ours_sorts_first_once_kube_ovn_cni_has_left(node: Node) -> None:
    node.socket.is_foreign, node.socket.is_ours = True, False
    assert await node.look() == [THEIRS, GIVES_WAY]
    assert node.files.overriding() == [THEIRS]
    assert node.files.superseded() == []
    node.socket.is_foreign, node.socket.is_ours = False, True
    assert await node.look() == [TAKES_OVER, THEIRS]
    assert node.files.overriding() == []
    assert node.files.superseded() == [THEIRS]
    assert (node.conf / THEIRS).read_text() == CONTENT, "a foreign file is never touched"
    assert await node.look() == [TAKES_OVER, THEIRS]


async def test_it_gives_way_again_if_kube_ovn_cni_comes_back(node: Node) -> None:
    assert await node.look() == [TAKES_OVER, THEIRS]
    node.socket.is_foreign, node.socket.is_ours = True, False
    assert await node.look() == [THEIRS, GIVES_WAY]


async def test_the_name_stays_when_their_file_is_removed(node: Node) -> None:
    """Between two names a runtime could find none, and the node would be NotReady."""
    assert await node.look() == [TAKES_OVER, THEIRS]
    (node.conf / THEIRS).unlink()
    assert await node.look() == [TAKES_OVER]
    assert node.files.superseded() == []


async def test_without_kube_ovns_file_the_usual_name_is_used(node: Node) -> None:
    (node.conf / THEIRS).unlink()
    assert await node.look() == [GIVES_WAY]


async def test_nothing_else_is_taken_over(node: Node) -> None:
    (node.conf / THEIRS).rename(node.conf / "01-calico.conflist")
    assert await node.look() == ["01-calico.conflist", GIVES_WAY]
    assert node.files.overriding() == ["01-calico.conflist"]


async def test_at_each_moment_a_configuration_of_ours_is_there(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.socket.is_foreign, node.socket.is_ours = True, False
    await node.look()
    seen = []
    remove = Path.unlink

    def unlink(path: Path, missing_ok: bool = False) -> None:
        seen.append(sorted(os.listdir(node.conf)))
        remove(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    node.socket.is_foreign, node.socket.is_ours = False, True
    await node.look()
    assert seen == [[TAKES_OVER, THEIRS, GIVES_WAY]]


async def test_the_doctor_finds_no_fault_in_the_order(node: Node, plugin: Path) -> None:
    await node.look()
    given = {"node_name": "n", "plugin": str(plugin), "cni_bin_dir": str(node.bin)}
    settings = Settings.of(given | {"cni_conf_dir": str(node.conf)})
    assert [each async for each in examine(settings) if each.level == "fault"] == []


async def test_the_removal_finds_it(node: Node) -> None:
    """Handed back, the node is kube-ovn-cni's again, by its file."""
    await node.look()
    assert installer.remove_conflist(node.conf)
    assert os.listdir(node.conf) == [THEIRS]
    assert not installer.remove_conflist(node.conf)
