"""Install the plugin and its network configuration for a runtime, and remove what is ours.

Every file appears by a rename: a runtime never reads half a file, and a running executable is never
written to. All functions block, except those that ask plugins for their versions: these start a
process and therefore run only at install time.
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
# The same executable, which is then the plugin that a runtime starts for a pod's lo.
LOOPBACK = "loopback"
CONFLIST = "01-ovnlet.conflist"
# Sorts before kube-ovn-cni's file, which nobody has to remove then.
FIRST = "00-ovnlet.conflist"
_KUBE_OVN = "[0-9][0-9]-kube-ovn.conflist"
_OURS = "[0-9][0-9]-ovnlet.conflist"
NETWORK = "ovnlet"
# libcni before 1.2, as in containerd 1.7, refuses a newer cniVersion and knows no cniVersions.
_STATED = SUPPORTED_VERSIONS[: SUPPORTED_VERSIONS.index("1.0.0") + 1]
_MARK = b"CNI plugin ovnlet v"  # in every build of the plugin: its answer without CNI_COMMAND
_VERSION_TIMEOUT = 5.0  # seconds
_log = structlog.get_logger(__name__)


class InstallError(Exception):
    """What prevents the installation, and what to do about it."""


def plugin(source: Path) -> bytes:
    """Return the plugin's content.

    Raise InstallError where it is another program, OSError where it is missing.
    """
    content = source.read_bytes()
    if _MARK not in content:
        raise InstallError(f"{source} is not ovnlet's plugin: build that in cni/plugin")
    return content


def signature(path: Path) -> tuple[int, int, int] | None:
    """Return what changes when a file is replaced; None where it is missing."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def ours(conf_dir: Path) -> list[str]:
    """Return the names of our configurations, which also have our network and plugin in them."""
    return [path.name for path in conf_dir.glob(_OURS) if _is_our_conflist(path)]


def kube_ovns(conf_dir: Path) -> list[str]:
    """Return kube-ovn-cni's configurations between our two names, by their file names."""
    names = sorted(path.name for path in conf_dir.glob(_KUBE_OVN))
    return [name for name in names if FIRST < name < CONFLIST]


def before_ours(conf_dir: Path, our_name: str = CONFLIST) -> list[str]:
    """Return the configurations that sort before ours, of which a runtime uses the first."""
    suffixes = {".conf", ".conflist", ".json"}
    try:
        names = sorted(path.name for path in conf_dir.iterdir() if path.suffix in suffixes)
    except OSError:
        return []
    return [name for name in names if name < our_name and not name.startswith(".")]


def remove_conflist(conf_dir: Path) -> bool:
    """Remove our network configuration, whatever its number; return whether there was one.

    From then on no new pod is attached. Running pods still get their DEL.
    """
    found = ours(conf_dir)
    for name in found:
        (conf_dir / name).unlink(missing_ok=True)
    return bool(found)


def remove_plugin(bin_dir: Path) -> bool:
    """Remove the executable and our ``loopback``; return whether the former was ours.

    Call it after `remove_conflist`, once no pod of ours is left.
    """
    _remove_if_ours(bin_dir / LOOPBACK, _is_our_plugin)
    return _remove_if_ours(bin_dir / PLUGIN, _is_our_plugin)


def has_foreign_loopback(bin_dir: Path) -> bool:
    """Return whether the directory has a plugin ``loopback``, or a link of that name, not ours."""
    path = bin_dir / LOOPBACK
    return path.exists(follow_symlinks=False) and (path.is_symlink() or not _is_our_plugin(path))


async def conflist(plugin: Path, portmap: Path, socket_path: Path) -> str:
    """Return the configuration: ovnlet, then portmap where it is installed.

    ``cniVersions`` are all that these plugins support, of which a runtime takes the newest that it
    knows. ``cniVersion`` is for a runtime that knows only this key: at most 1.0.0.

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
                "portmap and ovnlet have no CNI version in common, hostPort will not work",
                plugin=str(portmap),
            )
    known = _known(common, plugin)
    stated = [version for version in known if version in _STATED] or known
    body = {
        "cniVersion": stated[-1],
        "cniVersions": known,
        "name": NETWORK,
        "plugins": plugins,
    }
    return json.dumps(body, indent=2) + "\n"


async def supported_versions(plugin: Path) -> frozenset[str]:
    """Return the CNI versions that the executable reports, or none if it does not report them.

    Starts a process and waits up to 5 s for it.
    """
    env = {"CNI_COMMAND": "VERSION", "CNI_PATH": str(plugin.parent)}
    process = None
    try:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            plugin, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL, env=env
        )
        async with asyncio.timeout(_VERSION_TIMEOUT):
            answer, _ = await process.communicate(b'{"cniVersion":"1.0.0"}')
        return frozenset(json.loads(answer)["supportedVersions"])
    except (OSError, TimeoutError, ValueError, TypeError, KeyError) as error:
        _log.warning(
            "a CNI plugin did not report its versions", plugin=str(plugin), reason=repr(error)
        )
        return frozenset()
    finally:
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()


def _known(common: Iterable[str], plugin: Path) -> list[str]:
    """Return those of these versions that we know, the newest last. Raise InstallError if none."""
    known = [version for version in SUPPORTED_VERSIONS if version in common]
    if not known:
        raise InstallError(f"{plugin} does not run here or is not our plugin: build it first")
    return known


def put(path: Path, content: bytes, mode: int) -> bool:
    """Replace a file by a rename; return False where it has this content and mode already."""
    if _holds(path, content, mode):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    # Hidden, and with a suffix that no runtime looks for: it ignores the file if it lists the
    # directory meanwhile.
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
    """Return whether the path is a regular file with this content and mode."""
    try:
        return (
            not path.is_symlink()
            and path.stat().st_mode & 0o7777 == mode
            and path.read_bytes() == content
        )
    except OSError:
        return False


def _sync_directory(directory: Path) -> None:
    """Sync the directory, so that a rename in it survives a crash."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _remove_if_ours(path: Path, is_ours: Callable[[Path], bool]) -> bool:
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
    """Return whether the file is a network configuration named and led by ovnlet."""
    try:
        body = json.loads(path.read_bytes())
        return bool(body["name"] == NETWORK and body["plugins"][0]["type"] == PLUGIN)
    except (OSError, ValueError, LookupError, TypeError):
        return False
