"""The keys `ovn-encap-ip` and `ovn-encap-ip-default` of Open_vSwitch.external_ids."""

from collections.abc import Callable
from typing import Any

from ovnlet.core.encap import KEYS, Links
from ovnlet.core.plan import Plan, Verb
from ovnlet.core.resources import ChassisId, Network
from ovnlet.drivers.ovs.ports import Ovs

# Seconds.
_CONNECT_TIMEOUT = 3.0


class EncapDriver:
    """Observes and writes the two keys. ``links`` returns the addresses of the node's links."""

    def __init__(self, ovs: Ovs, links: Callable[[], Links]) -> None:
        self._ovs, self.links = ovs, links

    async def ready(self) -> None:
        """Wait up to three seconds for OVSDB. Raise NotReady without it."""
        await self._ovs.ready_within(_CONNECT_TIMEOUT)

    def present(self) -> dict[str, str]:
        """Return the keys that are set."""
        return {name: value for name, value in self._ovs.chassis.items() if name in KEYS}

    async def observe(self, _: Any, desired: Network) -> Network:
        """Return the keys as they are. Raise NotReady without OVSDB."""
        del desired
        self._ovs.require_connection()
        return frozenset(ChassisId(name, value) for name, value in self.present().items())

    async def apply(self, _: Any, plan: Plan) -> None:
        """Write the keys in one transaction."""
        steps = [step.resource for step in plan if step.verb is Verb.ENSURE]
        keys = {each.name: each.value for each in steps if isinstance(each, ChassisId)}
        await self._ovs.set_ids(keys)
