"""Messages of traffic control: qdiscs, classes and filters as rtnetlink encodes them."""

import struct
from typing import NamedTuple

from ovnlet.drivers.linux.transport import ACK, Garbled, attribute, attributes

NEWQDISC, DELQDISC, GETQDISC, GETTCLASS, GETTFILTER, NEWACTION = 36, 37, 38, 42, 46, 48
MAKE = ACK | 0x400 | 0x100  # NLM_F_CREATE, NLM_F_REPLACE
ROOT, INGRESS = 0xFFFF_FFFF, 0xFFFF_0000
# struct tcmsg: family, interface index, handle, parent, info.
TC = struct.Struct("=BxxxiIII")
# struct tc_ratespec: cell_log, linklayer, overhead, cell_align, mpu, rate.
RATE = struct.Struct("=BBHhHI")


class Entry(NamedTuple):
    """A qdisc, a class or a filter. ``info`` of a class is the handle of its leaf qdisc."""

    link: int
    handle: int
    parent: int
    info: int
    kind: str
    options: bytes


def entry(body: bytes) -> Entry:
    """Decode a qdisc, class or filter message. Raise Garbled if the bytes are none."""
    try:
        _, link, handle, parent, info = TC.unpack_from(body)
        found = attributes(body, TC.size)
        return Entry(link, handle, parent, info, found[1].rstrip(b"\0").decode(), found.get(2, b""))
    except (struct.error, KeyError, ValueError) as error:
        raise Garbled(f"no qdisc in {len(body)} bytes: {error!r}") from error


def rate_of(parts: dict[int, bytes], parameters: int, at: int, exact: int) -> int:
    """Return a rate in bytes per second.

    A rate that does not fit into 32 bits is in the attribute ``exact``. Any other is in the struct
    tc_ratespec at offset ``at`` of the attribute ``parameters``.
    """
    if exact in parts:
        return int(struct.unpack("=Q", parts[exact])[0])
    return int(RATE.unpack_from(parts[parameters], at)[-1])


def qdisc(index: int, handle: int, parent: int, kind: str, options: bytes) -> bytes:
    """Encode the body of a qdisc message for the link with that index; no options if empty."""
    body = TC.pack(0, index, handle, parent, 0) + attribute(1, kind.encode() + b"\0")
    return body + (attribute(2, options) if options else b"")
