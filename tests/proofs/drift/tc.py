"""An independent traffic control client: qdiscs and classes as the kernel shows them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from proofs.drift.rtnl import Kernel, attributes

GETTCLASS, GETQDISC, GETTFILTER = 42, 38, 46
INGRESS_FILTERS = 0xFFFF_0000  # the parent of what the ingress qdisc holds
ROOT, INGRESS = 0xFFFF_FFFF, 0xFFFF_FFF1
_TC = struct.Struct("=BxxxiIII")
_KIND, _OPTIONS = 1, 2
_RATESPEC = 12
_NETEM, _NETEM_SEED = 24, 14  # the size of struct tc_netem_qopt, and an attribute behind it
# struct tc_police: index, action, limit, burst and mtu come before the rate.
_MATCHALL_ACTIONS, _POLICE, _POLICE_RATE = 2, 1, 20


@dataclass(frozen=True, slots=True)
class TcObject:
    """A qdisc, or a class, whose ``info`` is its leaf."""

    link: int
    handle: int
    parent: int
    info: int
    kind: str
    options: bytes

    @property
    def place(self) -> str:
        """The parent's handle, or "root"."""
        return "root" if self.parent == ROOT else _number(self.parent)


def facts(kernel: Kernel, index: int) -> Iterator[tuple[str, str]]:
    """Yield all qdiscs of one link but ingress, its HTB classes, and what polices its ingress."""
    for qdisc in _objects(kernel, GETQDISC, 0):
        if qdisc.link == index and qdisc.parent != INGRESS:
            yield (
                f"qdisc at {qdisc.place}",
                f"{qdisc.kind} {_number(qdisc.handle)} {_options(qdisc)}".strip(),
            )
    for each in _objects(kernel, GETTCLASS, index):
        if each.kind == "htb":
            yield f"class {_number(each.handle)}", f"{_htb(each.options)} leaf {_number(each.info)}"
    for each in _objects(kernel, GETTFILTER, index, INGRESS_FILTERS):
        if rate := _policed(each):
            yield "police filter", rate


def _objects(kernel: Kernel, kind: int, index: int, parent: int = 0) -> list[TcObject]:
    found = []
    for body in kernel.ask(kind, _TC.pack(0, index, 0, parent, 0), dump=True):
        _, link, handle, parent, info = _TC.unpack_from(body)
        found_attributes = attributes(body, _TC.size)
        found.append(
            TcObject(
                link,
                handle,
                parent,
                info,
                found_attributes[_KIND].rstrip(b"\0").decode(),
                found_attributes.get(_OPTIONS, b""),
            )
        )
    return found


def _options(qdisc: TcObject) -> str:
    """Return a token bucket's options as text, and those of any other qdisc as hex.

    Those of an HTB qdisc are left out: the kernel counts packets in them. So is netem's seed, which
    the kernel draws at random.
    """
    if qdisc.kind == "htb":
        return ""
    if qdisc.kind == "netem":
        return _netem(qdisc.options)
    if qdisc.kind != "tbf":
        return qdisc.options.hex()
    parameters = attributes(qdisc.options, 0)[1]
    limit, buffer = struct.unpack_from("=II", parameters, 2 * _RATESPEC)
    return f"rate {_rate(parameters, 0)} limit {limit} buffer {buffer}"


def _netem(options: bytes) -> str:
    further = attributes(options, _NETEM)
    named = (f"{key}={value.hex()}" for key, value in further.items() if key != _NETEM_SEED)
    return " ".join([options[:_NETEM].hex(), *named])


def _htb(options: bytes) -> str:
    parameters = attributes(options, 0)[1]
    buffer, ceiling_buffer = struct.unpack_from("=II", parameters, 2 * _RATESPEC)
    rates = f"rate {_rate(parameters, 0)} ceil {_rate(parameters, _RATESPEC)}"
    return f"{rates} buffer {buffer} cbuffer {ceiling_buffer}"


def _policed(found: TcObject) -> str:
    """Return the rate of the police action of a matchall filter, or "" if it has none."""
    if found.kind != "matchall" or not found.options:
        return ""
    actions = attributes(attributes(found.options, 0).get(_MATCHALL_ACTIONS, b""), 0)
    for action in actions.values():
        parts = attributes(action, 0)
        if parts[_KIND].rstrip(b"\0") == b"police":
            return f"rate {_rate(attributes(parts[_OPTIONS], 0)[_POLICE], _POLICE_RATE)}"
    return ""


def _rate(parameters: bytes, at: int) -> str:
    """Return the rate in bit/s; the kernel keeps bytes."""
    (rate,) = struct.unpack_from("=I", parameters, at + _RATESPEC - 4)
    return f"{rate * 8}"


def _number(handle: int) -> str:
    return f"{handle >> 16:x}:{handle & 0xFFFF:x}"
