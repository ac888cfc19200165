"""Network namespaces: told from any other path, entered for one look, left again.

A namespace is a property of the calling thread. Nothing may await between entering and leaving, and
a thread that cannot get back would work on some pod's network as if it were the node's: it dies.
"""

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path
from typing import NoReturn

from ovnlet.core.errors import NodeFault, UnknownSandbox

Identity = tuple[int, int]

_CLONE_NEWNET = 0x40000000
_NS_GET_NSTYPE = 0xB703
_OWN = "/proc/thread-self/ns/net"
# Only these tell that nothing is there. Any other, such as EMFILE, tells of the agent and proves no death.
_ABSENT = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ESRCH, errno.ENAMETOOLONG}
)
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def opened(path: str) -> Iterator[int]:
    """A descriptor of the sandbox's namespace. UnknownSandbox where the path leads to none, or to the node's own."""
    try:
        # O_NONBLOCK: whatever lies there, a FIFO for one, must not hold up the loop.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in _ABSENT:
            raise UnknownSandbox(f"{path} is no network namespace: {error.strerror}") from error
        raise NodeFault(f"cannot open the network namespace {path}: {error.strerror}") from error
    try:
        if not _is_network(fd):
            raise UnknownSandbox(f"{path} is no network namespace")
        if identity(fd) == own_identity():
            raise UnknownSandbox(f"{path} is the node's own network namespace")
        yield fd
    finally:
        os.close(fd)


@contextmanager
def entered(fd: int) -> Iterator[None]:
    """The calling thread inside that namespace. Never await within."""
    own = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _setns(fd):
            raise NodeFault(f"cannot enter a network namespace: {os.strerror(ctypes.get_errno())}")
        try:
            yield
        finally:
            if _setns(own):
                _die(ctypes.get_errno())
    finally:
        os.close(own)


def identity(fd: int) -> Identity:
    """What tells one living namespace from another, whatever the paths."""
    status = os.fstat(fd)
    return (status.st_dev, status.st_ino)


def own_identity() -> Identity:
    status = os.stat(_OWN)
    return (status.st_dev, status.st_ino)


def boot_id() -> str:
    """Changes with each boot of the node: namespaces of another boot are dead."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _is_network(fd: int) -> bool:
    # Files of nsfs are regular ones; the ioctl is for them alone, no device may see it.
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        return False
    try:
        return ioctl(fd, _NS_GET_NSTYPE) == _CLONE_NEWNET
    except OSError:
        return False


def _setns(fd: int) -> int:
    # os.setns came with Python 3.12.
    result: int = _libc.setns(fd, _CLONE_NEWNET)
    return result


def _die(number: int) -> NoReturn:
    os.write(
        2,
        f"ovnlet: cannot return to the node's network namespace: {os.strerror(number)}\n".encode(),
    )
    os._exit(70)
