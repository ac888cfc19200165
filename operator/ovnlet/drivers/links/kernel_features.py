"""What this kernel's traffic control has: asked for in a way that makes nothing."""

import errno
import time

from ovnlet.core.resources.qos import HANDLE, HTB, NETEM, POLICE, TBF
from ovnlet.drivers.links import filters
from ovnlet.drivers.linux.tc import MAKE, NEWQDISC, ROOT, qdisc
from ovnlet.drivers.linux.transport import Request, Socket

_RECHECK = 60.0


class KernelFeatures:
    """KernelFeatures of qdisc, and the police action. A module that was missing is asked for again after a minute."""

    def __init__(self, kinds: tuple[str, ...] = (HTB, TBF, NETEM, POLICE)) -> None:
        self._lacking: frozenset[str] = frozenset(kinds)
        self._useless: frozenset[str] = frozenset()
        self._until = float("-inf")

    @property
    def lacking(self) -> frozenset[str]:
        if self._lacking and time.monotonic() >= self._until:
            with Socket() as host:
                self._lacking = frozenset(kind for kind in self._lacking if not _has(host, kind))
            self._until = time.monotonic() + _RECHECK
        return self._lacking | self._useless

    def give_up(self, kind: str) -> None:
        """Count it as lacking from now on: it is there, and nobody can make use of it."""
        self._useless |= {kind}


def _has(host: Socket, kind: str) -> bool:
    """A qdisc without its options is refused in any case: as incomplete, or as of an unknown kind."""
    if kind == POLICE:
        return filters.has_police(host)
    (answer,) = host.ask(Request(NEWQDISC, MAKE, qdisc(1, HANDLE, ROOT, kind, b"")))
    return answer.error is not None and answer.error.errno != errno.ENOENT
