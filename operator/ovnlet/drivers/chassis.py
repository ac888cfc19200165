"""What makes this node a chassis of OVN: a few keys of Open_vSwitch.external_ids, and the integration bridge.

They live in the local OVSDB alone. Whoever wipes it cuts the node off, and every pod with it. ``manage`` brings them
back, ``observe`` only tells; in a Kube-OVN cluster they are ovs-ovn's to write.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import structlog

from ovnlet.core.errors import OvnletError
from ovnlet.drivers.ovs import Ovs

log = structlog.get_logger("chassis")
_DATAPATH = "datapath_type"


class Chassis:
    """``given`` are the settings' own values, which hold against any other; ``path`` is where the rest is remembered.

    A value that nobody set here is never invented: what was last seen is brought back if it is gone, and if somebody
    changes it, the new one is what was last seen.
    """

    def __init__(self, ovs: Ovs, path: Path, given: Mapping[str, str], mode: Literal["manage", "observe"]) -> None:
        self._ovs, self._path, self._given, self._mode = ovs, path, dict(given), mode
        self._remembered = self._read()
        self._told: dict[str, str] = {}
        self._anew = False

    async def look(self) -> None:
        """Compare, and bring back what is missing. Raises nothing: the next look comes with the next change."""
        try:
            seen = self._seen()
            wanted = {**self._remembered, **seen, **self._given}
            missing = {key: value for key, value in wanted.items() if seen.get(key) != value}
            if missing and self._mode == "manage":
                log.warning("chassis brought back", missing=missing)
                keys = {key: value for key, value in wanted.items() if key != _DATAPATH}
                self._anew |= _DATAPATH not in seen
                await self._ovs.ensure_chassis(keys, wanted.get(_DATAPATH, ""))
            elif missing and missing != self._told:
                log.warning("chassis differs from what it was; not ours to mend", missing=missing)
            self._told = missing
            self._remember(wanted if self._mode == "manage" else {**self._remembered, **seen})
            if self._anew:
                await self._ovs.call_controller()
                self._anew = False
        except (OvnletError, OSError) as error:
            log.warning("chassis not looked at", error=str(error))

    def _seen(self) -> dict[str, str]:
        datapath = self._ovs.datapath_type
        return {**self._ovs.chassis, **({_DATAPATH: datapath} if datapath is not None else {})}

    def _remember(self, values: dict[str, str]) -> None:
        if values == self._remembered:
            return
        self._remembered = values
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps(values, sort_keys=True))
        fresh.rename(self._path)

    def _read(self) -> dict[str, str]:
        try:
            values = json.loads(self._path.read_text())
            return {str(key): str(value) for key, value in values.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError) as error:
            log.warning("what is remembered of the chassis cannot be read", path=str(self._path), error=str(error))
            return {}
