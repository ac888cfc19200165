"""Ingress filters on the host end of a veth: find the police action that ovs-vswitchd attached.

The rate is in the action. The action is in the filter's options, in an attribute whose number
differs from kind to kind of filter.
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
    entry,
    rate_of,
)
from ovnlet.drivers.linux.transport import ACK, DUMP, Request, Socket, attribute, attributes

# The attribute that holds the actions: of the kind of filter that ovs-vswitchd makes by itself
# (basic), and of the kind that it makes with hardware offload (matchall).
_ACTIONS = {"basic": 3, "matchall": 2}
# In struct tc_police: index, action, limit, burst and mtu come before the rate.
_RATE_AT, _EXACT = 20, 8
# The kernel has no such action, or no actions at all.
_NO_ACTION = frozenset({errno.ENOENT, errno.EOPNOTSUPP})


def get_filters(index: int) -> Request:
    """Show the ingress filters of the link with that index."""
    return Request(GETTFILTER, DUMP, TC.pack(0, index, 0, INGRESS, 0))


def observe(host: Socket, link: Link, wanted: PoliceFilter) -> Iterator[PoliceFilter]:
    """Yield the first police filter of the link, if there is one.

    Only the first counts: a second one polices only what the first let pass.
    """
    for found in map(entry, host.dump(get_filters(link.index))):
        if (rate := policed(found)) is not None:
            yield PoliceFilter(wanted.veth, wanted.host, rate)
            return


def policed(found: Entry) -> int | None:
    """Return the rate in bit/s that a filter polices, or None if it does something else."""
    actions = attributes(found.options).get(_ACTIONS.get(found.kind, -1), b"")
    for action in attributes(actions).values():
        parts = attributes(action)
        if parts.get(1, b"").rstrip(b"\0").decode() == POLICE:
            return rate_of(attributes(parts[2]), 1, _RATE_AT, _EXACT) * 8
    return None


def has_police(host: Socket) -> bool:
    """Return whether the kernel has the police action. The question adds no action.

    The kernel refuses an action without its parameters in any case: either as incomplete, or
    because it does not have the kind.
    """
    action = attribute(1, attribute(1, POLICE.encode() + b"\0"))
    (answer,) = host.ask(Request(NEWACTION, ACK | 0x400, bytes(4) + attribute(1, action)))
    return answer.error is not None and answer.error.errno not in _NO_ACTION
