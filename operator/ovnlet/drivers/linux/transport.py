"""The transport of rtnetlink and nftables: requests out, answers in, the kernel's own words on a refusal.

The kernel works inside send(): the answers lie there when it returns, so a socket is used inline. The one
exception is deleting a veth, which waits for a grace period (15 ms and more) and belongs into a thread.
"""

import errno
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple, Self

from ovnlet.core.errors import NodeFault

ACK, DUMP = 0x4, 0x300
NETFILTER = 12
_ERROR, _DONE = 2, 3
_REQUEST, _MULTI, _INTERRUPTED, _CAPPED, _TLVS = 0x1, 0x2, 0x10, 0x100, 0x200
_SOL_NETLINK, _CAP_ACK, _EXT_ACK, _STRICT = 270, 10, 11, 12
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
# More acknowledgements than this at once could overrun a receive buffer of the default size (208 KiB).
_BATCH = 100


class Garbled(NodeFault):
    """Bytes that are no netlink message."""


class Refused(NodeFault):
    """The kernel's answer to a request it did not carry out."""

    def __init__(self, number: int, text: str = "") -> None:
        self.errno, self.text = number, text
        super().__init__(f"{errno.errorcode.get(number, number)}{': ' if text else ''}{text}")


class Request(NamedTuple):
    kind: int
    flags: int
    body: bytes

    def encode(self, sequence: int) -> bytes:
        size = _HEADER.size + len(self.body)
        return _HEADER.pack(size, self.kind, self.flags | _REQUEST, sequence, 0) + self.body


@dataclass(slots=True)
class Answer:
    replies: list[bytes] = field(default_factory=list)
    error: Refused | None = None
    interrupted: bool = False


class Socket:
    """Bound for ever to the namespace it is opened in, which it keeps alive: close it soon."""

    def __init__(self, protocol: int = socket.NETLINK_ROUTE) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol
        )
        for option in (_CAP_ACK, _EXT_ACK, _STRICT):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 5, 0))
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def ask(self, *requests: Request) -> list[Answer]:
        """One answer to each. The kernel goes on after a refused one."""
        return [
            answer
            for start in range(0, len(requests), _BATCH)
            for answer in self._exchange(requests[start : start + _BATCH])
        ]

    def dump(self, request: Request, empty: frozenset[int] = frozenset()) -> list[bytes]:
        """All replies; a refusal with one of the numbers in ``empty`` says that there are none."""
        for _ in range(5):
            (answer,) = self.ask(request)
            if answer.error and answer.error.errno not in empty:
                raise answer.error
            if not answer.interrupted:
                return answer.replies
        raise NodeFault("the kernel's tables change too fast to be read")

    def transact(self, *requests: Request) -> None:
        """All or nothing, in one send; exactly one of them asks to be acknowledged. Raises Refused."""
        first, self._sequence = self._sequence + 1, self._sequence + len(requests)
        asking = next(
            first + place for place, request in enumerate(requests) if request.flags & ACK
        )
        self._socket.send(
            b"".join(request.encode(first + place) for place, request in enumerate(requests))
        )
        while True:
            for kind, flags, sequence, body in messages(self._socket.recv(1 << 15)):
                if kind == _ERROR and (error := refusal(kind, flags, body)):
                    raise error
                if kind == _ERROR and sequence == asking:
                    return

    def _exchange(self, requests: tuple[Request, ...]) -> list[Answer]:
        first, self._sequence = self._sequence + 1, self._sequence + len(requests)
        waiting = {first + place: Answer() for place in range(len(requests))}
        answers = list(waiting.values())
        self._socket.send(
            b"".join(request.encode(first + place) for place, request in enumerate(requests))
        )
        while waiting:
            for kind, flags, sequence, body in messages(self._socket.recv(1 << 15)):
                if (answer := waiting.get(sequence)) is None:
                    continue
                answer.interrupted |= bool(flags & _INTERRUPTED)
                if kind in (_ERROR, _DONE):
                    answer.error = refusal(kind, flags, body)
                    del waiting[sequence]
                    continue
                answer.replies.append(body)
                if not flags & _MULTI and not requests[sequence - first].flags & ACK:
                    del waiting[sequence]
        return answers


def messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Type, flags, sequence and body of each message of a datagram."""
    at = 0
    while at < len(data):
        if len(data) - at < _HEADER.size:
            raise Garbled(f"{len(data) - at} bytes where a netlink header should be")
        size, kind, flags, sequence, _ = _HEADER.unpack_from(data, at)
        if not _HEADER.size <= size <= len(data) - at:
            raise Garbled(f"a netlink message of {size} bytes in {len(data) - at}")
        yield kind, flags, sequence, data[at + _HEADER.size : at + size]
        at += (size + 3) & ~3


def attributes(data: bytes, at: int = 0) -> dict[int, bytes]:
    """By type without its two flag bits; the last of several of a type."""
    found = {}
    end = len(data)
    while at < end:
        if end - at < 4:
            raise Garbled(f"{end - at} bytes where an attribute should be")
        size, kind = _ATTRIBUTE.unpack_from(data, at)
        if not 4 <= size <= end - at:
            raise Garbled(f"an attribute of {size} bytes in {end - at}")
        found[kind & 0x3FFF] = data[at + 4 : at + size]
        at += (size + 3) & ~3
    return found


def refusal(kind: int, flags: int, body: bytes) -> Refused | None:
    """What an NLMSG_ERROR or NLMSG_DONE says: None for success."""
    if len(body) < 4:
        if kind == _DONE:
            return None
        raise Garbled("an error message without a number")
    (number,) = struct.unpack_from("=i", body)
    if number == 0:
        return None
    start = 4
    if kind == _ERROR:
        start += (
            _HEADER.size
            if flags & _CAPPED or len(body) < 8
            else (struct.unpack_from("=I", body, 4)[0] + 3) & ~3
        )
    text = attributes(body, start).get(1, b"") if flags & _TLVS else b""
    return Refused(-number, text.rstrip(b"\0").decode(errors="replace"))
