"""What a runtime finds on a bare node: a version that it takes, and a loopback plugin (E3, E16)."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.cni.agents import ScriptedAgent
from integration.cni.runtime import Runtime
from ovnlet.core.cni_directories import CniDirectories
from ovnlet.core.identity import AttachmentKey
from ovnlet.core.plan import diff
from ovnlet.core.resources import CniFile
from ovnlet.core.settings import Settings
from ovnlet.doctor.files import examine
from ovnlet.drivers.store.cni_files import CniFiles
from ovnlet_cni import installer
from ovnlet_cni.errors import SUPPORTED_VERSIONS

pytestmark = pytest.mark.review2

Json = dict[str, Any]
REFERENCE = Path("/usr/lib/cni/loopback")
# What containerd's CNI library passes to the plugin, go-cni's own network "cni-loopback".
CONFIG: Json = {"cniVersion": "0.3.1", "name": "cni-loopback", "type": "loopback"}


async def compose(bin_dir: Path) -> Json:
    text = await installer.conflist(
        bin_dir / installer.PLUGIN, bin_dir / "portmap", Path("/run/ovnlet/cni.sock")
    )
    body = json.loads(text)
    assert isinstance(body, dict)
    return body


async def test_e3_the_conflist_is_one_that_an_older_library_takes(plugin: Path) -> None:
    """E3: libcni 1.1.2 (containerd 1.7) refuses 1.1.0 and knows no ``cniVersions``.

    From 1.2 on it takes the newest of ``cniVersions`` that it knows, and then calls STATUS.
    """
    body = await compose(plugin.parent)
    assert body["cniVersion"] == "1.0.0"
    assert body["cniVersions"] == list(SUPPORTED_VERSIONS)


@pytest.mark.parametrize(
    ("known", "stated"), [(["0.3.1", "0.4.0"], "0.4.0"), (["0.4.0", "1.1.0"], "0.4.0")]
)
async def test_e3_portmap_bounds_both_keys(
    plugin: Path, tmp_path: Path, known: list[str], stated: str
) -> None:
    shutil.copy2(plugin, tmp_path)
    answer = json.dumps({"cniVersion": "1.0.0", "supportedVersions": known})
    (tmp_path / "portmap").write_text(f"#!/bin/sh\ncat >/dev/null\necho '{answer}'\n")
    (tmp_path / "portmap").chmod(0o755)
    body = await compose(tmp_path)
    assert (body["cniVersion"], body["cniVersions"]) == (stated, known)


async def gc(runtime: Runtime, **keys: object) -> tuple[int, Json]:
    config = {"cniVersion": "1.1.0", "name": "ovnlet", "type": "ovnlet", **keys}
    config["server_socket"] = str(runtime.socket)
    env = {"CNI_COMMAND": "GC", "CNI_PATH": "/opt/cni/bin"}
    outcome = await runtime.call("GC", json.dumps(config).encode(), env)
    return outcome.exit_code, outcome.error if outcome.exit_code else {}


@pytest.mark.usefixtures("server")
async def test_e3_gc_without_a_list_is_refused_and_an_empty_list_is_none(
    runtime: Runtime, agent: ScriptedAgent
) -> None:
    """Code 7 is the specification's for a configuration that lacks a required key.

    A runtime without an attachment sends ``null``: so Go's library encodes an empty list.
    """
    code, error = await gc(runtime)
    assert (code, error["code"]) == (1, 7)
    assert "cni.dev/valid-attachments" in error["msg"]
    assert agent.calls == []
    assert await gc(runtime, **{"cni.dev/valid-attachments": None}) == (0, {})
    nothing: frozenset[AttachmentKey] = frozenset()
    assert agent.calls == [nothing]


# ---- loopback


@pytest.fixture
def fresh() -> Iterator[Path]:
    """Yield the path of a new network namespace, whose lo is down."""
    with subprocess.Popen(["unshare", "--net", "sleep", "infinity"]) as holder:
        path, own = Path(f"/proc/{holder.pid}/ns/net"), os.readlink("/proc/self/ns/net")
        while os.readlink(path) == own:
            pass
        yield path
        holder.kill()


def call(
    program: Path, verb: str, netns: Path | str, config: Json = CONFIG, **env: str
) -> tuple[int, Json]:
    variables = {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": "c0ffee",
        "CNI_NETNS": str(netns),
        "CNI_IFNAME": "lo",
        "CNI_PATH": "/opt/cni/bin",
        **env,
    }
    stdin = json.dumps(config).encode()
    done = subprocess.run([program], input=stdin, env=variables, capture_output=True, check=False)
    return done.returncode, json.loads(done.stdout) if done.stdout else {}


def lo(netns: Path) -> set[str]:
    shown = subprocess.run(
        ["nsenter", f"--net={netns}", "ip", "-j", "link", "show", "dev", "lo"],
        capture_output=True,
        check=True,
    )
    (link,) = json.loads(shown.stdout)
    return set(link["flags"])


@pytest.fixture
def loopback(plugin: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy2(plugin, tmp_path / "loopback"))


@pytest.mark.parametrize("version", SUPPORTED_VERSIONS)
def test_e3_our_loopback_answers_as_the_reference_does(
    loopback: Path, fresh: Path, version: str
) -> None:
    config = CONFIG | {"cniVersion": version}
    assert "UP" not in lo(fresh)
    code, result = call(loopback, "ADD", fresh, config)
    assert (code, "UP" in lo(fresh)) == (0, True), result
    shown = version if version != "1.1.0" else "1.0.0"  # what Debian's reference plugin knows
    wanted = call(REFERENCE, "ADD", fresh, CONFIG | {"cniVersion": shown})[1]
    # Before 1.0.0 the specification requires the family of an address; the reference omits it.
    families = [each.pop("version", None) for each in result["ips"]]
    assert families == (["4", "6"] if version.startswith("0.") else [None, None])
    assert result == wanted | {"cniVersion": version}
    if version != "0.3.1":
        assert call(loopback, "CHECK", fresh, config | {"prevResult": result}) == (0, {})
    assert call(loopback, "DEL", fresh, config) == (0, {})
    assert "UP" not in lo(fresh)
    if version != "0.3.1":
        code, error = call(loopback, "CHECK", fresh, config | {"prevResult": result})
        assert (code, "lo is down" in error["msg"]) == (1, True), error


def test_e3_our_loopback_in_a_chain_passes_the_result_on(loopback: Path, fresh: Path) -> None:
    previous = {"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.2/24"}], "dns": {}}
    config = CONFIG | {"cniVersion": "1.0.0", "prevResult": previous}
    assert call(loopback, "ADD", fresh, config) == (0, previous)


def test_e3_our_loopback_refuses_and_forgives_as_the_specification_says(
    loopback: Path, fresh: Path, tmp_path: Path
) -> None:
    for verb in ("GC", "STATUS"):
        assert call(loopback, verb, fresh, CONFIG | {"cniVersion": "1.1.0"}) == (0, {})
    for gone in ("", str(tmp_path / "gone")):
        assert call(loopback, "DEL", gone) == (0, {}), "a namespace that is gone needs no DEL"
    code, error = call(loopback, "ADD", tmp_path / "gone")
    assert (code, error["code"]) == (1, 5)
    code, error = call(loopback, "ADD", "")
    assert (code, error["code"], "CNI_NETNS" in error["msg"]) == (1, 4, True)
    code, error = call(loopback, "ADD", "/proc/self/ns/net")
    assert (code, error["code"]) == (1, 8), "the runtime's own namespace is no pod's"
    code, error = call(loopback, "ADD", fresh, CONFIG | {"cniVersion": "9.9.9"})
    assert (code, error["code"]) == (1, 1)
    assert call(loopback, "VERSION", "")[1]["supportedVersions"] == list(SUPPORTED_VERSIONS)
    assert "UP" not in lo(fresh)


# ---- the installer's side


@pytest.fixture
def kept(plugin: Path, tmp_path: Path) -> tuple[CniFiles, Path]:
    bin_dir, conf_dir = tmp_path / "bin", tmp_path / "net.d"
    bin_dir.mkdir()
    directories = CniDirectories(str(bin_dir), str(conf_dir))
    return CniFiles(directories, plugin, Path("/run/ovnlet/cni.sock")), bin_dir


async def one_pass(files: CniFiles) -> frozenset[str]:
    """Make one pass of the scope's host, and return the names of what it changed."""
    await files.prepare()
    wanted = files.wanted
    directories = CniDirectories("", "")
    plan = diff(wanted, await files.observe(directories, wanted))
    await files.apply(directories, plan)
    changed = [step.resource for step in plan]
    return frozenset(each.name for each in changed if isinstance(each, CniFile))


