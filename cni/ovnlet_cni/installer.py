"""Puts the plugin and its network configuration where a runtime looks, and takes away what is ours.

Everything arrives by a rename: a runtime never reads half a file, and an executable that runs is never written to.
Synchronous but for asking the plugins their versions, which forks and therefore happens at install time only.
"""

import asyncio
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog

from ovnlet_cni.errors import SUPPORTED_VERSIONS

PLUGIN = "ovnlet"
CONFLIST = "01-ovnlet.conflist"
_OURS = "[0-9][0-9]-ovnlet.conflist"
NETWORK = "ovnlet"
_MARK = b"CNI plugin ovnlet v"  # stands in every build of the plugin: its answer to no CNI_COMMAND
_ASK_SECONDS = 5.0
_log = structlog.get_logger(__name__)


class InstallError(Exception):
    """What is in the way, and what to do about it."""


def plugin(source: Path) -> bytes:
    """Return the plugin's content. Raise InstallError where it is another program, OSError where it is missing."""
    content = source.read_bytes()
    if _MARK not in content:
        raise InstallError(f"{source} is not the ovnlet plugin: build it with `make -C cni/plugin`")
    return content


def signature(path: Path) -> tuple[int, int, int] | None:
    """Return what changes when a file is replaced; None where it is missing."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def ours(conf_dir: Path) -> list[str]:
    """Return the names of our configurations: named like them, and with our network and plugin in them."""
    return [path.name for path in conf_dir.glob(_OURS) if _is_our_conflist(path)]


def before_ours(conf_dir: Path) -> list[str]:
    """Return the configurations that sort before ours, of which a runtime takes the first."""
    suffixes = {".conf", ".conflist", ".json"}
    try:
        names = sorted(path.name for path in conf_dir.iterdir() if path.suffix in suffixes)
    except OSError:
        return []
    return [name for name in names if name < CONFLIST and not name.startswith(".")]


def remove_conflist(conf_dir: Path) -> bool:
    """Take the configuration away if it is ours: no new pod is to come here, running ones still get their DEL."""
    return _take(conf_dir / CONFLIST, _is_our_conflist)


def remove_plugin(bin_dir: Path) -> bool:
    """Take the executable away if it is ours; after the configuration, and once no pod of ours is left."""
    return _take(bin_dir / PLUGIN, _is_our_plugin)


async def conflist(plugin: Path, portmap: Path, socket_path: Path) -> str:
    """Return the configuration: ovnlet, then portmap where it is installed, in the newest version that all speak.

    Raise InstallError where the plugin does not run here or is not ours.
    """
    plugins: list[dict[str, object]] = [{"type": PLUGIN, "server_socket": str(socket_path)}]
    common = await supported_versions(plugin)
    if signature(portmap):
        shared = common & await supported_versions(portmap)
        if shared:
            common = shared
            plugins.append({"type": "portmap", "capabilities": {"portMappings": True}})
        else:
            _log.warning(
                "portmap shares no CNI version with us, hostPort will not work", plugin=str(portmap)
            )
    body = {"cniVersion": _newest(common, plugin), "name": NETWORK, "plugins": plugins}
    return json.dumps(body, indent=2) + "\n"


async def supported_versions(plugin: Path) -> frozenset[str]:
    """What the executable itself says; empty where it does not say it."""
    env = {"CNI_COMMAND": "VERSION", "CNI_PATH": str(plugin.parent)}
    process = None
    try:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            plugin, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL, env=env
        )
        async with asyncio.timeout(_ASK_SECONDS):
            answer, _ = await process.communicate(b'{"cniVersion":"1.0.0"}')
        return frozenset(json.loads(answer)["supportedVersions"])
    except (OSError, TimeoutError, ValueError, TypeError, KeyError) as error:
        _log.warning(
            "a CNI plugin does not tell its versions", plugin=str(plugin), reason=repr(error)
        )
        return frozenset()
    finally:
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()


def _newest(common: Iterable[str], plugin: Path) -> str:
    known = [version for version in SUPPORTED_VERSIONS if version in common]
    if not known:
        raise InstallError(f"{plugin} does not run here or is not our plugin: build it first")
    return known[-1]


def put(path: Path, content: bytes, mode: int) -> bool:
    """Replace a file by a rename; return False where it has this content and mode already."""
    if _holds(path, content, mode):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    # Hidden and without a suffix: a runtime that lists the directory meanwhile does not take it for its own.
    fd, draft = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError:
        Path(draft).unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)
    return True


def _holds(path: Path, content: bytes, mode: int) -> bool:
    try:
        return (
            not path.is_symlink()
            and path.stat().st_mode & 0o7777 == mode
            and path.read_bytes() == content
        )
    except OSError:
        return False


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _take(path: Path, is_ours: Callable[[Path], bool]) -> bool:
    ours = is_ours(path)
    if ours:
        path.unlink(missing_ok=True)
    return ours


def _is_our_plugin(path: Path) -> bool:
    try:
        return _MARK in path.read_bytes()
    except OSError:
        return False


def _is_our_conflist(path: Path) -> bool:
    try:
        body = json.loads(path.read_bytes())
        return bool(body["name"] == NETWORK and body["plugins"][0]["type"] == PLUGIN)
    except (OSError, ValueError, LookupError, TypeError):
        return False
