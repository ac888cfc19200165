"""What a node needs to be a chassis of OVN, as values."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar

from ovnlet.core.identity import AttachmentKey
from ovnlet.core.resources import Bridge, ChassisId, Network

BRIDGE_TYPE = "datapath_type"
# OVN's own key decides the bridge's datapath type: without it, as in a wiped database,
# ovn-controller makes a bridge of the kernel's datapath before any other program can.
_WANTED_TYPE = "ovn-bridge-datapath-type"


@dataclass(frozen=True, slots=True)
class ChassisIdentity:
    """This node as a chassis, with the name of its integration bridge."""

    bridge: str
    name: ClassVar[str] = "chassis"

    @property
    def key(self) -> AttachmentKey:
        """No container has an empty ID."""
        return ("", self.name)

    @property
    def called(self) -> tuple[str, str]:
        """The name for display."""
        return ("node", self.name)


def desired(bridge: str, wanted: Mapping[str, str], *, create: bool) -> Network:
    """Return the keys and the bridge for these values.

    ``create`` desires a bridge even where none was ever seen.
    """
    ids = [ChassisId(name, value) for name, value in wanted.items() if name != BRIDGE_TYPE]
    if not ids or not (create or BRIDGE_TYPE in wanted):
        return frozenset(ids)
    datapath_type = wanted.get(_WANTED_TYPE) or wanted.get(BRIDGE_TYPE, "")
    return frozenset((*ids, Bridge(bridge, datapath_type)))


def values(observed: Collection[object]) -> dict[str, str]:
    """Return what was observed as values, the inverse of ``desired``."""
    ids = {each.name: each.value for each in observed if isinstance(each, ChassisId)}
    bridge = next((each for each in observed if isinstance(each, Bridge)), None)
    return ids | ({BRIDGE_TYPE: bridge.datapath_type} if bridge else {})
