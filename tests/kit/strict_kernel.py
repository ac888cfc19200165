"""Two network namespaces in memory, the node's and a pod's. They refuse and flush what Linux does.

Every rule here was observed on a real kernel; ``tests/integration/node/test_fake_is_honest.py``
compares them with one. There is only what a pod's network consists of: veth pairs, addresses,
routes of the main table, three settings.
"""

import errno
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Interface

from kit.strict_links import KERNEL, NODE, POD, Entry, Held, Interface, Ip, Link, Refused

_MIN_MTU_OF_IPV6 = 1280


class StrictKernel:
    """Links by namespace and name, and the operations of rtnetlink, /proc/sys and ethtool on them.

    Each operation raises Refused with the kernel's errno where the kernel fails.
    """

    def __init__(self) -> None:
        self._links: list[Link] = []
        self._last_serial = 0
        self.defaults = {"disable_ipv6": "0", "accept_ra": "1"}
        self.loopback_up = True

    def __iter__(self) -> Iterator[Link]:
        return iter(tuple(self._links))

    def find(self, netns: str, name: str) -> Link | None:
        """Return the link of that name, None if there is none."""
        return next(
            (link for link in self._links if (link.netns, link.name) == (netns, name)), None
        )

    def link(self, netns: str, name: str) -> Link:
        """Return the link of that name, else raise Refused (ENODEV)."""
        found = self.find(netns, name)
        if found is None:
            raise Refused(errno.ENODEV, name)
        return found

    def add_veth(self, host: str, pod: str, mac: str, mtu: int, alias: str) -> None:
        """Create a pair, both ends down. One netlink message: both ends or none."""
        for netns, name in ((NODE, host), (POD, pod)):
            if self.find(netns, name):
                raise Refused(errno.EEXIST, name)
        near = Link(NODE, host, "02:00:00:00:00:01", mtu, self.next_serial(), alias)
        far = Link(POD, pod, mac, mtu, near.serial, alias, peer=near)
        near.peer = far
        for link in (near, far):
            self._links.append(link)
            self._settle(link)

    def add_single(self, netns: str, name: str) -> None:
        """Create a foreign link without a peer."""
        if self.find(netns, name):
            raise Refused(errno.EEXIST, name)
        self._links.append(
            Link(
                netns,
                name,
                "02:00:00:00:00:02",
                1500,
                self.next_serial(),
                settings={**self.defaults},
            )
        )

    def next_serial(self) -> int:
        """Return a new serial number: a thing that is deleted and made again gets another one."""
        self._last_serial += 1
        return self._last_serial

    def delete(self, link: Link) -> None:
        """Delete a link and its peer."""
        self._links = [
            other for other in self._links if other is not link and other is not link.peer
        ]

    def rename(self, link: Link, name: str) -> None:
        """Rename a link."""
        if self.find(link.netns, name):
            raise Refused(errno.EEXIST, name)
        link.name = name

    def set_up(self, link: Link) -> None:
        """Set a link up; the connected routes of its addresses appear."""
        if not link.up:
            link.up = True
            for held in link.addresses:
                self._connect(link, held)

    def set_down(self, link: Link) -> None:
        """Set a link down. Its IPv4 addresses stay; its IPv6 addresses and all routes are lost."""
        if link.up:
            link.up = False
            link.addresses = [held for held in link.addresses if held.ip.version == 4]
            link.routes = []

    def set_arp(self, link: Link, on: bool) -> None:
        """Switch ARP and neighbour discovery on or off (IFF_NOARP)."""
        link.arp = on

    def set_loopback(self, up: bool) -> None:
        """Set the pod's `lo` up or down."""
        self.loopback_up = up

    def set_mtu(self, link: Link, mtu: int) -> None:
        """Set the MTU in bytes; below 1280 the link loses IPv6."""
        if mtu < _MIN_MTU_OF_IPV6:
            self._drop_ipv6(link)
        link.mtu = mtu
        self._settle(link)

    def set_mac(self, link: Link, mac: str) -> None:
        """Set the MAC."""
        link.mac = mac

    def set_alias(self, link: Link, alias: str) -> None:
        """Set the alias (IFLA_IFALIAS)."""
        link.alias = alias

    def set_tx_checksum(self, link: Link, on: bool) -> None:
        """Switch the transmit checksum offload on or off."""
        link.tx_checksum = on

    def set_setting(self, link: Link, name: str, value: str) -> None:
        """Write a sysctl of net.ipv6.conf.<link>; disable_ipv6=1 deletes addresses and routes."""
        if name not in link.settings:
            raise Refused(errno.ENOENT, name)
        if name == "disable_ipv6" and value == "1":
            self._drop_ipv6(link)
        link.settings[name] = value

    def add_address(
        self, link: Link, ip: Interface, *, noprefixroute: bool, protocol: int = 0
    ) -> None:
        """Add an address; with ``noprefixroute`` no connected route comes with it."""
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
        """Delete an address, and the routes that the kernel deletes with it."""
        held = next((held for held in link.addresses if held.ip == ip), None)
        if held is None:
            raise Refused(errno.EADDRNOTAVAIL, ip)
        link.addresses.remove(held)
        if isinstance(ip, IPv4Interface):
            self._lose_ipv4(link, held)
        else:
            self._lose_ipv6(link, held)

    def add_route(self, link: Link, entry: Entry) -> None:
        """Add a route, as by NLM_F_CREATE alone.

        A route of another protocol to the same destination stays beside it.
        """
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
        """Delete exactly this route."""
        if entry not in link.routes:
            raise Refused(errno.ESRCH, entry.destination)
        link.routes.remove(entry)

    def _settle(self, link: Link) -> None:
        """Remove the IPv6 settings at an MTU below 1280; add the defaults when it grows."""
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
        """Refuse a gateway that the link does not reach.

        IPv4 looks for any connected route. IPv6 takes the longest match, which must be a connected
        route, and refuses a gateway that is an address of the link itself.
        """
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
        """Add the connected route of an address: that of an IPv6 /128 too, none of an IPv4 /32."""
        network = held.ip.network
        single = network.version == 4 and network.prefixlen == network.max_prefixlen
        if held.noprefixroute or held.secondary or single:
            return
        source = held.ip.ip if held.ip.version == 4 else None
        entry = Entry(network, None, source, KERNEL)
        if entry not in link.routes:
            link.routes.append(entry)

    def _lose_ipv4(self, link: Link, held: Held) -> None:
        """Delete what goes with an IPv4 address.

        These are the secondaries of a first address, the routes with the address as their source,
        and with the last address all IPv4 routes.
        """
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
        """Delete the connected route of an IPv6 address, or another one to that prefix.

        Routes with the address as their source stay, without a source.
        """
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
    """Return whether two routes are one to IPv6: the same destination, metric and next hop.

    Protocol and source make no difference there.
    """
    if entry.destination.version == 4:
        return False
    return (entry.destination, entry.metric, entry.via) == (
        other.destination,
        other.metric,
        other.via,
    )
