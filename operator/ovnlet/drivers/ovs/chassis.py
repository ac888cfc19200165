"""What makes this node a chassis of OVN: a few keys of Open_vSwitch.external_ids, and the integration bridge.

They live in the local OVSDB alone. Whoever wipes it cuts the node off, and every pod with it. ``manage`` brings them
back, ``observe`` only tells; in a Kube-OVN cluster they are ovs-ovn's to write.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import structlog

from ovnlet.core.errors import OvnletError
from ovnlet.drivers.ovs.ports import Ovs
from ovnlet.drivers.store.json_file import JsonFile

log = structlog.get_logger("chassis")
_DATAPATH, _WISHED = "datapath_type", "ovn-bridge-datapath-type"


class Chassis:
    """``given`` are the settings' own values, which hold against any other; ``path`` is where the rest is remembered.

    A value that nobody set here is never invented: what was last seen is brought back if it is gone, and if somebody
    changes it, the new one is what was last seen. Of the bridge's datapath type OVN's own key decides: without it, as
    in a wiped database, ovn-controller makes a bridge of the kernel's before anybody else can. The words for that
    bridge's socket are remembered like the rest: ovn-controller holds on to them when they are wiped, and only other
    ones have it connect at once.
    """

    def __init__(
        self, ovs: Ovs, path: Path, given: Mapping[str, str], mode: Literal["manage", "observe"]
    ) -> None:
        self._ovs, self._memory, self._given, self._mode = ovs, JsonFile(path), dict(given), mode
        self._remembered = self._memory.read()
        self._told: dict[str, str] = {}
        self._anew = False
        self._turn = asyncio.Lock()

    @property
    def owes(self) -> bool:
        """Whether the bridge was made anew and ovn-controller has not been told yet: another look will."""
        return self._anew

    async def look(self) -> None:
        """Compare, and bring back what is missing. Raises nothing: the next look comes with the next change."""
        try:
            async with self._turn:
                await self._compare()
        except (OvnletError, OSError) as error:
            log.warning("chassis not looked at", error=str(error))

    async def _compare(self) -> None:
        seen = self._seen()
        wanted = {**self._remembered, **seen, **self._given}
        if wanted.get(_WISHED):
            wanted[_DATAPATH] = wanted[_WISHED]
        missing = {key: value for key, value in wanted.items() if seen.get(key) != value}
        if missing and self._mode == "manage":
            log.warning("chassis brought back", missing=missing)
            keys = {key: value for key, value in wanted.items() if key != _DATAPATH}
            self._anew |= _DATAPATH in missing or _DATAPATH not in seen
            await self._ovs.ensure_chassis(keys, wanted.get(_DATAPATH, ""))
        elif missing and missing != self._told:
            log.warning("chassis differs from what it was; not ours to mend", missing=missing)
        self._told = missing
        self._remember(wanted if self._mode == "manage" else {**self._remembered, **seen})
        if self._anew:
            await self._ovs.call_controller()
            self._anew = False

    def _seen(self) -> dict[str, str]:
        datapath = self._ovs.datapath_type
        return {**self._ovs.chassis, **({_DATAPATH: datapath} if datapath is not None else {})}

    def _remember(self, values: dict[str, str]) -> None:
        if values == self._remembered:
            return
        self._remembered = values
        self._memory.write(values)
