"""Check that a path is a network namespace other than our own.

skel, the reference library for plugins, answers with code 8 otherwise.
"""

import fcntl
import os

from ovnlet_cni.errors import CniError, Code

_NS_GET_NSTYPE = 0xB703
_CLONE_NEWNET = 0x40000000


def require_foreign(path: str, allow_own: bool = False) -> None:
    """Raise CniError with code 8 unless `path` is a network namespace that is not our own.

    `allow_own` is CNI_NETNS_OVERRIDE. The descriptor is closed before this returns: an open one
    would keep the interfaces of a deleted pod alive.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CniError(
            Code.INVALID_NETNS,
            f"CNI_NETNS={path!r} cannot be opened: {reason}",
            "the sandbox is gone, or its path is not visible to the agent: "
            "mount its directory with HostToContainer",
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
    """Raise CniError with code 8 unless the descriptor is a network namespace."""
    try:
        kind = fcntl.ioctl(fd, _NS_GET_NSTYPE)
    except OSError:
        kind = 0
    if kind != _CLONE_NEWNET:
        raise CniError(
            Code.INVALID_NETNS,
            f"CNI_NETNS={path!r} is not a network namespace",
            "pass a file on which the namespace is mounted, such as /run/netns/cni-1234",
        )
