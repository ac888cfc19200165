"""The record of a move: what the NIC had before it, and how far the move is.

With it the node goes back from any point, also after a restart of the agent or of the node.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import Any, Literal, Self, get_args

from ovnlet.core.resources import LinkEntry, LinkUp, NetworkMapping, UplinkBridge, UplinkPort
from ovnlet.core.resources import Network as Resources
from ovnlet.core.resources.lifetimes import Lifetime
from ovnlet.core.resources.underlay import CHASSIS_MACS, MAPPINGS
from ovnlet.core.underlay.leases import refreshed
from ovnlet.core.underlay.networks import Intent

# moving: from the NIC to the bridge, not proved yet. settled: on the bridge, proved. returning:
# from the bridge to the NIC. held: on the NIC, and not tried again until the object changes, or
# with ``again`` until the API server answers.
Phase = Literal["moving", "settled", "returning", "held"]
Settings = tuple[tuple[str, str], ...]
# The setting by which the kernel takes router advertisements. It is the bridge's, not the NIC's.
ACCEPTS = "ipv6/accept_ra"


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
    settings: Settings = ()


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

    def refreshed(
        self, on_nic: Iterable[LinkEntry], on_bridge: Iterable[LinkEntry], now: float
    ) -> Self:
        """Return the record after a look at both links, see ``leases.refreshed``.

        ``now`` is in seconds since 1970. It is the record itself if nothing has changed.
        """
        entries = refreshed(self.found.entries, on_nic, on_bridge, now)
        if entries == self.found.entries:
            return self
        return replace(self, found=replace(self.found, entries=entries))


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
            LinkUp(intent.nic, settings=_deaf(found.settings)),
            UplinkPort(bridge, intent.nic, intent.trunks),
            NetworkMapping(MAPPINGS, intent.network, bridge),
            NetworkMapping(CHASSIS_MACS, intent.network, found.chassis_mac),
            *(replace(each, link=bridge) for each in found.entries),
        }
    )


def on_nic(record: Record) -> Resources:
    """Return the NIC with all that it had."""
    settings = tuple(each for each in record.found.settings if each[0] == ACCEPTS)
    return frozenset({LinkUp(record.intent.nic, settings=settings), *record.found.entries})


def _deaf(settings: Settings) -> Settings:
    """Return the settings of a NIC in a bridge: its router advertisements are for the bridge."""
    return tuple((name, "0") for name, _ in settings if name == ACCEPTS)


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
    found["settings"] = tuple((str(name), str(value)) for name, value in found["settings"])
    found["entries"] = tuple(map(_entry, found["entries"]))
    return Record(
        Intent(**(intent | {"trunks": tuple(map(int, intent["trunks"]))})),
        Found(**found),
        body["phase"],
        tuple(map(str, body["checks"])),
        str(body["why"]),
        bool(body["again"]),
    )


def _entry(body: Mapping[str, Any]) -> LinkEntry:
    lifetime = body.get("lifetime")
    ends = Lifetime(**{name: float(lifetime[name]) for name in lifetime}) if lifetime else None
    return LinkEntry(**{**body, "message": bytes.fromhex(body["message"]), "lifetime": ends})
