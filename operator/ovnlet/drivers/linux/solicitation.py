"""Router solicitations: routers answer within half a second, instead of minutes later."""

import socket
import struct
from contextlib import suppress

_TYPE, _ALL_ROUTERS, _HOPS = 133, "ff02::2", 255
# Type, code, checksum, which the kernel fills in, and reserved (RFC 4861, section 4.1).
_MESSAGE = struct.Struct("!BBHI")


def solicit(link: str) -> None:
    """Ask all routers on a link of this network namespace for their advertisements.

    Do nothing where it cannot send, as long as its link-local address is tentative for example. The
    kernel does it by itself when a link comes up, and not for one that is up.
    """
    with (
        suppress(OSError),
        socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as wire,
    ):
        wire.setblocking(False)
        wire.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _HOPS)
        index = socket.if_nametoindex(link)
        wire.sendto(_MESSAGE.pack(_TYPE, 0, 0, 0), (_ALL_ROUTERS, 0, 0, index))
