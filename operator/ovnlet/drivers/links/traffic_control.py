"""Observe and set the kernel's traffic control of a pod, by rtnetlink.

rtnetlink has rates in bytes per second, and bursts in bytes or as the time that they take at that
rate, in ticks of 64 ns.
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
    entry,
    rate_of,
)
from ovnlet.drivers.linux.transport import (
    ACK,
    DUMP,
    Request,
    Socket,
    attribute,
    attributes,
    u32,
)

# struct tc_netem_qopt: latency in ticks, limit in packets, loss as a part of 2^32 - 1, gap,
# duplicate, jitter in ticks.
_NETEM = struct.Struct("=IIIIII")
_TICK, _ETHERNET, _MAX_U32 = 64, 1, 0xFFFF_FFFF
_MILLIONTHS = 1_000_000
# The queue in front of the token bucket holds what passes in 100 ms, but at least this many bytes:
# some large packets.
_QUEUE, _LEAST_QUEUE = 10, 150_000


def get_classes(index: int) -> Request:
    """Show the classes of the link with that index."""
    return Request(GETTCLASS, DUMP, TC.pack(0, index, 0, 0, 0))


def get_qdiscs() -> Request:
    """Show the qdiscs of all links of a namespace.

    The kernel has no dump for one link. A request for a single qdisc would send a notification to
    all listeners.
    """
    return Request(GETQDISC, DUMP, TC.pack(0, 0, 0, 0, 0))


def put_shaper(index: int, shaper: TbfQdisc) -> Request:
    """Put the shaper at the root of the link with that index.

    A shaper of ours is changed in place; any other root qdisc is replaced.
    """
    rate, burst = shaper.rate // 8, shaper.burst // 8
    limit = burst + max(rate // _QUEUE, _LEAST_QUEUE)
    parameters = RATE.pack(0, _ETHERNET, 0, 0, 0, min(rate, _MAX_U32)) + bytes(RATE.size)
    parameters += struct.pack("=III", min(limit, _MAX_U32), _ticks(burst, rate), 0)
    options = (
        attribute(1, parameters) + attribute(4, struct.pack("=Q", rate)) + attribute(6, u32(burst))
    )
    return Request(NEWQDISC, MAKE, tc.qdisc(index, HANDLE, ROOT, TBF, options))


def delete_shaper(index: int) -> Request:
    """Delete our shaper from the root of the link with that index."""
    return Request(DELQDISC, ACK, TC.pack(0, index, HANDLE, ROOT, 0))


def put_leaf(index: int, leaf: LeafQdisc) -> Request:
    """Put the queue into ovs-vswitchd's class on the link with that index."""
    options = u32(leaf.limit) if leaf.kind == PFIFO else _netem(leaf)
    return Request(
        NEWQDISC, MAKE, tc.qdisc(index, LEAVES[leaf.kind], OVS_CLASS, leaf.kind, options)
    )


def delete_leaf(index: int, leaf: LeafQdisc) -> Request:
    """Delete our queue of that kind from ovs-vswitchd's class."""
    return Request(DELQDISC, ACK, TC.pack(0, index, LEAVES[leaf.kind], OVS_CLASS, 0))


def _netem(leaf: LeafQdisc) -> bytes:
    """Encode netem's options.

    The times are there twice: in ticks for kernels before 4.16, and in nanoseconds, which those
    kernels do not know.
    """
    loss = round(leaf.loss * _MAX_U32 / _MILLIONTHS)
    latency, jitter = (min(us * 1000 // _TICK, _MAX_U32) for us in (leaf.latency, leaf.jitter))
    exact = (struct.pack("=q", us * 1000) for us in (leaf.latency, leaf.jitter))
    options = _NETEM.pack(latency, leaf.limit, loss, 0, 0, jitter)
    return options + b"".join(
        attribute(kind, each) for kind, each in zip((10, 11), exact, strict=True)
    )


def shaper(found: Entry, veth: tuple[object, ...], pod: str, wanted: TbfQdisc | None) -> TbfQdisc:
    """Decode the shaper.

    The kernel rounds the burst to ticks. If the result is the wanted burst within that rounding,
    return the wanted one, so that it is no difference.
    """
    parts = attributes(found.options)
    rate = rate_of(parts, 1, 0, 4)
    (ticks,) = struct.unpack_from("=I", parts[1], 2 * RATE.size + 4)
    burst, tick = (round(count * _TICK * rate / 1e9) * 8 for count in (ticks, 1))
    if wanted and abs(burst - wanted.burst) <= max(wanted.burst // 100, 2 * tick):
        burst = wanted.burst
    return TbfQdisc(veth, pod, rate * 8, burst)


def qdisc(found: Entry, veth: tuple[object, ...], host: str, wanted: HtbQdisc) -> HtbQdisc:
    """Decode ovs-vswitchd's htb class.

    The limit is the class's ceiling; its rate is only what it is guaranteed. The result has a rate
    of None if the wanted one has none.
    """
    rate = rate_of(attributes(found.options), 1, RATE.size, 7) * 8
    return HtbQdisc(veth, host, None if wanted.rate is None else rate)


def netem(found: Entry, veth: tuple[object, ...], host: str) -> LeafQdisc:
    """Decode a netem qdisc: times in microseconds, the loss in millionths."""
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
        round(loss * _MILLIONTHS / _MAX_U32),
    )


def observe(
    sandbox: veths.Sandbox, pair: veths.Pair, veth: Veth, desired: Network
) -> Iterator[Limited]:
    """Yield what traffic control does to the pair.

    Ask the kernel only if there is something to see: a link message already has the kind of the
    root qdisc. Raise Refused or OSError.
    """
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
        yield from _observe_ovs_qdisc(
            sandbox.host, pair.host, veth, wanted.get(("qdisc", veth.host))
        )
    if pair.host and isinstance(policer := wanted.get(("policer", veth.host)), PoliceFilter):
        yield from filters.observe(sandbox.host, pair.host, policer)


def is_in_force(wanted: HtbQdisc | PoliceFilter) -> bool:
    """Return whether the host end of the veth has exactly this limit; False without such a link.

    Raise Refused or OSError.
    """
    with Socket() as host:
        link = veths.named(host, wanted.host)
        if link is None:
            return False
        if isinstance(wanted, PoliceFilter):
            return wanted in filters.observe(host, link, wanted)
        return link.qdisc == HTB and wanted in _observe_ovs_qdisc(host, link, None, wanted)


def _observe_ovs_qdisc(
    host: Socket, link: Link, veth: Veth | None, wanted: object
) -> Iterator[HtbQdisc | LeafQdisc]:
    """Yield ovs-vswitchd's class if an HtbQdisc is wanted, and our leaf in it, given a veth."""
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
    """Return how long ``burst`` bytes take at ``rate`` bytes per second."""
    return min(burst * 1_000_000_000 // (rate * _TICK), _MAX_U32)
