"""The kinds of thing a pod's network is made of, one file per subsystem.

Each is a frozen value with a ``key``. Attributes that can only be set at creation are part of the
key, so a change of them becomes remove and ensure; all others are compared and set in place.
``within`` names the key of the thing whose removal takes this one with it.
"""

from typing import Protocol

from ovnlet.core.resources.netlink import Address, Nic, Offload, Rival, Route, Veth
from ovnlet.core.resources.nftables import Masquerade
from ovnlet.core.resources.ovs import Claim, Port
from ovnlet.core.resources.qos import Leaf, Policer, Policing, Qdisc, Shaper, Shaping
from ovnlet.core.resources.sysctl import Sysctl

Limited = Shaper | Qdisc | Policer | Leaf
Resource = (
    Claim | Port | Shaping | Policing | Nic | Veth | Sysctl | Offload | Address | Route | Rival | Masquerade | Limited
)
Key = tuple[object, ...]
Network = frozenset[Resource]

ABSENT: Network = frozenset()


class Thing(Protocol):
    """What ``diff`` knows of any kind of thing, on a node or in the northbound database."""

    @property
    def key(self) -> Key: ...
    @property
    def within(self) -> Key | None: ...


# ENSURE walks it forwards, REMOVE backwards. The OVS port comes before the veth: vswitchd
# reconfigures everything at each link event, and so does it once for both (75 -> 49 ms at 250 ports).
# What tc has comes last: ovs-vswitchd makes its part once the link is there.
ORDER: tuple[type[Resource], ...] = (
    Claim,
    Port,
    Shaping,
    Policing,
    Nic,
    Veth,
    Sysctl,
    Offload,
    Address,
    Route,
    Rival,
    Masquerade,
    Shaper,
    Qdisc,
    Policer,
    Leaf,
)

__all__ = [
    "ABSENT",
    "ORDER",
    "Address",
    "Claim",
    "Key",
    "Leaf",
    "Limited",
    "Masquerade",
    "Network",
    "Nic",
    "Offload",
    "Policer",
    "Policing",
    "Port",
    "Qdisc",
    "Resource",
    "Rival",
    "Route",
    "Shaper",
    "Shaping",
    "Sysctl",
    "Thing",
    "Veth",
]
