"""The kernel's traffic control: what it really does to a pod's packets, as rtnetlink shows and takes it.

Rates go as bytes a second, bursts as bytes or as the time that they take at that rate, in ticks of 64 ns.
"""

import errno
import struct
import time
from collections.abc import Iterator
from typing import NamedTuple

from ovnlet.core.resources import Leaf, Network, Qdisc, Shaper, Veth
from ovnlet.core.resources.qos import HANDLE, HTB, LEAVES, NETEM, OVS_CLASS, PFIFO, SHORT, TBF
from ovnlet.drivers import veths
from ovnlet.drivers.netlink_socket import ACK, DUMP, Garbled, Request, Socket, attributes
from ovnlet.drivers.rtnetlink import Link

NEWQDISC, DELQDISC, GETQDISC, GETTCLASS = 36, 37, 38, 42
_MAKE = ACK | 0x400 | 0x100  # NLM_F_CREATE, NLM_F_REPLACE
ROOT = 0xFFFF_FFFF
_TC = struct.Struct("=BxxxiIII")
# cell_log, linklayer, overhead, cell_align, mpu, rate
_RATE = struct.Struct("=BBHhHI")
_NETEM = struct.Struct("=IIIIII")
_TICK, _ETHERNET, _FULL = 64, 1, 0xFFFF_FFFF
_MILLIONTHS = 1_000_000
# The queue in front of the bucket: what passes in 100 ms, and never less than some large packets.
_QUEUE, _LEAST_QUEUE = 10, 150_000
_RECHECK = 60.0


class Entry(NamedTuple):
    """A qdisc or a class. ``info`` of a class is the handle of its leaf."""

    link: int
    handle: int
    parent: int
    info: int
    kind: str
    options: bytes


def entry(body: bytes) -> Entry:
    try:
        _, link, handle, parent, info = _TC.unpack_from(body)
        found = attributes(body, _TC.size)
        return Entry(link, handle, parent, info, found[1].rstrip(b"\0").decode(), found.get(2, b""))
    except (struct.error, KeyError, ValueError) as error:
        raise Garbled(f"no qdisc in {len(body)} bytes: {error!r}") from error


def get_classes(index: int) -> Request:
    return Request(GETTCLASS, DUMP, _TC.pack(0, index, 0, 0, 0))


def get_qdiscs() -> Request:
    """Of all links of a namespace: the kernel knows no other dump, and tells everybody of a single look."""
    return Request(GETQDISC, DUMP, _TC.pack(0, 0, 0, 0, 0))


