"""Routes of our protocol in a table of their own that another program has changed."""

import errno
import socket
import struct
from typing import cast

from ovnlet.core.resources import PolicyRoute
from ovnlet.core.values import prefix
from ovnlet.drivers.links import policy_routing
from ovnlet.drivers.linux.transport import Answer, Refused, Request, Socket, attribute, u32

HOP = struct.pack("=HBBi", 16, 0, 0, 7) + attribute(5, bytes((192, 0, 2, 9)))
HEAD = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 252, 157, 0, 1, 0)


class Kernel:
    """One default route with two next hops, in table 1001."""

    def dump(self, request: Request, empty: frozenset[int]) -> list[bytes]:
        del empty
        if request.body[0] != socket.AF_INET:
            return []
        return [HEAD + attribute(15, u32(1001)) + attribute(9, HOP + HOP)]

    def ask(self, *requests: Request) -> list[Answer]:
        """Refuse a question for a link without index and name, as Linux does."""
        return [Answer(error=Refused(errno.EINVAL)) for _ in requests]


def test_a_route_with_several_next_hops_is_one_that_nobody_wants() -> None:
    """The kernel shows it without a link. The question for it must not end the observation."""
    found = list(policy_routing._routes(cast(Socket, Kernel())))
    assert found == [PolicyRoute(1001, prefix("0.0.0.0/0"), None, "0")]
