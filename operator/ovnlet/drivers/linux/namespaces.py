"""Open, identify and enter network namespaces.

A namespace is a property of the calling thread. Nothing may await between entering and leaving. A
thread that cannot return would treat a pod's network as the node's, so the process exits instead.
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
_OWN_NETNS = "/proc/thread-self/ns/net"
# Only these errors prove that nothing is at a path. Any other one, such as EMFILE, is a problem of
# the agent itself and does not prove that a sandbox is gone.
_ABSENT = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ESRCH, errno.ENAMETOOLONG}
)
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def opened(path: str) -> Iterator[int]:
    """Yield a file descriptor of the network namespace at ``path``, and close it afterwards.

    Raise UnknownSandbox if the path is no network namespace or is the node's own one. Raise
    NodeFault if the agent cannot open it, for example because it is out of descriptors.
    """
    try:
        # O_NONBLOCK: the path may be anything. Opening a FIFO, for one, would block the loop.
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
    """Run the body with the calling thread inside that namespace. The body must not await.

    Raise NodeFault if the kernel refuses the entry. Exit the process with code 70 if the thread
    cannot return to its own namespace.
    """
    own = os.open(_OWN_NETNS, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _setns(fd):
            raise NodeFault(f"cannot enter a network namespace: {os.strerror(ctypes.get_errno())}")
        try:
            yield
        finally:
            if _setns(own):
                _exit_process(ctypes.get_errno())
    finally:
        os.close(own)


def identity(fd: int) -> Identity:
    """Return the device and inode of a namespace.

    They differ between any two namespaces that exist at one time, and are the same for all paths of
    one namespace.
    """
    status = os.fstat(fd)
    return (status.st_dev, status.st_ino)


def own_identity() -> Identity:
    """Return the identity of the namespace that the calling thread is in."""
    status = os.stat(_OWN_NETNS)
    return (status.st_dev, status.st_ino)


def boot_id() -> str:
    """Return the kernel's boot ID, which changes with each boot of the node.

    A namespace that was recorded under another boot ID no longer exists.
    """
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _is_network(fd: int) -> bool:
    # Files of nsfs are regular files. Other kinds, such as a device, must not get the ioctl.
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


def _exit_process(number: int) -> NoReturn:
    """Exit at once, without cleanup: nothing may run on in the wrong namespace."""
    os.write(
        2,
        f"ovnlet: cannot return to the node's network namespace: {os.strerror(number)}\n".encode(),
    )
    os._exit(70)
