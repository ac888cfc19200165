"""The unix socket as a file.

It appears complete, only its owner can use it, and a live socket of another server is left alone.
"""

import errno
import os
import socket
import stat
from pathlib import Path

# sun_path holds 107 bytes; the draft's name adds two dots and a process ID.
_MAX_PATH = 107 - len("..1234567")


class UnusableSocket(ValueError):
    """The configured path cannot be our socket. The agent must not start with it."""


def prepare_directory(directory: Path) -> None:
    """Create the socket's directory, accessible to us only (0700).

    A kubelet creates a hostPath as root with 0755, so a directory that exists is not an error: its
    mode is set to 0700. A directory of another user, or one that is shared, is never changed.
    Raises UnusableSocket for it, and OSError.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    real = directory.resolve()
    found = real.stat()
    if len(real.parts) < 3 or found.st_mode & stat.S_ISVTX or found.st_uid != os.geteuid():
        raise UnusableSocket(
            f"{directory} is shared with other users: give the socket its own directory"
        )
    if stat.S_IMODE(found.st_mode) != 0o700:
        real.chmod(0o700)


def listen(path: Path) -> socket.socket:
    """Return a listening socket at `path`.

    The file appears by a rename, so there is always a socket at the path. Raises UnusableSocket if
    the path is too long, and OSError.
    """
    if len(os.fsencode(path)) > _MAX_PATH:
        raise UnusableSocket(
            f"{path} is longer than {_MAX_PATH} bytes, the limit for a unix socket here"
        )
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    listener = socket.socket(
        socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    )
    try:
        listener.bind(str(draft))
        draft.chmod(0o600)  # before listen(), so nobody connects under the umask's mode
        listener.listen(1024)
        draft.rename(path)
    except OSError:
        listener.close()
        draft.unlink(missing_ok=True)
        raise
    return listener


def identity(path: Path) -> tuple[int, int] | None:
    """Return device and inode of what is at the path now, or None if nothing is."""
    try:
        found = path.stat(follow_symlinks=False)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_answered(path: Path) -> bool:
    """Return whether some process listens behind this file."""
    with socket.socket(
        socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    ) as probe:
        return probe.connect_ex(str(path)) in (0, errno.EAGAIN)
