"""Which parts of traffic control this kernel has. The questions create nothing in the kernel."""

import errno
import time

from ovnlet.core.resources.qos import HANDLE, HTB, NETEM, POLICE, TBF
from ovnlet.drivers.links import filters
from ovnlet.drivers.linux.tc import MAKE, NEWQDISC, ROOT, qdisc
from ovnlet.drivers.linux.transport import Request, Socket

_RECHECK = 60.0  # seconds


class KernelFeatures:
    """The kinds of qdisc, and the police action, that this kernel does not have.

    A kind that is missing is asked for again after a minute, since its module may be loaded later.
    """

    def __init__(self, kinds: tuple[str, ...] = (HTB, TBF, NETEM, POLICE)) -> None:
        self._lacking: frozenset[str] = frozenset(kinds)
        self._next_check = float("-inf")

    @property
    def lacking(self) -> frozenset[str]:
        """The kinds that are missing. Ask the kernel at most once a minute.

        Raise OSError if no netlink socket can be opened.
        """
        if self._lacking and time.monotonic() >= self._next_check:
            with Socket() as host:
                self._lacking = frozenset(kind for kind in self._lacking if not _has(host, kind))
            self._next_check = time.monotonic() + _RECHECK
        return self._lacking


def _has(host: Socket, kind: str) -> bool:
    """Return whether the kernel has the kind.

    The kernel refuses a qdisc without its options in any case: either as incomplete, or because it
    does not have the kind.
    """
    if kind == POLICE:
        return filters.has_police(host)
    (answer,) = host.ask(Request(NEWQDISC, MAKE, qdisc(1, HANDLE, ROOT, kind, b"")))
    return answer.error is not None and answer.error.errno != errno.ENOENT
