"""What the integration bridge forwards by: OVN's flow tables, and port flags that stop traffic.

ovn-controller never reads its flows back. It believes in what it once installed, and a recompute
sends only differences to that. So flows that are deleted stay away until it connects to the
bridge again.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import structlog

from ovnlet.core.errors import NodeFault, NotReady, OvnletError
from ovnlet.core.plan import Plan
from ovnlet.core.resources import Flows, Network
from ovnlet.drivers.ovs import openflow
from ovnlet.drivers.ovs.openflow import Look, SwitchPort
from ovnlet.drivers.ovsdb import unixctl

log = structlog.get_logger("forwarding")

# Seconds between two looks; between two while ovs-vswitchd is away, or has just come back.
EVERY, SOON = 1.0, 0.1
# Seconds for which a bridge that answers again may lack flows: a script that restarted ovs-vswitchd
# may restore them, as the packages' does, or ovn-controller may be installing them.
RESTORING = 0.2
# OVN's first and last table, the same numbers in every release since 2.11: from a port, and to a
# port. Each has a flow at least for each local port that OVN has installed. A table that was
# emptied does not stay empty: ovn-controller adds the flows of the next new port.
TABLES = (0, 65)
# Seconds that flows must be missing, and not fewer from look to look: ovn-controller deletes all
# flows as it connects, and then installs them again.
CONFIRM = 2.0
# Seconds since a daemon or the bridge was made, while nothing is judged: ovn-controller is
# installing.
SETTLING = 10.0
# Seconds from the reconnect until the flows must be back; ovn-controller connects after 1 to 8 s.
_BACK = 10.0


class Forwarding:
    """A look at flows and port flags, repeated every second.

    ``lost()`` runs when OVN's flows are gone, ``blocked(name)`` when a port's flags change, and
    ``returned()`` when ovs-vswitchd was away and its bridge has no flows.
    ``installed`` returns how many ports of this bridge OVN has installed, so that it must have
    flows for them.
    """

    def __init__(  # noqa: PLR0913 - what it needs of the node, each by its name
        self,
        bridge: str,
        ovs_run_dir: Path,
        ovn_run_dir: Path,
        *,
        installed: Callable[[], int],
        lost: Callable[[], None] = lambda: None,
        blocked: Callable[[str], None] = lambda _: None,
        returned: Callable[[], None] = lambda: None,
        settling: float = SETTLING,
    ) -> None:
        self.bridge = bridge
        self._ovs_run_dir, self._ovn_run_dir = ovs_run_dir, ovn_run_dir
        self._socket = ovs_run_dir / f"{bridge}.mgmt"
        self._installed, self._report_lost, self._report_blocked = installed, lost, blocked
        self.returned = returned
        self._was_away, self._answered_at = False, 0.0
        self._settling = settling
        self._lost_since: float | None = None
        self._flagged: Mapping[str, SwitchPort] = {}
        self._fault = ""
        self._stale, self._count = 0, 0
        self.incomplete: tuple[int, ...] = ()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(SOON if self._was_away else EVERY)

    async def look(self) -> None:
        """Look once. A failed look counts as right: other parts report a daemon that is away."""
        try:
            found = await openflow.look(self._socket)
        except OvnletError as error:
            self._log_fault(str(error))
            found = Look({}, {})
            self._lost_since, self.incomplete = None, ()
            if isinstance(error, NotReady):
                self._was_away, self._answered_at = True, 0.0
        else:
            self._log_fault("")
            missing = self._missing(found)
            self._judge_return(missing)
            await self._judge(missing)
        self._keep_flags({name: port for name, port in found.ports.items() if port.flags})

    def flags(self, name: str) -> tuple[str, ...]:
        """Return the flags of a port that stop traffic."""
        port = self._flagged.get(name)
        return port.flags if port else ()

    async def clear_flags(self, names: Iterable[str]) -> None:
        """Clear the flags of these ports, as far as they are there. Raise NotReady or NodeFault."""
        present = (await openflow.look(self._socket)).ports
        await openflow.clear_flags(self._socket, [present[n] for n in names if n in present])
        await self.look()

    async def reinstall(self) -> None:
        """Make ovn-controller connect to the bridge again, and wait until its flows are there.

        Raise NodeFault if a table is still empty after ten seconds, NotReady if ovs-vswitchd does
        not answer.
        """
        vswitchd = unixctl.control_socket(self._ovs_run_dir, "ovs-vswitchd")
        await unixctl.call(vswitchd, "bridge/reconnect", self.bridge)
        try:
            async with asyncio.timeout(_BACK):
                while self._missing(await openflow.look(self._socket)):  # noqa: ASYNC110 - there is no event
                    await asyncio.sleep(0.1)
        except TimeoutError:
            await self._accept_stale()
        self._lost_since, self.incomplete = None, ()

    async def _accept_stale(self) -> None:
        """Count the ports that have no flows after a reconnect as not installed.

        Their `ovn-installed` is stale: a foreign client wrote it, or an ovn-controller that was
        stopped. Another reconnect would interrupt the other ports once a minute, for nothing.
        """
        flows = (await openflow.look(self._socket)).flows
        if not all(table in flows for table in TABLES):
            text = (
                f"ovn-controller was made to connect to {self.bridge} again, and installs no flows"
            )
            raise NodeFault(f"{text} within {_BACK:g} s")
        self._stale = self._installed() - min(flows[table] for table in TABLES)
        log.warning("ports are marked ovn-installed and have no flows", ports=self._stale)

    def _missing(self, found: Look) -> dict[int, int]:
        """Return how many flows OVN's tables lack to have one for each installed port."""
        installed = self._installed()
        fewest = min(found.flows.get(table, 0) for table in TABLES)
        self._stale = max(0, min(self._stale, installed - fewest))
        wanted = max(installed - self._stale, min(installed, 1))
        missing = {table: wanted - found.flows.get(table, 0) for table in TABLES}
        return {table: count for table, count in missing.items() if count > 0}

    def _judge_return(self, missing: Mapping[int, int]) -> None:
        """Report a bridge that answers again and lacks flows, once and after a moment."""
        if not self._was_away:
            return
        now = asyncio.get_running_loop().time()
        self._answered_at = self._answered_at or now
        if missing and now - self._answered_at < RESTORING:
            return
        self._was_away = False
        if missing:
            log.info("ovs-vswitchd is back without flows", bridge=self.bridge, missing=missing)
            self.returned()

    async def _judge(self, missing: dict[int, int]) -> None:
        now, count = asyncio.get_running_loop().time(), sum(missing.values())
        if not missing:
            self._lost_since, self.incomplete = None, ()
        elif self._lost_since is None or count < self._count:  # being installed
            self._lost_since = now
        elif now - self._lost_since >= CONFIRM and not self.incomplete and await self._settled():
            self.incomplete = tuple(missing)
            log.warning("flows of OVN's are gone", bridge=self.bridge, missing=missing)
            self._report_lost()
        self._count = count

    async def _settled(self) -> bool:
        """Return whether bridge and ovn-controller are old enough, and the latter is connected."""
        try:
            controller = unixctl.control_socket(self._ovn_run_dir, "ovn-controller")
            if any(0 <= _age(path) < self._settling for path in (self._socket, controller)):
                return False
            return await unixctl.call(controller, "connection-status") == "connected"
        except (OvnletError, OSError):
            return False

    def _keep_flags(self, flagged: Mapping[str, SwitchPort]) -> None:
        before, self._flagged = self._flagged, flagged
        for name in before.keys() | flagged.keys():
            if before.get(name) != flagged.get(name):
                self._report_blocked(name)

    def _log_fault(self, fault: str) -> None:
        if fault and fault != self._fault:
            log.warning("flows cannot be looked at", bridge=self.bridge, reason=fault)
        self._fault = fault


class FlowsDriver:
    """Implements ``reconcile.scope.Host`` for OVN's flows, from the last look."""

    def __init__(self, forwarding: Forwarding) -> None:
        self._forwarding = forwarding

    async def ready(self) -> None:
        """Return at once: an observation needs nothing first."""

    async def observe(self, _: Any, desired: Network) -> Network:
        """Return the flows with those of OVN's tables that lack flows."""
        del desired
        return frozenset({Flows(self._forwarding.bridge, self._forwarding.incomplete)})

    async def apply(self, _: Any, plan: Plan) -> None:
        """Make ovn-controller install all its flows again. Raise NotReady or NodeFault."""
        if plan:
            await self._forwarding.reinstall()


def _age(path: Path) -> float:
    """Return the seconds since a socket was made; negative if the clock was set back."""
    return time.time() - path.lstat().st_mtime
