"""Links, addresses and routes, as the kernel's rtnetlink and ethtool represent them."""

from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import ClassVar

# Routes of this protocol inside a pod are ours (rtm_protocol; iproute2's rt_protos does not assign
# 157).
PROTOCOL = 157
# Values of ``Route.later``. A route of our protocol with any other metric was not made here.
LATER = range(100, 1000)


@dataclass(frozen=True, slots=True)
class Veth:
    """A pair of virtual links: one end on the node, the other created directly in the pod.

    ``mac`` is the MAC of the pod's end, lower case with colons. ``mtu`` is in bytes and applies to
    both ends; an observed pair whose ends differ shows the wrong one. ``alias`` is the IFLA_IFALIAS
    of the pod's end, which marks it as ours. ``arp`` is whether the pod's end resolves neighbours
    (no IFF_NOARP). ``lent`` means that name, MAC and state of the pod's end are another's to set:
    whatever they are, an observed pair shows the wanted ones.
    """

    host: str
    pod: str
    mac: str
    mtu: int
    alias: str
    host_up: bool = True
    pod_up: bool = True
    arp: bool = True
    lent: bool = False

    @property
    def key(self) -> tuple[object, ...]:
        """The names of both ends."""
        return ("veth", self.host, self.pod)

    @property
    def within(self) -> None:
        """None: nothing else removes a veth."""
        return None


@dataclass(frozen=True, slots=True)
class Offload:
    """Transmit checksum offload of the pod's end (ethtool ``tx-checksum``).

    It must be off with a userspace bridge: ovs-vswitchd reads frames from AF_PACKET and would send
    on checksums that nothing has filled in.
    """

    veth: tuple[object, ...]
    pod: str
    tx_checksum: bool

    @property
    def key(self) -> tuple[object, ...]:
        """The interface."""
        return ("offload", self.pod)

    @property
    def within(self) -> tuple[object, ...]:
        """The key of the link."""
        return self.veth


@dataclass(frozen=True, slots=True)
class Loopback:
    """The pod's link `lo`.

    A runtime sets it up before an ADD and down before a DEL, often by a plugin of its own. So it
    counts as down only if a later look finds it down too.
    """

    veth: tuple[object, ...]
    up: bool = True
    name: ClassVar[str] = "lo"

    @property
    def key(self) -> tuple[object, ...]:
        """The name, the same in every pod."""
        return ("loopback", self.name)

    @property
    def within(self) -> tuple[object, ...]:
        """The key of the pod's own link, without which the pod has no network of ours."""
        return self.veth


@dataclass(frozen=True, slots=True)
class Address:
    """An address with its prefix on the pod's end.

    ``noprefixroute`` (IFA_F_NOPREFIXROUTE) stops the kernel from adding its own connected route,
    which would not come back after a flush. The kernel does not change the flag of an existing
    address, so it is part of the key.
    """

    veth: tuple[object, ...]
    pod: str
    ip: IPv4Interface | IPv6Interface
    noprefixroute: bool = True

    @property
    def key(self) -> tuple[object, ...]:
        """The interface, the address and its flag."""
        return ("address", self.pod, self.ip, self.noprefixroute)

    @property
    def within(self) -> tuple[object, ...]:
        """The key of the link."""
        return self.veth


@dataclass(frozen=True, slots=True)
class Route:
    """A route with our protocol in the pod's main table; ``via`` None is connected (scope link).

    ``later`` is added to the usual metric of its family: another interface's route to the same
    destination comes first. The kernel cannot change a metric, so it is part of the key.
    """

    veth: tuple[object, ...]
    pod: str
    destination: IPv4Network | IPv6Network
    via: IPv4Address | IPv6Address | None
    source: IPv4Address | IPv6Address | None
    later: int = 0

    @property
    def key(self) -> tuple[object, ...]:
        """The interface, the destination, and ``later`` if the metric is not the usual one."""
        later = ("later", self.later) if self.later else ()
        return ("route", self.pod, self.destination, *later)

    @property
    def within(self) -> tuple[object, ...]:
        """The key of the link."""
        return self.veth


@dataclass(frozen=True, slots=True)
class CompetingRoute:
    """A foreign route to the destination of one of ours, through our link and with no worse metric.

    It is never desired: Linux may prefer it to ours. ``via`` has each of its next hops; None is the
    link itself.
    """

    veth: tuple[object, ...]
    pod: str
    destination: IPv4Network | IPv6Network
    via: tuple[IPv4Address | IPv6Address | None, ...]
    source: IPv4Address | IPv6Address | None
    protocol: int
    metric: int

    @property
    def key(self) -> tuple[object, ...]:
        """The interface, the destination and all that distinguishes it from other routes there."""
        source = (f"src {self.source}",) if self.source else ()
        words = (
            *(f"via {via}" for via in self.via if via),
            *source,
            f"proto {self.protocol}",
            f"metric {self.metric}",
        )
        return ("competing route", self.pod, self.destination, *words)

    @property
    def within(self) -> tuple[object, ...]:
        """The key of the link."""
        return self.veth


@dataclass(frozen=True, slots=True)
class Nic:
    """The link of an internal port, on the node itself.

    ovs-vswitchd creates it, and removes it with its port. ``arp`` is whether it resolves neighbours
    (no IFF_NOARP). ``lent`` means that name, MAC and state of the pod's end are another's to set:
    whatever they are, an observed pair shows the wanted ones.
    """

    port: tuple[object, ...]
    name: str
    mac: str
    mtu: int
    up: bool = True
    arp: bool = True

    @property
    def key(self) -> tuple[object, ...]:
        """The name."""
        return ("nic", self.name)

    @property
    def within(self) -> tuple[object, ...]:
        """The key of the port."""
        return self.port
