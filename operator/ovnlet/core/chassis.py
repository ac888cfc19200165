"""What a node needs to be a chassis of OVN, as values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ovnlet.core import encap
from ovnlet.core.identity import OfNode
from ovnlet.core.resources import Bridge, ChassisId, Network

BRIDGE_TYPE = "datapath_type"
# OVN's own key decides the bridge's datapath type: without it, as in a wiped database,
# ovn-controller makes a bridge of the kernel's datapath before any other program can.
_WANTED_TYPE = "ovn-bridge-datapath-type"
USERSPACE = "netdev"
REMOTE = "ovn-bridge-remote"


@dataclass(frozen=True, slots=True)
class ChassisIdentity(OfNode):
    """This node as a chassis, with the name of its integration bridge."""

    bridge: str
    name: ClassVar[str] = "chassis"


def own_remotes(bridge: str) -> tuple[str, str]:
    """Return the two spellings of the bridge's control socket between which we alternate."""
    return f"unix:{bridge}.mgmt", f"unix:./{bridge}.mgmt"


def ids(bridge: str, values: Mapping[str, str]) -> frozenset[ChassisId]:
    """Return the keys among these values, but for the bridge's own socket and the tunnels'."""
    return frozenset(
        ChassisId(name, value)
        for name, value in values.items()
        if name not in {BRIDGE_TYPE, *encap.KEYS}
        and (name, value) not in {(REMOTE, own) for own in own_remotes(bridge)}
    )


@dataclass(frozen=True, slots=True)
class FlowsIdentity(OfNode):
    """OVN's flows in the integration bridge of this name."""

    bridge: str
    name: ClassVar[str] = "flows"


def desired(bridge: str, wanted: Mapping[str, str], *, create: bool) -> Network:
    """Return the keys and the bridge for these values.

    ``create`` desires a bridge even where none was ever seen.
    """
    keys = ids(bridge, wanted)
    if not keys or not (create or BRIDGE_TYPE in wanted):
        return keys
    return keys | {Bridge(bridge, bridge_type(wanted), remote=wanted.get(REMOTE, ""))}


def bridge_type(values: Mapping[str, str]) -> str:
    """Return the datapath type that a bridge gets by these values; empty for the kernel's."""
    return values.get(_WANTED_TYPE) or values.get(BRIDGE_TYPE, "")
