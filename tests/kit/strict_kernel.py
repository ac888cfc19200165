"""Two network namespaces in memory, the node's and a pod's, that refuse and flush what Linux refuses and flushes.

Every rule here was seen on a real kernel and is compared with one by ``tests/integration/node/test_fake_is_honest.py``.
Only what a pod's network is made of: veth pairs, addresses, routes of the main table, three settings.
"""

import errno
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
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
_MIN_MTU_OF_IPV6 = 1280
# Of IPv6; anybody else's routes have 1024, and those of IPv4 none.
_METRIC = {KERNEL: 256, PROTOCOL: 512}


class Refused(Exception):
    """The kernel's no, with its errno."""

    def __init__(self, number: int, what: object) -> None:
        self.errno = number
        super().__init__(f"{errno.errorcode[number]}: {what}")


@dataclass(frozen=True, slots=True)
class Held:
    """An address on a link. ``secondary`` is the kernel's flag: it dies with the first of its subnet.

    ``protocol`` is IFA_PROTO, whose mark it is.
    """

    ip: Interface
    noprefixroute: bool
    secondary: bool = False
    protocol: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """A route of the main table. ``chosen`` is a metric that somebody asked for, None the usual one."""

    destination: Prefix
    via: Ip | None
    source: Ip | None
    protocol: int
    chosen: int | None = None

    @property
    def metric(self) -> int:
        return usual_metric(self.destination, self.protocol) if self.chosen is None else self.chosen


def usual_metric(destination: Prefix, protocol: int) -> int:
    return _METRIC.get(protocol, 1024) if destination.version == 6 else 0


@dataclass(slots=True, eq=False)
class Link:
    """One end of a veth pair; a link without ``peer`` is somebody's single one."""

    netns: str
    name: str
    mac: str
    mtu: int
    born: int
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
        return any(held.ip.ip == ip for held in self.addresses)


