"""The plugin and its configuration, installed where a runtime looks, over existing files."""

import asyncio
import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from integration.cni.agents import ScriptedAgent
from integration.cni.runtime import Json, Runtime, ended
from ovnlet_cni import installer
from ovnlet_cni.errors import SUPPORTED_VERSIONS
from ovnlet_cni.installer import InstallError
from ovnlet_cni.server import Server

PORTMAP = Path("/usr/lib/cni/portmap")
SOCKET = Path("/run/ovnlet/cni.sock")


def install_plugin(source: Path, directory: Path) -> bool:
    return installer.put(directory / installer.PLUGIN, installer.plugin(source), 0o755)


def install_conflist(directory: Path, text: str) -> bool:
    return installer.put(directory / installer.CONFLIST, text.encode(), 0o600)


async def compose(bin_dir: Path) -> str:
    return await installer.conflist(bin_dir / installer.PLUGIN, bin_dir / "portmap", SOCKET)


@pytest.fixture
def bin_dir(plugin: Path, tmp_path: Path) -> Path:
    directory = tmp_path / "bin"
    install_plugin(plugin, directory)
    return directory


@pytest.fixture
def fake(bin_dir: Path) -> Callable[[str], None]:
    """Return a function that installs a portmap whose answer to VERSION is a shell command."""

    def put(command: str) -> None:
        (bin_dir / "portmap").write_text(f"#!/bin/sh\ncat > /dev/null\n{command}\n")
        (bin_dir / "portmap").chmod(0o755)

    return put


async def _conflist(bin_dir: Path) -> Json:
    body = json.loads(await compose(bin_dir))
    assert isinstance(body, dict)
    return body


async def test_alone_it_states_all_its_versions(bin_dir: Path) -> None:
    assert await _conflist(bin_dir) == {
        "cniVersion": "1.0.0",
        "cniVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"],
        "name": "ovnlet",
        "plugins": [{"type": "ovnlet", "server_socket": "/run/ovnlet/cni.sock"}],
    }


@pytest.mark.parametrize(
    ("versions", "chosen"),
    [
        (["0.1.0", "0.3.1", "0.4.0"], "0.4.0"),
        (["0.3.0", "0.3.1"], "0.3.1"),
        (["0.3.1", "0.4.0", "1.0.0", "1.1.0", "2.0.0"], "1.0.0"),
    ],
    ids=repr,
)
async def test_with_portmap_it_uses_a_version_that_both_support(
    bin_dir: Path, fake: Callable[[str], None], versions: list[str], chosen: str
) -> None:
    fake(f"echo '{json.dumps({'cniVersion': '1.0.0', 'supportedVersions': versions})}'")
    body = await _conflist(bin_dir)
    assert body["cniVersion"] == chosen
    assert body["cniVersions"] == [each for each in SUPPORTED_VERSIONS if each in versions]
    plugins = body["plugins"]
    assert isinstance(plugins, list)
    assert plugins[1] == {"type": "portmap", "capabilities": {"portMappings": True}}


async def test_with_debians_portmap(bin_dir: Path) -> None:
    shutil.copy2(PORTMAP, bin_dir)
    known = await installer.supported_versions(PORTMAP)
    body = await _conflist(bin_dir)
    assert body["cniVersion"] == max(known & {"0.3.1", "0.4.0", "1.0.0", "1.1.0"})
    assert "portmap" in json.dumps(body)


@pytest.mark.parametrize(
    "command",
    [
        "exit 1",
        "echo '[]'",
        "echo nonsense",
        'echo \'{"supportedVersions":["0.1.0"]}\'',
        "echo '{}'",
    ],
)
async def test_a_portmap_that_does_not_fit_is_left_out(
    bin_dir: Path, fake: Callable[[str], None], command: str
) -> None:
    fake(command)
    body = await _conflist(bin_dir)
    assert (
        body["cniVersion"],
        len(list(body["plugins"] if isinstance(body["plugins"], list) else [])),
    ) == ("1.0.0", 1)


async def test_a_portmap_that_hangs_is_killed_and_left_out(
    bin_dir: Path, fake: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installer, "_VERSION_TIMEOUT", 0.2)
    fake("exec sleep 60")
    assert "portmap" not in json.dumps(await _conflist(bin_dir))


