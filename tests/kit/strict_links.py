"""What the strict kernel consists of: links with their addresses and routes, and its refusal."""

import errno
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)

from ovnlet.core.resources import LeafQdisc
from ovnlet.core.resources.netlink import PROTOCOL

Ip = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Prefix = IPv4Network | IPv6Network

NODE, POD = "node", "pod"
KERNEL, STATIC = 2, 4
# Of IPv6 routes by protocol, 1024 for all others; IPv4 routes have no usual metric.
_METRIC = {KERNEL: 256, PROTOCOL: 512}


class Refused(Exception):
    """The kernel refuses an operation, with its errno."""

    def __init__(self, number: int, what: object) -> None:
        self.errno = number
        super().__init__(f"{errno.errorcode[number]}: {what}")


@dataclass(frozen=True, slots=True)
class Held:
    """An address on a link.

    ``secondary`` is the kernel's flag: such an address is deleted with the first one of its
    subnet. ``protocol`` is IFA_PROTO, by which programs mark their addresses.
    """

    ip: Interface
    noprefixroute: bool
    secondary: bool = False
    protocol: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """A route of the main table. ``chosen`` is an explicit metric, None means the usual one."""

    destination: Prefix
    via: Ip | None
    source: Ip | None
    protocol: int
    chosen: int | None = None

    @property
    def metric(self) -> int:
        """The metric that the kernel shows."""
        return usual_metric(self.destination, self.protocol) if self.chosen is None else self.chosen


def usual_metric(destination: Prefix, protocol: int) -> int:
    """Return the metric of a route for which nobody chose one."""
    return _METRIC.get(protocol, 1024) if destination.version == 6 else 0


@dataclass(slots=True, eq=False)
class Link:
    """One end of a veth pair, or without ``peer`` a foreign link of another kind.

    ``serial`` is a serial number that no other thing on the node has; both ends share it.
    """

    netns: str
    name: str
    mac: str
    mtu: int
    serial: int
    alias: str = ""
    up: bool = False
    arp: bool = True
    peer: "Link | None" = None
    tx_checksum: bool = True
    htb: int | None = None
    leaf: LeafQdisc | None = None
    policer: int | None = None
    shaper: tuple[int, int] | None = None
    settings: dict[str, str] = field(default_factory=dict)
    addresses: list[Held] = field(default_factory=list)
    routes: list[Entry] = field(default_factory=list)

    def holds(self, ip: Ip | None) -> bool:
        """Return whether the link has this address."""
        return any(held.ip.ip == ip for held in self.addresses)
