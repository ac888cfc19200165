"""Links, addresses and routes, as the kernel's rtnetlink and ethtool know them."""

from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)

# Routes of this protocol inside a pod are ours (rtm_protocol; 157 is unassigned in iproute2's rt_protos).
PROTOCOL = 157


@dataclass(frozen=True, slots=True)
class Veth:
    """A pair of virtual links: one end on the node, the other, born there, in the pod.

    ``mac`` is that of the pod's end, lower case with colons. ``mtu`` is in bytes and holds for both
    ends; an observed pair whose ends differ shows the deviating one. ``alias`` is the pod end's
    IFLA_IFALIAS, our mark on it.
    """

    host: str
    pod: str
    mac: str
    mtu: int
    alias: str
    host_up: bool = True
    pod_up: bool = True

    @property
    def key(self) -> tuple[object, ...]:
        return ("veth", self.host, self.pod)

    @property
    def within(self) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Offload:
    """Transmit checksum offload of the pod's end (ethtool ``tx-checksum``).

    It must be off where the bridge is in userspace: ovs-vswitchd reads frames from AF_PACKET and
    sends checksums on that nobody has filled in.
    """

    veth: tuple[object, ...]
    pod: str
    tx_checksum: bool

    @property
    def key(self) -> tuple[object, ...]:
        return ("offload", self.pod)

    @property
    def within(self) -> tuple[object, ...]:
        return self.veth


@dataclass(frozen=True, slots=True)
class Address:
    """An address with its prefix on the pod's end.

    ``noprefixroute`` (IFA_F_NOPREFIXROUTE) keeps the kernel from adding a connected route of its own,
    which would not come back after a flush. The kernel does not change it on a living address, so it
    is part of the key.
    """

    veth: tuple[object, ...]
    pod: str
    ip: IPv4Interface | IPv6Interface
    noprefixroute: bool = True

    @property
    def key(self) -> tuple[object, ...]:
        return ("address", self.pod, self.ip, self.noprefixroute)

    @property
    def within(self) -> tuple[object, ...]:
        return self.veth


@dataclass(frozen=True, slots=True)
class Route:
    """A route of our protocol in the pod's main table; ``via`` None is a connected one (scope link)."""

    veth: tuple[object, ...]
    pod: str
    destination: IPv4Network | IPv6Network
    via: IPv4Address | IPv6Address | None
    source: IPv4Address | IPv6Address | None

    @property
    def key(self) -> tuple[object, ...]:
        return ("route", self.pod, self.destination)

    @property
    def within(self) -> tuple[object, ...]:
        return self.veth


@dataclass(frozen=True, slots=True)
class CompetingRoute:
    """Somebody else's route to the destination of one of ours, by our link and of no worse metric.

    Never desired: Linux may prefer it to ours. ``via`` has each of its next hops, None being the link itself.
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
        source = (f"src {self.source}",) if self.source else ()
        words = (
            *(f"via {via}" for via in self.via if via),
            *source,
            f"proto {self.protocol}",
            f"metric {self.metric}",
        )
        return ("rival", self.pod, self.destination, *words)

    @property
    def within(self) -> tuple[object, ...]:
        return self.veth


@dataclass(frozen=True, slots=True)
class Nic:
    """The link of an internal port, on the node itself: ovs-vswitchd makes it, and takes it away with its port."""

    port: tuple[object, ...]
    name: str
    mac: str
    mtu: int
    up: bool = True

    @property
    def key(self) -> tuple[object, ...]:
        return ("nic", self.name)

    @property
    def within(self) -> tuple[object, ...]:
        return self.port
