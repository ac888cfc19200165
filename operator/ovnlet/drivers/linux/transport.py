"""The transport of rtnetlink and nftables: send requests, read answers, report what was refused.

The kernel does the work inside send(): the answers are ready when it returns, so a socket is used
directly in the event loop. The one exception is deleting a veth, which waits for an RCU grace
period (15 ms and more) and belongs in a thread.
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
_SNDBUFFORCE, _LARGE = 32, 8 << 20
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
# More acknowledgements than this at once could overrun a receive buffer of the default size
# (208 KiB).
_BATCH = 100


class Garbled(NodeFault):
    """Bytes that are no netlink message."""


class Refused(NodeFault):
    """The kernel's answer to a request that it did not carry out.

    ``errno`` is the error number, ``text`` the kernel's own message (extended ACK), or empty.
    """

    def __init__(self, number: int, text: str = "") -> None:
        self.errno, self.text = number, text
        super().__init__(f"{errno.errorcode.get(number, number)}{': ' if text else ''}{text}")


class Request(NamedTuple):
    """One netlink message before it has a sequence number. ``kind`` is its type."""

    kind: int
    flags: int
    body: bytes

    def encode(self, sequence: int) -> bytes:
        """Return the message with its header. NLM_F_REQUEST is always set."""
        size = _HEADER.size + len(self.body)
        return _HEADER.pack(size, self.kind, self.flags | _REQUEST, sequence, 0) + self.body


@dataclass(slots=True)
class Answer:
    """What the kernel sent back for one request.

    ``replies`` are message bodies. ``interrupted`` means that a table changed during its dump
    (NLM_F_DUMP_INTR), so that the replies may be incomplete.
    """

    replies: list[bytes] = field(default_factory=list)
    error: Refused | None = None
    interrupted: bool = False


class Socket:
    """A netlink socket, bound to the network namespace that it is opened in.

    An open socket keeps its namespace alive, so close it soon.
    """

    def __init__(self, protocol: int = socket.NETLINK_ROUTE) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol
        )
        for option in (_CAP_ACK, _EXT_ACK, _STRICT):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 5, 0))
        self._sequence = 0

    def __enter__(self) -> Self:
        """Return the open socket; the end of the block closes it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Close the socket."""
        self._socket.close()

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._socket.fileno()

    def allow_large_requests(self) -> None:
        """Let one send have up to 8 MiB. Raise OSError without the right to that."""
        self._socket.setsockopt(socket.SOL_SOCKET, _SNDBUFFORCE, _LARGE)

    def ask(self, *requests: Request) -> list[Answer]:
        """Return one answer per request, in order.

        Wait at most 5 s for each datagram, then raise OSError. The kernel carries out the requests
        after a refused one; the caller looks at each ``Answer.error``.
        """
        if len(requests) <= _BATCH:
            return self._exchange(requests) if requests else []
        return [
            answer
            for start in range(0, len(requests), _BATCH)
            for answer in self._exchange(requests[start : start + _BATCH])
        ]

    def dump(self, request: Request, empty: frozenset[int] = frozenset()) -> list[bytes]:
        """Return all replies to a dump, read again if the table changed meanwhile (up to 5 times).

        A refusal with an error number in ``empty`` means no replies. Raise Refused for any other
        one, and NodeFault if the table changed during each of the 5 dumps.
        """
        for _ in range(5):
            (answer,) = self.ask(request)
            if answer.error and answer.error.errno not in empty:
                raise answer.error
            if not answer.interrupted:
                return answer.replies
        raise NodeFault("the kernel's tables change too fast to be read")

    def transact(self, *requests: Request) -> None:
        """Have the kernel carry out all requests or none. Raise Refused if it carries out none.

        All go out in one send. Exactly one of them must ask for an acknowledgement.
        """
        first, self._sequence = self._sequence + 1, self._sequence + len(requests)
        asking = next(
            first + place for place, request in enumerate(requests) if request.flags & ACK
        )
        self._socket.send(
            b"".join(request.encode(first + place) for place, request in enumerate(requests))
        )
        while True:
            for kind, flags, sequence, body in messages(self._socket.recv(1 << 15)):
                if sequence < first:
                    continue  # the kernel refuses each of a refused transaction's requests
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
    """Yield type, flags, sequence number and body of each message of a datagram.

    Raise Garbled if a length does not fit.
    """
    at = 0
    while at < len(data):
        if len(data) - at < _HEADER.size:
            raise Garbled(f"{len(data) - at} bytes where a netlink header should be")
        size, kind, flags, sequence, _ = _HEADER.unpack_from(data, at)
        if not _HEADER.size <= size <= len(data) - at:
            raise Garbled(f"a netlink message of {size} bytes in {len(data) - at}")
        yield kind, flags, sequence, data[at + _HEADER.size : at + size]
        at += (size + 3) & ~3


def attribute(kind: int, payload: bytes) -> bytes:
    """Encode an attribute of that type, padded to 4 bytes."""
    return _ATTRIBUTE.pack(4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def u32(number: int) -> bytes:
    """Encode 32 bits in the byte order of the machine, as rtnetlink has them."""
    return struct.pack("=I", number)


def attributes(data: bytes, at: int = 0, until: int | None = None) -> dict[int, bytes]:
    """Return the attributes from offset ``at`` on, by type without its two flag bits.

    Read no further than the first of type ``until``. Of several of one type, return the last. Raise
    Garbled if a length does not fit.
    """
    found: dict[int, bytes] = {}
    end, unpack = len(data), _ATTRIBUTE.unpack_from
    while at < end:
        if end - at < 4:
            raise Garbled(f"{end - at} bytes where an attribute should be")
        size, kind = unpack(data, at)
        if not 4 <= size <= end - at:
            raise Garbled(f"an attribute of {size} bytes in {end - at}")
        kind &= 0x3FFF
        found[kind] = data[at + 4 : at + size]
        if kind == until:
            break
        at += (size + 3) & ~3
    return found


def refusal(kind: int, flags: int, body: bytes) -> Refused | None:
    """Return the error in an NLMSG_ERROR or NLMSG_DONE message, or None if it reports success.

    Raise Garbled if an NLMSG_ERROR has no error number.
    """
    if len(body) < 4:
        if kind == _DONE:
            return None
        raise Garbled("an error message without a number")
    (number,) = struct.unpack_from("=i", body)
    if number == 0:
        return None
    start = 4
    if kind == _ERROR:
        # The header of the refused request comes first; its body too, unless it was capped.
        start += (
            _HEADER.size
            if flags & _CAPPED or len(body) < 8
            else (struct.unpack_from("=I", body, 4)[0] + 3) & ~3
        )
    text = attributes(body, start).get(1, b"") if flags & _TLVS else b""
    return Refused(-number, text.rstrip(b"\0").decode(errors="replace"))
