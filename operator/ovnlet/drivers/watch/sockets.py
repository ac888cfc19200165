"""The netlink sockets on which the kernel notifies."""

import socket

from ovnlet.core.errors import NodeFault
from ovnlet.drivers.linux.notifications import drop_the_kernels_own
from ovnlet.drivers.linux.transport import NETFILTER

# Link, traffic control, addresses and routes of IPv4 and IPv6 (RTNLGRP_*).
_GROUPS = sum(1 << (group - 1) for group in (1, 4, 5, 7, 9, 11))
_RULES = sum(1 << (group - 1) for group in (8, 19))
_TABLES = 1 << 6  # NFNLGRP_NFTABLES
_SOL_NETLINK, _LISTEN_ALL_NSID = 270, 8
_SO_RCVBUFFORCE = 33
# 208 KiB, the default, hold 184 link events: one burst of pods. 8 MiB hold more than 6,000.
_BUFFER = 8 << 20
_KIND = socket.SOCK_RAW | socket.SOCK_NONBLOCK


def of_links(*, everywhere: bool) -> socket.socket:
    """Return a socket for links, addresses, routes, traffic control and rules of routing.

    They are those of the node's namespace; with ``everywhere``, of each namespace that has an id in
    the node's own, and without rules. Raise NodeFault without the capability for other namespaces,
    OSError without a descriptor.
    """
    listener = socket.socket(socket.AF_NETLINK, _KIND, socket.NETLINK_ROUTE)
    try:
        listener.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        drop_the_kernels_own(listener)
        if everywhere:
            listener.setsockopt(_SOL_NETLINK, _LISTEN_ALL_NSID, 1)
        listener.bind((0, _GROUPS if everywhere else _GROUPS | _RULES))
    except OSError as error:
        listener.close()
        needed = "the agent needs CAP_NET_ADMIN and CAP_NET_BROADCAST"
        raise NodeFault(
            f"cannot listen to the pods' namespaces: {error.strerror}; {needed}"
        ) from error
    return listener


def of_tables() -> socket.socket | None:
    """Return a socket for nftables of the node; None on a kernel without nf_tables."""
    try:
        listener = socket.socket(socket.AF_NETLINK, _KIND, NETFILTER)
        listener.bind((0, _TABLES))
    except OSError:
        return None
    return listener
