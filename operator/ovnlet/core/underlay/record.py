"""The record of a move: what the NIC had before it, and how far the move is.

With it the node goes back from any point, also after a restart of the agent or of the node.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import Any, Literal, Self, get_args

from ovnlet.core.resources import LinkEntry, LinkUp, NetworkMapping, UplinkBridge, UplinkPort
from ovnlet.core.resources import Network as Resources
from ovnlet.core.resources.underlay import CHASSIS_MACS, MAPPINGS
from ovnlet.core.underlay.networks import Intent

# moving: from the NIC to the bridge, not proved yet. settled: on the bridge, proved. returning:
# from the bridge to the NIC. held: on the NIC, and not tried again until the object changes, or
# with ``again`` until the API server answers.
Phase = Literal["moving", "settled", "returning", "held"]


@dataclass(frozen=True, slots=True)
class Found:
    """What belongs to a NIC or was lent to its bridge, as observed.

    ``entries`` are named by the NIC, wherever they are now. ``chassis_mac`` is that of the network
    in OVN's list, ``settings`` those of the NIC, which its bridge gets.
    """

    entries: tuple[LinkEntry, ...]
    mac: str
    datapath_type: str
    chassis_mac: str
    settings: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """One move. ``checks`` are the addresses that answered before it, as ``kind address``."""

    intent: Intent
    found: Found
    phase: Phase
    checks: tuple[str, ...] = ()
    why: str = ""
    again: bool = False

    @property
    def on_bridge(self) -> bool:
        """Whether the node's addresses are to be on the bridge."""
        return self.phase in ("moving", "settled")

    def desired(self) -> Resources:
        """Return what the phase desires: all on the bridge, or all on the NIC."""
        return on_bridge(self.intent, self.found) if self.on_bridge else on_nic(self)

    def with_entries(self, entries: Iterable[LinkEntry]) -> Self:
        """Return the record with these entries too; the record itself if it has them all.

        One that differs from a known one only in its attributes is the same: the record's stays.
        """
        known = {each.same for each in self.found.entries}
        new = tuple(each for each in entries if each.same not in known)
        if not new:
            return self
        return replace(self, found=replace(self.found, entries=(*self.found.entries, *new)))


def chassis_mac(nic_mac: str, network: str) -> str:
    """Return a MAC for OVN's routers on this network: its own on each node, always the same."""
    digest = sha256(f"{nic_mac} {network}".encode()).hexdigest()
    return ":".join(["02", *(digest[at : at + 2] for at in range(0, 10, 2))])


def on_bridge(intent: Intent, found: Found) -> Resources:
    """Return the bridge with the NIC and all that the NIC had, and OVN's entries for it."""
    bridge = intent.bridge
    return frozenset(
        {
            UplinkBridge(bridge, intent.network, found.mac, found.datapath_type),
            LinkUp(bridge, settings=found.settings),
            LinkUp(intent.nic),
            UplinkPort(bridge, intent.nic, intent.trunks),
            NetworkMapping(MAPPINGS, intent.network, bridge),
            NetworkMapping(CHASSIS_MACS, intent.network, found.chassis_mac),
            *(replace(each, link=bridge) for each in found.entries),
        }
    )


def on_nic(record: Record) -> Resources:
    """Return the NIC with all that it had."""
    return frozenset({LinkUp(record.intent.nic), *record.found.entries})


def to_json(record: Record) -> dict[str, Any]:
    """Return a record as JSON has it."""
    body = asdict(record)
    for each in body["found"]["entries"]:
        each["message"] = each["message"].hex()
    return body


def from_json(body: Mapping[str, Any]) -> Record:
    """Return the record. Raise ValueError, TypeError, LookupError or AttributeError if it is none.

    It is never read as something less than it was: a record that is not whole is refused.
    """
    if body["phase"] not in get_args(Phase):
        raise ValueError(f"no phase {body['phase']}")
    intent = dict(body["intent"])
    found = dict(body["found"])
    entries = (each | {"message": bytes.fromhex(each["message"])} for each in found["entries"])
    found["settings"] = tuple((str(name), str(value)) for name, value in found["settings"])
    found["entries"] = tuple(LinkEntry(**each) for each in entries)
    return Record(
        Intent(**(intent | {"trunks": tuple(map(int, intent["trunks"]))})),
        Found(**found),
        body["phase"],
        tuple(map(str, body["checks"])),
        str(body["why"]),
        bool(body["again"]),
    )
