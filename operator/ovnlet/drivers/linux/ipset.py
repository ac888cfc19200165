"""Messages of ipset: which sets there are, and how one is destroyed."""

import errno
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ovnlet.drivers.linux.transport import ACK, DUMP, Request, Socket, attribute, attributes

_SUBSYSTEM, _DESTROY, _LIST = 6, 3, 7
# IPSET_ATTR_PROTOCOL, _SETNAME, _FLAGS, _DATA, _INDEX; within the data _REFERENCES. The kernel
# shows an index from version 7 of the protocol on.
_PROTOCOL, _NAME, _FLAGS, _DATA, _INDEX, _REFERENCES = 1, 2, 6, 7, 11, 25
_VERSION = b"\x07"
_HEADERS_ONLY = 1 << 2  # IPSET_FLAG_LIST_HEADER
# A question to a kernel without ipset would load its module.
_MODULE = Path("/sys/module/ip_set")
# The answers of a kernel before 4.20, whose protocol is older (IPSET_ERR_PROTOCOL), or without it.
_NONE = frozenset({4097, errno.EINVAL, errno.ENOENT, errno.EOPNOTSUPP})


class IpSet(NamedTuple):
    """A set, its number in rules that match it, and how many of these there are."""

    name: str
    number: int
    references: int


def sets(kernel: Socket) -> Iterator[IpSet]:
    """Yield all sets; none where the kernel has no ipset. Raise Refused or OSError."""
    if not _MODULE.exists():
        return
    flags = attribute(_FLAGS, struct.pack(">I", _HEADERS_ONLY))
    for body in kernel.dump(_request(_LIST, DUMP | ACK, flags), empty=_NONE):
        found = attributes(body, 4)
        data = attributes(found.get(_DATA, b""))
        name = found.get(_NAME, b"").rstrip(b"\0").decode(errors="replace")
        numbers = (found.get(_INDEX, b""), data.get(_REFERENCES, b""))
        yield IpSet(name, *(int.from_bytes(each, "big") for each in numbers))


def destroy(name: str) -> Request:
    """Return a request that destroys a set. Without a name the kernel would destroy all."""
    if not name:
        raise ValueError("a set without a name")
    return _request(_DESTROY, ACK, attribute(_NAME, name.encode() + b"\0"))


def _request(kind: int, flags: int, given: bytes) -> Request:
    head = struct.pack(">BBH", 0, 0, 0)
    return Request(_SUBSYSTEM << 8 | kind, flags, head + attribute(_PROTOCOL, _VERSION) + given)
