"""What a pod's annotations say of one attachment, as values."""

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
    """An entry of ``routes``; ``destination`` is never a default route here."""

    destination: Destination
    via: Address


@dataclass(frozen=True, slots=True)
class Allocation:
    """``mtu``, in bytes, is its Subnet's, or 0. ``repair`` exempts this pod from the agent's own setting.

    ``problems`` are values that were not used; ``notices`` tell of values that are not used to the last digit.
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
