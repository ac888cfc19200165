"""The host of the node as a gateway: what the kernel translates, counts and drops."""

import time

from ovnlet.core.gateway import GatewayIdentity
from ovnlet.core.plan import Plan
from ovnlet.core.resources import ABSENT, Network
from ovnlet.drivers.links.nftables import Tables
from ovnlet.drivers.links.pod import os_errors_as_node_faults

_RECHECK = 60.0  # seconds


class GatewayLinks:
    """Implements ``reconcile.scope.Host`` for the gateway."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self._has_tables, self._next_check = False, float("-inf")

    @property
    def has_tables(self) -> bool:
        """Whether the kernel has nf_tables. If it was missing, ask again after a minute.

        Its module may be loaded later. Raise NodeFault without the right to ask.
        """
        if not self._has_tables and time.monotonic() >= self._next_check:
            self._has_tables = self.tables.is_there()
            self._next_check = time.monotonic() + _RECHECK
        return self._has_tables

    async def ready(self) -> None:
        """Return: an observation needs nothing but the kernel."""

    async def observe(self, identity: GatewayIdentity, desired: Network) -> Network:
        """Return all that the kernel has of ours. Raise NodeFault if it refuses a question."""
        with os_errors_as_node_faults(identity):
            return self.tables.observe(desired) if self.has_tables else ABSENT

    async def apply(self, identity: GatewayIdentity, plan: Plan) -> None:
        """Carry out the steps on the table in one transaction. Raise NodeFault."""
        with os_errors_as_node_faults(identity):
            self.tables.carry_out(plan)
