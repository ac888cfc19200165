"""The foreign eye on traffic control: qdiscs and classes as the kernel shows them, by own messages like all of rtnl."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from proofs.drift.rtnl import Kernel, attributes

GETTCLASS, GETQDISC = 42, 38
ROOT, INGRESS = 0xFFFF_FFFF, 0xFFFF_FFF1
_TC = struct.Struct("=BxxxiIII")
_KIND, _OPTIONS = 1, 2
_RATESPEC = 12


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
        return "root" if self.parent == ROOT else _number(self.parent)


def facts(kernel: Kernel, index: int) -> Iterator[tuple[str, str]]:
    """All queues of one link, and the classes in them."""
    for qdisc in _things(kernel, GETQDISC, 0):
        if qdisc.link == index and qdisc.parent != INGRESS:
            yield (
                f"qdisc at {qdisc.place}",
                f"{qdisc.kind} {_number(qdisc.handle)} {_options(qdisc)}".strip(),
            )
    for each in _things(kernel, GETTCLASS, index):
        if each.kind == "htb":
            yield f"class {_number(each.handle)}", f"{_htb(each.options)} leaf {_number(each.info)}"


def _things(kernel: Kernel, kind: int, index: int) -> list[TcObject]:
    found = []
    for body in kernel.ask(kind, _TC.pack(0, index, 0, 0, 0), dump=True):
        _, link, handle, parent, info = _TC.unpack_from(body)
        told = attributes(body, _TC.size)
        found.append(
            TcObject(
                link,
                handle,
                parent,
                info,
                told[_KIND].rstrip(b"\0").decode(),
                told.get(_OPTIONS, b""),
            )
        )
    return found


def _options(qdisc: TcObject) -> str:
    """The words of a token bucket; of an htb nothing, as it counts in there; of any other the bytes."""
    if qdisc.kind == "htb":
        return ""
    if qdisc.kind != "tbf":
        return qdisc.options.hex()
    parameters = attributes(qdisc.options, 0)[1]
    limit, buffer = struct.unpack_from("=II", parameters, 2 * _RATESPEC)
    return f"rate {_rate(parameters, 0)} limit {limit} buffer {buffer}"


def _htb(options: bytes) -> str:
    parameters = attributes(options, 0)[1]
    buffer, ceiling_buffer = struct.unpack_from("=II", parameters, 2 * _RATESPEC)
    rates = f"rate {_rate(parameters, 0)} ceil {_rate(parameters, _RATESPEC)}"
    return f"{rates} buffer {buffer} cbuffer {ceiling_buffer}"


def _rate(parameters: bytes, at: int) -> str:
    """As bits, since the kernel keeps bytes."""
    (rate,) = struct.unpack_from("=I", parameters, at + _RATESPEC - 4)
    return f"{rate * 8}"


def _number(handle: int) -> str:
    return f"{handle >> 16:x}:{handle & 0xFFFF:x}"
