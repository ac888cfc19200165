"""Examines what a container runtime reads: the CNI plugin and the network configuration."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from ovnlet.core.settings import Settings
from ovnlet.doctor.findings import Finding, fault, note, ok
from ovnlet_cni import installer

_RESTART = "restart the agent's pod: it installs its own plugin and configuration"
# libcni reads files with these suffixes, and a runtime uses the first of them by name.
_READ = (".conf", ".conflist", ".json")


async def examine(settings: Settings) -> AsyncIterator[Finding]:
    """Compare plugin and configuration with those of this release.

    With a broken plugin the configuration is not examined.
    """
    if settings.cni_bin_dir is None or settings.cni_conf_dir is None:
        yield note(
            "CNI",
            "cni_bin_dir or cni_conf_dir is not set: the files of the runtime are not examined",
        )
        return
    bin_dir, conf_dir = Path(settings.cni_bin_dir), Path(settings.cni_conf_dir)
    broken = list(_plugin(bin_dir, Path(settings.plugin)))
    for found in broken:
        yield found
    if broken:
        return
    yield ok("CNI", "the plugin is this release's")
    loopback = bin_dir / installer.LOOPBACK
    if not loopback.exists():
        yield fault(
            "CNI", f"no plugin at {loopback}: a runtime starts it for each pod's lo", _RESTART
        )
    if settings.pod_network == "secondary":
        yield note("CNI", "pod_network is secondary: the configuration is another plugin's")
        return
    try:
        expected = await installer.conflist(
            bin_dir / installer.PLUGIN, bin_dir / "portmap", Path(settings.cni_socket)
        )
    except installer.InstallError as error:
        yield fault("CNI", str(error), _RESTART)
        return
    for found in _configuration(conf_dir, expected):
        yield found


def _plugin(bin_dir: Path, own: Path) -> Iterator[Finding]:
    """Report a plugin that is missing or not the agent's own.

    Outside of the agent's container ``own`` may not exist; then there is nothing to compare with.
    """
    path = bin_dir / installer.PLUGIN
    try:
        content = path.read_bytes()
    except OSError as error:
        yield fault("CNI", f"no plugin at {path}: {error.strerror}", _RESTART)
        return
    if own.exists() and own.read_bytes() != content:
        yield fault("CNI", f"the plugin {path} is not the one of this release", _RESTART)


def _configuration(conf_dir: Path, expected: str) -> Iterator[Finding]:
    """Report whether the runtime uses our configuration: it takes the first file by name."""
    first = conf_dir / installer.FIRST
    ours = first if first.exists() else conf_dir / installer.CONFLIST
    try:
        content = ours.read_text()
        files = sorted(path for path in conf_dir.iterdir() if path.suffix in _READ)
    except (OSError, UnicodeDecodeError) as error:
        yield fault(
            "CNI", f"no network configuration at {ours}: {error}", f"{_RESTART} once it serves"
        )
        return
    if content != expected:
        yield fault("CNI", f"{ours} is stale: it is not what this release writes", _RESTART)
    elif files[0] != ours:
        yield fault(
            "CNI", f"the runtime uses {files[0]}, which sorts before ours", f"remove {files[0]}"
        )
    else:
        yield ok("CNI", f"{ours} is the first that the runtime reads")
