"""Filters of what comes in at the node's end of a pod: the police action, where ovs-vswitchd hung one.

The rate stands in the action, the action in the filter's options, by an attribute that differs from kind to kind.
"""

import errno
from collections.abc import Iterator

from ovnlet.core.resources import PoliceFilter
from ovnlet.core.resources.qos import POLICE
from ovnlet.drivers.linux.rtnetlink import Link
from ovnlet.drivers.linux.tc import (
    GETTFILTER,
    INGRESS,
    NEWACTION,
    TC,
    Entry,
    attribute,
    entry,
    rate_of,
)
from ovnlet.drivers.linux.transport import ACK, DUMP, Request, Socket, attributes

# Which attribute holds the actions: of the filter that ovs-vswitchd makes by itself, and of the one it offloads.
_ACTIONS = {"basic": 3, "matchall": 2}
# Of tc_police: index, action, limit, burst and mtu come before the rate.
_RATE_AT, _EXACT = 20, 8
# There is no such action; there are no actions at all.
_NO_ACTION = frozenset({errno.ENOENT, errno.EOPNOTSUPP})


def get_filters(index: int) -> Request:
    return Request(GETTFILTER, DUMP, TC.pack(0, index, 0, INGRESS, 0))


def look(host: Socket, link: Link, wanted: PoliceFilter) -> Iterator[PoliceFilter]:
    """The first one alone counts: what it lets pass, a second one cannot let pass again."""
    for found in map(entry, host.dump(get_filters(link.index))):
        if (rate := policed(found)) is not None:
            yield PoliceFilter(wanted.veth, wanted.host, rate)
            return


def policed(found: Entry) -> int | None:
    """The rate in bit/s that a filter polices; None if it does something else."""
    actions = attributes(found.options).get(_ACTIONS.get(found.kind, -1), b"")
    for action in attributes(actions).values():
        parts = attributes(action)
        if parts.get(1, b"").rstrip(b"\0").decode() == POLICE:
            return rate_of(attributes(parts[2]), 1, _RATE_AT, _EXACT) * 8
    return None


def has_police(host: Socket) -> bool:
    """An action without its parameters is refused in any case: as incomplete, or as of an unknown kind."""
    action = attribute(1, attribute(1, POLICE.encode() + b"\0"))
    (answer,) = host.ask(Request(NEWACTION, ACK | 0x400, bytes(4) + attribute(1, action)))
    return answer.error is not None and answer.error.errno not in _NO_ACTION
