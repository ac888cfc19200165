"""Which rules in chains of iptables are ours: those whose comment is ours, and no others."""

import struct
from typing import cast

import pytest

from ovnlet.core.resources import Accepts
from ovnlet.drivers.links import accepts
from ovnlet.drivers.linux import nft_messages as messages
from ovnlet.drivers.linux.nft_expressions import text
from ovnlet.drivers.linux.transport import Request, Socket, attribute

FORWARD = Accepts("ip", "FORWARD", ())
HANDLE = struct.pack(">Q", 7)


class Kernel:
    """A chain FORWARD with one rule that has this userdata."""

    def __init__(self, userdata: bytes) -> None:
        rule = attribute(1, text("filter")) + attribute(2, text("FORWARD")) + attribute(3, HANDLE)
        self.rule = bytes(4) + rule + (attribute(7, userdata) if userdata else b"")

    def dump(self, request: Request, empty: frozenset[int] = frozenset()) -> list[bytes]:
        del empty
        return [self.rule] if request.kind & 0xFF == messages.GETRULE else []


def removed(userdata: bytes) -> list[Request]:
    """Return what goes from the chain when nothing of ours is wanted there."""
    return list(accepts.changes(cast(Socket, Kernel(userdata)), FORWARD, removed=True))


def comment(value: str) -> bytes:
    """Return a comment as nft and iptables-nft store it."""
    return struct.pack("BB", 0, len(value) + 1) + text(value)


@pytest.mark.parametrize(
    "userdata",
    [
        b"",
        comment("for ovnlet's metrics"),
        comment("not-ovnlet"),
        comment("ovnlet2"),
        struct.pack("BB", 5, 7) + text("ovnlet"),
        b"\0",
        b"\0\xff",
    ],
)
def test_a_rule_of_others_stays_whatever_its_comment_mentions(userdata: bytes) -> None:
    assert removed(userdata) == []


@pytest.mark.parametrize("before", [b"", struct.pack("BB", 2, 4) + bytes(4)])
def test_a_rule_with_our_comment_goes(before: bytes) -> None:
    (deletion,) = removed(before + comment("ovnlet"))
    assert deletion.kind & 0xFF == messages.DELRULE
    assert attribute(3, HANDLE) in deletion.body
