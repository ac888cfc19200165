"""The unix socket as a file: put in place whole, owner only, never fought over with another live server."""

import errno
import os
import socket
import stat
from pathlib import Path

_LONGEST = 107 - len("..1234567")


class UnusableSocket(ValueError):
    """The configured path cannot be our socket; the agent must not start with it."""


def prepare_directory(directory: Path) -> None:
    """Make the socket's directory ours alone (0700). A directory of others is refused, never tightened.

    A kubelet creates a hostPath as root with 0755, so one that exists is not an error.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    real = directory.resolve()
    found = real.stat()
    if len(real.parts) < 3 or found.st_mode & stat.S_ISVTX or found.st_uid != os.geteuid():
        raise UnusableSocket(
            f"{directory} is shared with others: give the socket a directory of its own"
        )
    if stat.S_IMODE(found.st_mode) != 0o700:
        real.chmod(0o700)


def listen(path: Path) -> socket.socket:
    """A listening socket under `path`: it appears there by a rename, so that no moment is without one."""
    if len(os.fsencode(path)) > _LONGEST:
        raise UnusableSocket(
            f"{path} is longer than the {_LONGEST} bytes that a unix socket's name may have here"
        )
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    listener = socket.socket(
        socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    )
    try:
        listener.bind(str(draft))
        draft.chmod(0o600)  # before listen(): nobody can have connected with the mode of the umask
        listener.listen(1024)
        draft.rename(path)
    except OSError:
        listener.close()
        draft.unlink(missing_ok=True)
        raise
    return listener


def identity(path: Path) -> tuple[int, int] | None:
    """What is there now: device and inode, None for nothing."""
    try:
        found = path.stat(follow_symlinks=False)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_answered(path: Path) -> bool:
    """Does some process listen behind this file?"""
    with socket.socket(
        socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    ) as probe:
        return probe.connect_ex(str(path)) in (0, errno.EAGAIN)