class StrictKernel:
    """Links by namespace and name, and the operations of rtnetlink, /proc/sys and ethtool on them."""

    def __init__(self) -> None:
        self._links: list[Link] = []
        self._births = 0
        self.defaults = {"disable_ipv6": "0", "accept_ra": "1"}
        self.loopback_up = True

    def __iter__(self) -> Iterator[Link]:
        return iter(tuple(self._links))

    def find(self, netns: str, name: str) -> Link | None:
        return next(
            (link for link in self._links if (link.netns, link.name) == (netns, name)), None
        )

    def link(self, netns: str, name: str) -> Link:
        found = self.find(netns, name)
        if found is None:
            raise Refused(errno.ENODEV, name)
        return found

    def add_veth(self, host: str, pod: str, mac: str, mtu: int, alias: str) -> None:
        """One message, all or nothing; both ends are born down."""
        for netns, name in ((NODE, host), (POD, pod)):
            if self.find(netns, name):
                raise Refused(errno.EEXIST, name)
        near = Link(NODE, host, "02:00:00:00:00:01", mtu, self.birth(), alias)
        far = Link(POD, pod, mac, mtu, near.born, alias, peer=near)
        near.peer = far
        for link in (near, far):
            self._links.append(link)
            self._settle(link)

    def add_single(self, netns: str, name: str) -> None:
        if self.find(netns, name):
            raise Refused(errno.EEXIST, name)
        self._links.append(
            Link(netns, name, "02:00:00:00:00:02", 1500, self.birth(), settings={**self.defaults})
        )

    def birth(self) -> int:
        """A number that no other thing has: one made anew is another one."""
        self._births += 1
        return self._births

    def delete(self, link: Link) -> None:
        self._links = [
            other for other in self._links if other is not link and other is not link.peer
        ]

    def rename(self, link: Link, name: str) -> None:
        if self.find(link.netns, name):
            raise Refused(errno.EEXIST, name)
        link.name = name

    def set_up(self, link: Link) -> None:
        if not link.up:
            link.up = True
            for held in link.addresses:
                self._connect(link, held)

    def set_down(self, link: Link) -> None:
        """IPv4 keeps its addresses, IPv6 does not; no route stays, and none comes back with up."""
        if link.up:
            link.up = False
            link.addresses = [held for held in link.addresses if held.ip.version == 4]
            link.routes = []

    def set_arp(self, link: Link, on: bool) -> None:
        link.arp = on

    def set_loopback(self, up: bool) -> None:
        """The pod's `lo`."""
        self.loopback_up = up

    def set_mtu(self, link: Link, mtu: int) -> None:
        if mtu < _MIN_MTU_OF_IPV6:
            self._drop_ipv6(link)
        link.mtu = mtu
        self._settle(link)

    def set_mac(self, link: Link, mac: str) -> None:
        link.mac = mac

    def set_alias(self, link: Link, alias: str) -> None:
        link.alias = alias

    def set_tx_checksum(self, link: Link, on: bool) -> None:
        link.tx_checksum = on

    def set_setting(self, link: Link, name: str, value: str) -> None:
        if name not in link.settings:
            raise Refused(errno.ENOENT, name)
        if name == "disable_ipv6" and value == "1":
            self._drop_ipv6(link)
        link.settings[name] = value

    def add_address(
        self, link: Link, ip: Interface, *, noprefixroute: bool, protocol: int = 0
    ) -> None:
        if ip.version == 6:
            self._refuse_without_ipv6(link, errno.EINVAL)
        if any(
            held.ip == ip or (ip.version == 6 and held.ip.ip == ip.ip) for held in link.addresses
        ):
            raise Refused(errno.EEXIST, ip)
        first = next((held for held in link.addresses if held.ip.network == ip.network), None)
        held = Held(
            ip, noprefixroute, secondary=ip.version == 4 and first is not None, protocol=protocol
        )
        link.addresses.append(held)
        if link.up:
            self._connect(link, held)

    def delete_address(self, link: Link, ip: Interface) -> None:
        held = next((held for held in link.addresses if held.ip == ip), None)
        if held is None:
            raise Refused(errno.EADDRNOTAVAIL, ip)
        link.addresses.remove(held)
        if isinstance(ip, IPv4Interface):
            self._lose_ipv4(link, held)
        else:
            self._lose_ipv6(link, held)

    def add_route(self, link: Link, entry: Entry) -> None:
        """As NLM_F_CREATE alone: a route of another protocol to the same place stays beside it."""
        if entry.destination.version == 6:
            self._refuse_without_ipv6(link, errno.ENODEV)
        if not link.up:
            raise Refused(errno.ENETDOWN, entry.destination)
        if entry.source and not link.holds(entry.source):
            raise Refused(errno.EINVAL, entry.source)
        if entry.via:
            self._refuse_unreachable(link, entry.via)
        if entry in link.routes or any(_same_nexthop(entry, other) for other in link.routes):
            raise Refused(errno.EEXIST, entry.destination)
        link.routes.append(entry)

    def delete_route(self, link: Link, entry: Entry) -> None:
        if entry not in link.routes:
            raise Refused(errno.ESRCH, entry.destination)
        link.routes.remove(entry)

    def _settle(self, link: Link) -> None:
        """IPv6 and its settings leave a link that is too small, and come anew when it grows."""
        if link.mtu < _MIN_MTU_OF_IPV6:
            link.settings = {}
        elif not link.settings:
            link.settings = {**self.defaults}

    def _refuse_without_ipv6(self, link: Link, otherwise: int) -> None:
        if link.settings.get("disable_ipv6") == "1":
            raise Refused(errno.EACCES, link.name)
        if not link.settings:
            raise Refused(otherwise, link.name)

    def _refuse_unreachable(self, link: Link, via: Ip) -> None:
        """IPv4 looks for any connected route; IPv6 takes the longest match, and wants that to be connected."""
        covering = [route for route in link.routes if via in route.destination]
        connected = [route for route in covering if route.via is None]
        longest = max((route.destination.prefixlen for route in covering), default=0)
        if via.version == 4 and not connected:
            raise Refused(errno.ENETUNREACH, via)
        if via.version == 6 and not any(
            route.destination.prefixlen == longest for route in connected
        ):
            raise Refused(errno.EHOSTUNREACH, via)
        if via.version == 6 and link.holds(via):
            raise Refused(errno.EINVAL, via)

    def _connect(self, link: Link, held: Held) -> None:
        """The kernel's own connected route, which comes with an address; for IPv6 even a /128."""
        network = held.ip.network
        single = network.version == 4 and network.prefixlen == network.max_prefixlen
        if held.noprefixroute or held.secondary or single:
            return
        source = held.ip.ip if held.ip.version == 4 else None
        entry = Entry(network, None, source, KERNEL)
        if entry not in link.routes:
            link.routes.append(entry)

    def _lose_ipv4(self, link: Link, held: Held) -> None:
        """A first address takes its secondaries, each address the routes that name it, the last one all."""
        if not held.secondary:
            self._forget_connected(link, Entry(held.ip.network, None, held.ip.ip, KERNEL))
            for other in [
                o for o in link.addresses if o.secondary and o.ip.network == held.ip.network
            ]:
                link.addresses.remove(other)
                self._lose_ipv4(link, other)
        if not any(other.ip.version == 4 for other in link.addresses):
            link.routes = [route for route in link.routes if route.destination.version == 6]
        elif not link.holds(held.ip.ip):
            link.routes = [route for route in link.routes if route.source != held.ip.ip]

    def _lose_ipv6(self, link: Link, held: Held) -> None:
        """Routes that named the address stay, without a source. Its connected route goes, or one like it."""
        link.routes = [
            replace(route, source=None) if route.source == held.ip.ip else route
            for route in link.routes
        ]
        shared = any(other.ip.network == held.ip.network for other in link.addresses)
        if not held.noprefixroute and not shared:
            alike = [r for r in link.routes if r.destination == held.ip.network and r.via is None]
            for route in sorted(alike, key=lambda r: r.metric)[:1]:
                link.routes.remove(route)

    def _forget_connected(self, link: Link, entry: Entry) -> None:
        if entry in link.routes:
            link.routes.remove(entry)

    def _drop_ipv6(self, link: Link) -> None:
        link.addresses = [held for held in link.addresses if held.ip.version == 4]
        link.routes = [route for route in link.routes if route.destination.version == 4]


def _same_nexthop(entry: Entry, other: Entry) -> bool:
    """IPv6 holds one route for each destination, metric and next hop, whatever the protocol and source."""
    if entry.destination.version == 4:
        return False
    return (entry.destination, entry.metric, entry.via) == (
        other.destination,
        other.metric,
        other.via,
    )
