"""The kernel's traffic control: what it really does to a pod's packets, as rtnetlink shows and takes it.

Rates go as bytes a second, bursts as bytes or as the time that they take at that rate, in ticks of 64 ns.
"""

import struct
from collections.abc import Iterator

from ovnlet.core.resources import (
    HtbQdisc,
    LeafQdisc,
    Limited,
    Network,
    PoliceFilter,
    TbfQdisc,
    Veth,
)
from ovnlet.core.resources.qos import HANDLE, HTB, LEAVES, NETEM, OVS_CLASS, PFIFO, SHORT, TBF
from ovnlet.drivers.links import filters, veths
from ovnlet.drivers.linux import tc
from ovnlet.drivers.linux.rtnetlink import Link
from ovnlet.drivers.linux.tc import (
    DELQDISC,
    GETQDISC,
    GETTCLASS,
    MAKE,
    NEWQDISC,
    RATE,
    ROOT,
    TC,
    Entry,
    attribute,
    entry,
    rate_of,
    u32,
)
from ovnlet.drivers.linux.transport import ACK, DUMP, Request, Socket, attributes

_NETEM = struct.Struct("=IIIIII")
_TICK, _ETHERNET, _FULL = 64, 1, 0xFFFF_FFFF
_MILLIONTHS = 1_000_000
# The queue in front of the bucket: what passes in 100 ms, and never less than some large packets.
_QUEUE, _LEAST_QUEUE = 10, 150_000


def get_classes(index: int) -> Request:
    return Request(GETTCLASS, DUMP, TC.pack(0, index, 0, 0, 0))


def get_qdiscs() -> Request:
    """Of all links of a namespace: the kernel knows no other dump, and tells everybody of a single look."""
    return Request(GETQDISC, DUMP, TC.pack(0, 0, 0, 0, 0))