async def test_e3_a_bare_node_gets_our_loopback(kept: tuple[CniFiles, Path], plugin: Path) -> None:
    files, bin_dir = kept
    assert await one_pass(files) == {"ovnlet", "loopback", "01-ovnlet.conflist"}
    assert (bin_dir / "loopback").read_bytes() == plugin.read_bytes()
    assert await one_pass(files) == frozenset()
    (bin_dir / "loopback").unlink()
    assert await one_pass(files) == {"loopback"}
    (bin_dir / "loopback").chmod(0o600)
    assert await one_pass(files) == {"loopback"}
    assert installer.remove_plugin(bin_dir)
    assert os.listdir(bin_dir) == []


@pytest.mark.parametrize("foreign", ["the reference plugin", "a script", "a dangling link"])
async def test_e3_a_loopback_that_is_not_ours_is_never_touched(
    kept: tuple[CniFiles, Path], foreign: str
) -> None:
    """It is there first, or it replaces ours later; removal leaves it."""
    files, bin_dir = kept
    path = bin_dir / "loopback"
    for _ in ("first", "later"):
        path.unlink(missing_ok=True)
        match foreign:
            case "the reference plugin":
                shutil.copy2(REFERENCE, path)
            case "a script":
                path.write_text("#!/bin/sh\n")
            case _:
                path.symlink_to(bin_dir / "nowhere")
        before = path.lstat()
        assert "loopback" not in await one_pass(files)
        after = path.lstat()
        assert (after.st_ino, after.st_mtime_ns, after.st_ctime_ns) == (
            before.st_ino,
            before.st_mtime_ns,
            before.st_ctime_ns,
        )
        path.unlink()
        assert "loopback" in await one_pass(files)
    path.unlink()
    path.write_text("theirs")
    assert installer.remove_plugin(bin_dir)
    assert os.listdir(bin_dir) == ["loopback"]


async def test_e3_the_doctor_reports_a_runtime_without_loopback(
    kept: tuple[CniFiles, Path], plugin: Path
) -> None:
    files, bin_dir = kept
    await one_pass(files)
    given = {"node_name": "n", "plugin": str(plugin), "cni_bin_dir": str(bin_dir)}
    settings = Settings.of(given | {"cni_conf_dir": str(bin_dir.parent / "net.d")})
    assert [each async for each in examine(settings) if each.level == "fault"] == []
    (bin_dir / "loopback").unlink()
    (found,) = [each async for each in examine(settings) if each.level == "fault"]
    assert str(bin_dir / "loopback") in found.what
