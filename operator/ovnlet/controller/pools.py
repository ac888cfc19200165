"""The pass of a Subnet's IPPools: it writes their status."""

from collections.abc import Iterable
from typing import Any

from ovnlet.controller import status
from ovnlet.controller.context import ControllerContext
from ovnlet.core.allocation import Address
from ovnlet.core.ipam.claims import bound
from ovnlet.core.ipam.pools import IpPool

# A number of the API is exact up to here; an IPv6 pool may have more addresses.
_EXACT = 2**53


class IpPools:
    """The status of all IPPools."""

    def __init__(self, context: ControllerContext) -> None:
        self._context = context

    async def of_subnet(self, name: str) -> None:
        """Make the pass of a Subnet's pools: one look at its ports for all of them.

        Raises NotReady if the database is away, ApiFault if an IPPool cannot be written.
        """
        pools = [pool for pool in self._context.pools if pool.subnet == name]
        if not pools:
            return
        ports = (port for port in self._context.northbound.ports(name) if port.enabled)
        bindings = (binding for port in ports if (binding := bound(port.addresses)))
        used = [address for binding in bindings for address in binding.addresses]
        for pool in pools:
            now = self._status(pool, used)
            if any(pool.status.get(key) != value for key, value in now.items()):
                await self._context.writer.status(pool, now)

    def _status(self, pool: IpPool, used: Iterable[Address]) -> dict[str, Any]:
        """Return the figures under Kube-OVN's names, and whether pods can use the pool."""
        subnet = self._context.usable.get(pool.subnet)
        why = f"there is no usable subnet {pool.subnet}"
        if subnet is not None:
            why = pool.why_not(subnet) or ""
        own = [address for address in used if pool.holds(address)]
        figures = {}
        for family in (4, 6):
            using = sum(address.version == family for address in own)
            size = pool.capacity(subnet, family) if subnet is not None and not why else 0
            figures[f"v{family}UsingIPs"] = using
            figures[f"v{family}AvailableIPs"] = min(max(size - using, 0), _EXACT)
        ready = (not why, "Unusable" if why else "Usable", why or "pods can use it")
        return {**figures, "conditions": status.conditions(pool.status, {"Ready": ready})}