async def test_without_our_plugin_there_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match="build it first"):
        await compose(tmp_path)


def test_the_configuration_is_written_once(tmp_path: Path) -> None:
    assert install_conflist(tmp_path, "{}\n")
    path = tmp_path / "01-ovnlet.conflist"
    before = path.stat()
    assert stat.S_IMODE(before.st_mode) == 0o600
    assert not install_conflist(tmp_path, "{}\n")
    assert path.stat() == before
    assert install_conflist(tmp_path, '{"new": 1}\n')
    assert path.read_text() == '{"new": 1}\n'
    assert path.stat().st_ino != before.st_ino, "written in place: a runtime could read half of it"
    assert os.listdir(tmp_path) == ["01-ovnlet.conflist"]


def test_a_configuration_that_all_can_read_is_closed_again(tmp_path: Path) -> None:
    install_conflist(tmp_path, "{}\n")
    (tmp_path / "01-ovnlet.conflist").chmod(0o644)
    assert install_conflist(tmp_path, "{}\n")
    assert stat.S_IMODE((tmp_path / "01-ovnlet.conflist").stat().st_mode) == 0o600


async def test_a_running_plugin_is_replaced(
    bin_dir: Path, netns: str, socket_path: Path, tmp_path: Path
) -> None:
    runtime, agent = Runtime(bin_dir / "ovnlet", socket_path, netns), ScriptedAgent()
    server = Server(agent, socket_path)
    await server.start()
    agent.held = True
    process = await runtime.hang("ADD")
    await asyncio.wait_for(agent.entered.wait(), 5)
    with pytest.raises(OSError, match="Text file busy"):
        (bin_dir / "ovnlet").open("r+b")
    newer = tmp_path / "newer"
    newer.write_bytes((bin_dir / "ovnlet").read_bytes() + b"\0")
    assert install_plugin(newer, bin_dir)
    assert not install_plugin(newer, bin_dir)
    assert (bin_dir / "ovnlet").read_bytes() == newer.read_bytes()
    assert stat.S_IMODE((bin_dir / "ovnlet").stat().st_mode) == 0o755
    agent.released.set()
    assert (await ended(process)).code == 0
    agent.held = False
    assert (await runtime.call("ADD")).code == 0
    await server.stop()


def test_something_else_is_not_installed(tmp_path: Path) -> None:
    (tmp_path / "ovnlet").write_text("#!/bin/sh\n")
    with pytest.raises(InstallError, match="not ovnlet's plugin"):
        install_plugin(tmp_path / "ovnlet", tmp_path / "bin")
    assert not (tmp_path / "bin").exists()


async def test_only_our_files_are_removed(bin_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "10-other.conflist").write_text("{}")
    install_conflist(tmp_path, await compose(bin_dir))
    assert installer.remove_conflist(tmp_path)
    assert not installer.remove_conflist(tmp_path)
    assert installer.remove_plugin(bin_dir)
    assert not installer.remove_plugin(bin_dir)
    assert os.listdir(bin_dir) == []
    assert (tmp_path / "10-other.conflist").exists()


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[]",
        "torn {",
        '{"name":"ovnlet","plugins":[]}',
        '{"name":"x","plugins":[{"type":"ovnlet"}]}',
    ],
)
def test_what_only_has_our_name_stays(tmp_path: Path, text: str) -> None:
    for path in (tmp_path / "01-ovnlet.conflist", tmp_path / "ovnlet"):
        path.write_text(text)
    assert not installer.remove_conflist(tmp_path)
    assert not installer.remove_plugin(tmp_path)
    assert {path.read_text() for path in tmp_path.iterdir()} == {text}


def test_the_configurations_that_a_runtime_takes_instead_of_ours(tmp_path: Path) -> None:
    for name in ("00-first.conf", "02-later.conflist", "00-note.txt", ".00-hidden.conf"):
        (tmp_path / name).write_text("{}")
    install_conflist(tmp_path, "{}")
    assert installer.before_ours(tmp_path) == ["00-first.conf"]
    assert installer.before_ours(tmp_path / "nowhere") == []