def put_shaper(index: int, shaper: Shaper) -> Request:
    """In place where it is ours, else instead of whatever is at the root."""
    rate, burst = shaper.rate // 8, shaper.burst // 8
    limit = burst + max(rate // _QUEUE, _LEAST_QUEUE)
    parameters = _RATE.pack(0, _ETHERNET, 0, 0, 0, min(rate, _FULL)) + bytes(_RATE.size)
    parameters += struct.pack("=III", min(limit, _FULL), _ticks(burst, rate), 0)
    options = _attribute(1, parameters) + _attribute(4, struct.pack("=Q", rate)) + _attribute(6, _u32(burst))
    return Request(NEWQDISC, _MAKE, _qdisc(index, HANDLE, ROOT, TBF, options))


def delete_shaper(index: int) -> Request:
    return Request(DELQDISC, ACK, _TC.pack(0, index, HANDLE, ROOT, 0))


def put_leaf(index: int, leaf: Leaf) -> Request:
    options = _u32(leaf.limit) if leaf.kind == PFIFO else _netem(leaf)
    return Request(NEWQDISC, _MAKE, _qdisc(index, LEAVES[leaf.kind], OVS_CLASS, leaf.kind, options))


def delete_leaf(index: int, leaf: Leaf) -> Request:
    return Request(DELQDISC, ACK, _TC.pack(0, index, LEAVES[leaf.kind], OVS_CLASS, 0))


def _netem(leaf: Leaf) -> bytes:
    """The ticks are for kernels before 4.16, which do not know the nanoseconds behind them."""
    loss = round(leaf.loss * _FULL / _MILLIONTHS)
    latency, jitter = (min(us * 1000 // _TICK, _FULL) for us in (leaf.latency, leaf.jitter))
    exact = (struct.pack("=q", us * 1000) for us in (leaf.latency, leaf.jitter))
    options = _NETEM.pack(latency, leaf.limit, loss, 0, 0, jitter)
    return options + b"".join(_attribute(kind, each) for kind, each in zip((10, 11), exact, strict=True))


def shaper(found: Entry, veth: tuple[object, ...], pod: str, wanted: Shaper | None) -> Shaper:
    """As the kernel shows it; what its ticks round away is not a difference."""
    parts = attributes(found.options)
    rate = _rate(parts, 1, 0, 4)
    (ticks,) = struct.unpack_from("=I", parts[1], 2 * _RATE.size + 4)
    burst = round(ticks * _TICK * rate / 1e9) * 8
    if wanted and abs(burst - wanted.burst) <= wanted.burst // 100:
        burst = wanted.burst
    return Shaper(veth, pod, rate * 8, burst)


def qdisc(found: Entry, veth: tuple[object, ...], host: str, wanted: Qdisc) -> Qdisc:
    """The class's ceiling: its rate is only what it is promised."""
    rate = _rate(attributes(found.options), 1, _RATE.size, 7) * 8
    return Qdisc(veth, host, None if wanted.rate is None else rate)


def netem(found: Entry, veth: tuple[object, ...], host: str) -> Leaf:
    latency, limit, loss, _, _, jitter = _NETEM.unpack_from(found.options)
    parts = attributes(found.options, _NETEM.size)
    exact = [
        struct.unpack("=q", parts[kind])[0] if kind in parts else ticks * _TICK
        for kind, ticks in ((10, latency), (11, jitter))
    ]
    return Leaf(veth, host, NETEM, limit, exact[0] // 1000, exact[1] // 1000, round(loss * _MILLIONTHS / _FULL))


class Kinds:
    """Which kinds of qdisc this kernel has. A module that was missing is asked for again after a minute."""

    def __init__(self, kinds: tuple[str, ...] = (HTB, TBF, NETEM)) -> None:
        self._lacking: frozenset[str] = frozenset(kinds)
        self._until = float("-inf")

    @property
    def lacking(self) -> frozenset[str]:
        if self._lacking and time.monotonic() >= self._until:
            with Socket() as host:
                self._lacking = frozenset(kind for kind in self._lacking if not _has(host, kind))
            self._until = time.monotonic() + _RECHECK
        return self._lacking


def _has(host: Socket, kind: str) -> bool:
    """A qdisc without its options is refused in any case: as incomplete, or as of an unknown kind."""
    (answer,) = host.ask(Request(NEWQDISC, _MAKE, _qdisc(1, HANDLE, ROOT, kind, b"")))
    return answer.error is not None and answer.error.errno != errno.ENOENT


def look(sandbox: veths.Sandbox, pair: veths.Pair, veth: Veth, desired: Network) -> Iterator[Qdisc | Shaper | Leaf]:
    """Asks the kernel only where there is something to see: a link tells the kind at its root unasked."""
    wanted = {resource.key: resource for resource in desired if isinstance(resource, Qdisc | Shaper)}
    if pair.pod and pair.pod.qdisc == TBF:
        for found in _qdiscs(sandbox.pod, pair.pod, ROOT):
            if (found.kind, found.handle) == (TBF, HANDLE):
                own = wanted.get(("shaper", veth.pod))
                yield shaper(found, veth.key, veth.pod, own if isinstance(own, Shaper) else None)
    if pair.host and pair.host.qdisc == HTB:
        yield from _of_ovs(sandbox.host, pair.host, veth, wanted.get(("qdisc", veth.host)))


def is_in_force(wanted: Qdisc) -> bool:
    with Socket() as host:
        link = veths.named(host, wanted.host)
        found = _of_ovs(host, link, None, wanted) if link and link.qdisc == HTB else ()
        return wanted in found


def _of_ovs(host: Socket, link: Link, veth: Veth | None, wanted: object) -> Iterator[Qdisc | Leaf]:
    """What ovs-vswitchd made, as far as it is wanted, and our leaf on it."""
    for found in map(entry, host.dump(get_classes(link.index))):
        if (found.kind, found.handle) != (HTB, OVS_CLASS):
            continue
        if isinstance(wanted, Qdisc):
            yield qdisc(found, veth.key if veth else wanted.veth, link.name, wanted)
        if veth and found.info == LEAVES[PFIFO]:
            yield Leaf(veth.key, link.name, PFIFO, SHORT)
        elif veth and found.info == LEAVES[NETEM]:
            leaves = _qdiscs(host, link, OVS_CLASS)
            yield from (netem(leaf, veth.key, link.name) for leaf in leaves if leaf.kind == NETEM)


def _qdiscs(socket: Socket, link: Link, parent: int) -> list[Entry]:
    found = map(entry, socket.dump(get_qdiscs()))
    return [each for each in found if (each.link, each.parent) == (link.index, parent)]


def _rate(parts: dict[int, bytes], parameters: int, at: int, exact: int) -> int:
    """Bytes a second; those that do not fit into 32 bits stand in an attribute of their own."""
    if exact in parts:
        return int(struct.unpack("=Q", parts[exact])[0])
    return int(_RATE.unpack_from(parts[parameters], at)[-1])


def _ticks(burst: int, rate: int) -> int:
    return min(burst * 1_000_000_000 // (rate * _TICK), _FULL)


def _qdisc(index: int, handle: int, parent: int, kind: str, options: bytes) -> bytes:
    body = _TC.pack(0, index, handle, parent, 0) + _attribute(1, kind.encode() + b"\0")
    return body + (_attribute(2, options) if options else b"")


def _attribute(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def _u32(number: int) -> bytes:
    return struct.pack("=I", number)