def put_shaper(index: int, shaper: TbfQdisc) -> Request:
    """In place where it is ours, else instead of whatever is at the root."""
    rate, burst = shaper.rate // 8, shaper.burst // 8
    limit = burst + max(rate // _QUEUE, _LEAST_QUEUE)
    parameters = RATE.pack(0, _ETHERNET, 0, 0, 0, min(rate, _FULL)) + bytes(RATE.size)
    parameters += struct.pack("=III", min(limit, _FULL), _ticks(burst, rate), 0)
    options = (
        attribute(1, parameters) + attribute(4, struct.pack("=Q", rate)) + attribute(6, u32(burst))
    )
    return Request(NEWQDISC, MAKE, tc.qdisc(index, HANDLE, ROOT, TBF, options))


def delete_shaper(index: int) -> Request:
    return Request(DELQDISC, ACK, TC.pack(0, index, HANDLE, ROOT, 0))


def put_leaf(index: int, leaf: LeafQdisc) -> Request:
    options = u32(leaf.limit) if leaf.kind == PFIFO else _netem(leaf)
    return Request(
        NEWQDISC, MAKE, tc.qdisc(index, LEAVES[leaf.kind], OVS_CLASS, leaf.kind, options)
    )


def delete_leaf(index: int, leaf: LeafQdisc) -> Request:
    return Request(DELQDISC, ACK, TC.pack(0, index, LEAVES[leaf.kind], OVS_CLASS, 0))


def _netem(leaf: LeafQdisc) -> bytes:
    """The ticks are for kernels before 4.16, which do not know the nanoseconds behind them."""
    loss = round(leaf.loss * _FULL / _MILLIONTHS)
    latency, jitter = (min(us * 1000 // _TICK, _FULL) for us in (leaf.latency, leaf.jitter))
    exact = (struct.pack("=q", us * 1000) for us in (leaf.latency, leaf.jitter))
    options = _NETEM.pack(latency, leaf.limit, loss, 0, 0, jitter)
    return options + b"".join(
        attribute(kind, each) for kind, each in zip((10, 11), exact, strict=True)
    )


def shaper(found: Entry, veth: tuple[object, ...], pod: str, wanted: TbfQdisc | None) -> TbfQdisc:
    """As the kernel shows it; what its ticks round away is not a difference."""
    parts = attributes(found.options)
    rate = rate_of(parts, 1, 0, 4)
    (ticks,) = struct.unpack_from("=I", parts[1], 2 * RATE.size + 4)
    burst, tick = (round(count * _TICK * rate / 1e9) * 8 for count in (ticks, 1))
    if wanted and abs(burst - wanted.burst) <= max(wanted.burst // 100, 2 * tick):
        burst = wanted.burst
    return TbfQdisc(veth, pod, rate * 8, burst)


def qdisc(found: Entry, veth: tuple[object, ...], host: str, wanted: HtbQdisc) -> HtbQdisc:
    """The class's ceiling: its rate is only what it is promised."""
    rate = rate_of(attributes(found.options), 1, RATE.size, 7) * 8
    return HtbQdisc(veth, host, None if wanted.rate is None else rate)


def netem(found: Entry, veth: tuple[object, ...], host: str) -> LeafQdisc:
    latency, limit, loss, _, _, jitter = _NETEM.unpack_from(found.options)
    parts = attributes(found.options, _NETEM.size)
    exact = [
        struct.unpack("=q", parts[kind])[0] if kind in parts else ticks * _TICK
        for kind, ticks in ((10, latency), (11, jitter))
    ]
    return LeafQdisc(
        veth,
        host,
        NETEM,
        limit,
        exact[0] // 1000,
        exact[1] // 1000,
        round(loss * _MILLIONTHS / _FULL),
    )


def look(
    sandbox: veths.Sandbox, pair: veths.Pair, veth: Veth, desired: Network
) -> Iterator[Limited]:
    """Asks the kernel only where there is something to see: a link tells the kind at its root unasked."""
    wanted = {
        resource.key: resource
        for resource in desired
        if isinstance(resource, HtbQdisc | PoliceFilter | TbfQdisc)
    }
    if pair.pod and pair.pod.qdisc == TBF:
        for found in _qdiscs(sandbox.pod, pair.pod, ROOT):
            if (found.kind, found.handle) == (TBF, HANDLE):
                own = wanted.get(("shaper", veth.pod))
                yield shaper(found, veth.key, veth.pod, own if isinstance(own, TbfQdisc) else None)
    if pair.host and pair.host.qdisc == HTB:
        yield from _of_ovs(sandbox.host, pair.host, veth, wanted.get(("qdisc", veth.host)))
    if pair.host and isinstance(policer := wanted.get(("policer", veth.host)), PoliceFilter):
        yield from filters.look(sandbox.host, pair.host, policer)


def is_in_force(wanted: HtbQdisc | PoliceFilter) -> bool:
    with Socket() as host:
        link = veths.named(host, wanted.host)
        if link is None:
            return False
        if isinstance(wanted, PoliceFilter):
            return wanted in filters.look(host, link, wanted)
        return link.qdisc == HTB and wanted in _of_ovs(host, link, None, wanted)


def _of_ovs(
    host: Socket, link: Link, veth: Veth | None, wanted: object
) -> Iterator[HtbQdisc | LeafQdisc]:
    """What ovs-vswitchd made, as far as it is wanted, and our leaf on it."""
    for found in map(entry, host.dump(get_classes(link.index))):
        if (found.kind, found.handle) != (HTB, OVS_CLASS):
            continue
        if isinstance(wanted, HtbQdisc):
            yield qdisc(found, veth.key if veth else wanted.veth, link.name, wanted)
        if veth and found.info == LEAVES[PFIFO]:
            yield LeafQdisc(veth.key, link.name, PFIFO, SHORT)
        elif veth and found.info == LEAVES[NETEM]:
            leaves = _qdiscs(host, link, OVS_CLASS)
            yield from (netem(leaf, veth.key, link.name) for leaf in leaves if leaf.kind == NETEM)


def _qdiscs(socket: Socket, link: Link, parent: int) -> list[Entry]:
    found = map(entry, socket.dump(get_qdiscs()))
    return [each for each in found if (each.link, each.parent) == (link.index, parent)]


def _ticks(burst: int, rate: int) -> int:
    return min(burst * 1_000_000_000 // (rate * _TICK), _FULL)
