"""kube-ovn-cni's plugin and configuration in the runtime's directories: set aside, and put back.

A runtime uses the configuration that sorts first, and kube-ovn-cni's sorts before ours. What is set
aside has a suffix that no runtime looks for. All functions block.
"""

import json
import os
from pathlib import Path

from ovnlet_cni import installer

# The name of its plugin, which networks of type `kube-ovn` call.
PLUGIN = "kube-ovn"
SAVED = ".ovnlet-saved"


def configurations(conf_dir: Path) -> list[str]:
    """Return the names of its configurations that sort before ours."""
    return [name for name in installer.before_ours(conf_dir) if _is_theirs(conf_dir / name)]


def saved(directory: Path) -> list[str]:
    """Return the names of what is set aside in a directory."""
    return sorted(path.name for path in directory.glob(f"*{SAVED}"))


def set_aside(path: Path) -> None:
    """Rename a file. Raise OSError."""
    os.replace(path, path.with_name(path.name + SAVED))


def save(path: Path) -> None:
    """Keep a second name for a foreign plugin that is replaced next. Raise OSError.

    So the path always has a plugin.
    """
    if not path.exists(follow_symlinks=False) or installer.is_our_plugin(path):
        return
    kept = path.with_name(path.name + SAVED)
    kept.unlink(missing_ok=True)
    os.link(path, kept, follow_symlinks=False)


def put_back(kept: Path) -> Path:
    """Give a file its name again, and return its path. Raise OSError.

    A newer one of that name which is not ours stays instead.
    """
    path = kept.with_name(kept.name.removesuffix(SAVED))
    if path.exists(follow_symlinks=False) and not installer.is_our_plugin(path):
        kept.unlink()
    else:
        os.replace(kept, path)
    return path


def restore(bin_dir: Path, conf_dir: Path) -> list[Path]:
    """Put back all that is set aside, remove our plugin of its name, return what is there again.

    Raise OSError.
    """
    found = [put_back(where / name) for where in (conf_dir, bin_dir) for name in saved(where)]
    remove(bin_dir / PLUGIN)
    return found


def remove(path: Path) -> None:
    """Remove our plugin of its name, if it is ours and nothing came in its place. Raise OSError."""
    if installer.is_our_plugin(path) and not path.with_name(path.name + SAVED).exists():
        path.unlink()


def _is_theirs(path: Path) -> bool:
    """Return whether the file is a configuration whose first plugin is kube-ovn-cni's."""
    try:
        return bool(json.loads(path.read_bytes())["plugins"][0]["type"] == PLUGIN)
    except (OSError, ValueError, LookupError, TypeError):
        return False
