"""The parsed form of one attachment's annotations."""

from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)

from ovnlet.core.errors import Invalid
from ovnlet.core.qos import Qos
from ovnlet.core.settings import Repair

Interface = IPv4Interface | IPv6Interface
Address = IPv4Address | IPv6Address
Destination = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class CustomRoute:
    """An entry of the annotation ``routes``. ``destination`` is never a default route here."""

    destination: Destination
    via: Address


@dataclass(frozen=True, slots=True)
class Allocation:
    """What the annotations and the Subnet give to one attachment.

    ``mtu`` is the Subnet's MTU in bytes, or 0 to use the node's. ``repair`` overrides the agent's
    own setting for this pod. ``problems`` lists values that were rejected and are not used.
    ``notices`` reports values that are used rounded.
    """

    addresses: tuple[Interface, ...]
    mac: str
    logical_switch: str
    gateways: tuple[Address, ...]
    default_route: bool
    routes: tuple[CustomRoute, ...] = ()
    mtu: int = 0
    repair: Repair | None = None
    qos: Qos = field(default_factory=Qos)
    problems: tuple[Invalid, ...] = ()
    notices: tuple[str, ...] = ()
