"""The keys of Open_vSwitch.external_ids that ovn-controller reads, and the integration bridge."""

from typing import Any

from ovnlet.core.chassis import BRIDGE_TYPE, REMOTE, ids
from ovnlet.core.encap import KEYS
from ovnlet.core.plan import Plan
from ovnlet.core.resources import Bridge, ChassisId, Network
from ovnlet.drivers.ovs.ports import Ovs

# Seconds.
_CONNECT_TIMEOUT = 3.0


class ChassisDriver:
    """Observes and writes the keys and the bridge. Other keys of the map are left alone."""

    def __init__(self, ovs: Ovs) -> None:
        self._ovs = ovs
        self._unannounced = False

    async def ready(self) -> None:
        """Wait up to three seconds for OVSDB. Raise NotReady without it."""
        await self._ovs.ready_within(_CONNECT_TIMEOUT)

    def unannounce(self) -> None:
        """Have the next pass make ovn-controller connect to the bridge."""
        self._unannounced = True

    def present(self) -> dict[str, str]:
        """Return the keys that are set, and as `datapath_type` that of the bridge, if it exists."""
        datapath_type = self._ovs.datapath_type
        keys = {key: value for key, value in self._ovs.chassis.items() if key not in KEYS}
        return keys | ({} if datapath_type is None else {BRIDGE_TYPE: datapath_type})

    async def observe(self, _: Any, desired: Network) -> Network:
        """Return the keys and the bridge as they are. Raise NotReady without OVSDB."""
        del desired
        self._ovs.require_connection()
        return self._seen()

    async def apply(self, _: Any, plan: Plan) -> None:
        """Write keys and bridge in one transaction. Make ovn-controller connect to a bridge that is
        new, or whose ovs-vswitchd is back.

        Raise NotReady where ovs-vswitchd does not make the bridge; the next pass announces it then.
        """
        wanted = [step.resource for step in plan]
        keys = {each.name: each.value for each in wanted if isinstance(each, ChassisId)}
        bridge = next((each for each in wanted if isinstance(each, Bridge)), None)
        datapath_type = bridge.datapath_type if bridge else self._ovs.datapath_type
        self._unannounced |= bridge is not None and self._ovs.datapath_type != datapath_type
        if self._unannounced and bridge is not None and bridge.remote:
            keys[REMOTE] = bridge.remote
        await self._ovs.ensure_chassis(keys, datapath_type or "")
        if self._unannounced:
            await self._ovs.call_controller()
            self._unannounced = False

    def _seen(self) -> Network:
        datapath_type, name = self._ovs.datapath_type, self._ovs.bridge
        keys = ids(name, self._ovs.chassis)
        if datapath_type is None:
            return keys
        fail_mode, announced = self._ovs.fail_mode, not self._unannounced
        return keys | {Bridge(name, datapath_type, fail_mode, announced)}
