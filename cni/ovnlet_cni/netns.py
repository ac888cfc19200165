"""Is this path a network namespace, and not the one we live in? The answer that skel gives with code 8."""

import fcntl
import os

from ovnlet_cni.errors import CniError, Code

_NS_GET_NSTYPE = 0xB703
_CLONE_NEWNET = 0x40000000


def require_foreign(path: str, allow_own: bool = False) -> None:
    """Raise code 8 unless `path` names a network namespace that is not this process's own.

    `allow_own` is CNI_NETNS_OVERRIDE. The descriptor is closed before this returns: one that stayed open would keep
    a dead pod's interfaces alive.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CniError(
            Code.INVALID_NETNS,
            f"CNI_NETNS={path!r} cannot be opened: {reason}",
            "the sandbox is gone, or its path is not visible to the agent: mount its directory with HostToContainer",
        ) from error
    try:
        _require_kind(fd, path)
        own = os.stat("/proc/self/ns/net")
        if not allow_own and os.path.samestat(os.fstat(fd), own):
            raise CniError(
                Code.INVALID_NETNS,
                f"CNI_NETNS={path!r} is the network namespace of the agent itself",
                "pass the sandbox's own namespace; a pod with hostNetwork needs no CNI",
            )
    finally:
        os.close(fd)


def _require_kind(fd: int, path: str) -> None:
    try:
        kind = fcntl.ioctl(fd, _NS_GET_NSTYPE)
    except OSError:
        kind = 0
    if kind != _CLONE_NEWNET:
        raise CniError(
            Code.INVALID_NETNS,
            f"CNI_NETNS={path!r} is not a network namespace",
            "pass a file that the namespace is mounted on, such as /run/netns/cni-1234",
        )
