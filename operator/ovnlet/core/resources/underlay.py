"""What joins a network interface (NIC) of the node to a bridge of Open vSwitch, the underlay.

The node's own addresses are moved with it. Removals of these types come after all other steps of a
plan: the copy exists before the original goes, so that a plan that ends anywhere loses nothing.
"""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from ovnlet.core.resources.lifetimes import Lifetime

Key = tuple[object, ...]
# AF_INET; RTPROT_RA and RTPROT_DHCP, a byte of a route's message (struct rtmsg).
_AF_INET, _BY_ROUTER, _BY_DHCP = 2, 9, 16
EntryKind = Literal["address", "route", "neighbour", "rule"]
MAPPINGS, CHASSIS_MACS = "ovn-bridge-mappings", "ovn-chassis-mac-mappings"


@dataclass(frozen=True, slots=True)
class UplinkBridge:
    """A bridge for a provider network, with the MAC of its NIC.

    ``mac`` is `other_config:hwaddr`. Without it, OVS takes the lowest MAC of the bridge's ports,
    and the node would change its MAC whenever a port comes.
    """

    name: str
    network: str
    mac: str
    datapath_type: str = ""
    removed_last: ClassVar[bool] = True

    @property
    def key(self) -> Key:
        """The name; all else is set in place."""
        return ("uplink bridge", self.name)

    @property
    def within(self) -> None:
        """None: nothing else removes it."""
        return None


@dataclass(frozen=True, slots=True)
class LinkUp:
    """A link of the node that must be up, with settings of /proc/sys/net. It is never set down.

    ``settings`` are pairs such as (`ipv4/rp_filter`, `0`).
    """

    link: str
    up: bool = True
    settings: tuple[tuple[str, str], ...] = ()
    removed_last: ClassVar[bool] = True

    @property
    def key(self) -> Key:
        """The link."""
        return ("link up", self.link)

    @property
    def within(self) -> None:
        """None: nothing that is ours takes it down."""
        return None


@dataclass(frozen=True, slots=True)
class LinkEntry:
    """An address, a route, a static neighbour or a policy rule of one link of the node.

    ``message`` is the kernel's own netlink message without the link, so that nothing of it is lost
    on the way to another link. ``text`` is for people. ``place`` orders the entries
    of a link: the first address of a subnet is the primary one, and a gateway must be reachable
    before a route by it is accepted. ``lifetime`` is of an address or a route that ends by itself.
    """

    link: str
    kind: EntryKind
    text: str
    message: bytes
    place: int = field(default=0, compare=False)
    lifetime: Lifetime | None = None
    removed_last: ClassVar[bool] = True

    @property
    def is_ipv4(self) -> bool:
        """Whether it is of IPv4: each of the kernel's messages begins with its family."""
        return self.message[:1] == bytes([_AF_INET])

    @property
    def is_of_router(self) -> bool:
        """Whether it is a route of a router advertisement.

        The kernel makes it where it takes the advertisements. It must not be copied: the copy is no
        such route for the kernel, which then fails to add its own, and reads no prefix any more
        (ndisc_router_discovery); copies of several routers' become one route.
        """
        return (
            self.kind == "route" and not self.is_ipv4 and self.message[5:6] == bytes([_BY_ROUTER])
        )

    @property
    def is_route_of_lease(self) -> bool:
        """Whether it is a route of IPv4 that a DHCP client has marked as its own."""
        return self.kind == "route" and self.is_ipv4 and self.message[5:6] == bytes([_BY_DHCP])

    @property
    def is_leased(self) -> bool:
        """Whether it is an address of IPv4 with a lifetime: a DHCP server gave it."""
        return self.kind == "address" and self.lifetime is not None and self.is_ipv4

    @property
    def lease(self) -> Lifetime | None:
        """The lifetime of a leased address that its client has to renew, else None."""
        is_current = self.is_leased and self.lifetime and not self.lifetime.is_replaced
        return self.lifetime if is_current else None

    @property
    def same(self) -> Key:
        """What two entries share of which a link can have only one."""
        return (self.kind, self.text)

    @property
    def key(self) -> Key:
        """All but its lifetime: a changed entry is another one, which comes before the old goes."""
        return ("link entry", self.link, self.kind, self.text, self.message)

    @property
    def within(self) -> None:
        """None: each entry is removed by a step of its own."""
        return None


@dataclass(frozen=True, slots=True)
class UplinkPort:
    """The NIC as a port of the bridge. ``trunks`` are the VLAN IDs that it carries, 0 untagged.

    ``tag`` makes it an access port of one VLAN; it is never desired.
    """

    bridge: str
    nic: str
    trunks: tuple[int, ...]
    tag: int | None = None
    removed_last: ClassVar[bool] = True

    @property
    def key(self) -> Key:
        """The bridge and the NIC."""
        return ("uplink port", self.bridge, self.nic)

    @property
    def within(self) -> None:
        """None: it leaves the bridge before the bridge goes."""
        return None


@dataclass(frozen=True, slots=True)
class NetworkMapping:
    """One entry of a list such as `ovn-bridge-mappings`, by which OVN knows a provider network.

    ``name`` is the key of Open_vSwitch.external_ids; other entries of its list are left alone.
    """

    name: str
    network: str
    value: str
    removed_last: ClassVar[bool] = True

    @property
    def key(self) -> Key:
        """The list and the network."""
        return ("network mapping", self.name, self.network)

    @property
    def within(self) -> None:
        """None: nothing else removes it."""
        return None
