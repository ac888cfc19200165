"""What a node needs to be a chassis of OVN, as values."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from ovnlet.core.annotations import ENCAP_IP
from ovnlet.core.identity import OfNode
from ovnlet.core.resources import Bridge, ChassisId, Network
from ovnlet.core.settings import INTERNAL_IP, Settings

BRIDGE_TYPE = "datapath_type"
# OVN's own key decides the bridge's datapath type: without it, as in a wiped database,
# ovn-controller makes a bridge of the kernel's datapath before any other program can.
_WANTED_TYPE = "ovn-bridge-datapath-type"
REMOTE = "ovn-bridge-remote"
TUNNEL = "ovn-encap-ip"


@dataclass(frozen=True, slots=True)
class ChassisIdentity(OfNode):
    """This node as a chassis, with the name of its integration bridge."""

    bridge: str
    name: ClassVar[str] = "chassis"


def own_remotes(bridge: str) -> tuple[str, str]:
    """Return the two spellings of the bridge's control socket between which we alternate."""
    return f"unix:{bridge}.mgmt", f"unix:./{bridge}.mgmt"


def ids(bridge: str, values: Mapping[str, str]) -> frozenset[ChassisId]:
    """Return the keys among these values, without the address of the bridge's own socket."""
    return frozenset(
        ChassisId(name, value)
        for name, value in values.items()
        if name != BRIDGE_TYPE
        and (name, value) not in {(REMOTE, own) for own in own_remotes(bridge)}
    )


@dataclass(frozen=True, slots=True)
class FlowsIdentity(OfNode):
    """OVN's flows in the integration bridge of this name."""

    bridge: str
    name: ClassVar[str] = "flows"


def declared_tunnel(
    settings: Settings, annotations: Mapping[str, str], internal: Iterable[str]
) -> tuple[str, ...]:
    """Return the addresses that the Node declares for this node's tunnels, the best one first.

    There are none if the Node has no annotation and the setting does not ask for its InternalIPs.
    """
    if own := annotations.get(ENCAP_IP, "").strip():
        return (own,)
    if settings.encap_ip != INTERNAL_IP:
        return ()
    return tuple(sorted(internal, key=lambda address: ":" in address))


def desired(bridge: str, wanted: Mapping[str, str], *, create: bool) -> Network:
    """Return the keys and the bridge for these values.

    ``create`` desires a bridge even where none was ever seen.
    """
    keys = ids(bridge, wanted)
    if not keys or not (create or BRIDGE_TYPE in wanted):
        return keys
    datapath_type = wanted.get(_WANTED_TYPE) or wanted.get(BRIDGE_TYPE, "")
    return keys | {Bridge(bridge, datapath_type, remote=wanted.get(REMOTE, ""))}
