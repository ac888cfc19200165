"""What ovs-vswitchd makes once more: it remembers what it made of the rows, and never looks again.

It has to take in something else in between, so each renewal is two transactions, and its answer to the first.
"""

from typing import Any

from ovnlet.core.errors import NotReady
from ovnlet.drivers.ovs import qos_rows
from ovnlet.drivers.ovs.config_barrier import ConfigBarrier
from ovnlet.drivers.ovs.vswitch_index import VswitchIndex
from ovnlet.drivers.ovsdb.replica import Op
from ovnlet.drivers.ovsdb.transaction_batcher import TransactionBatcher


class Reapply:
    """Each raises NotReady where the rows are gone meanwhile, or ovs-vswitchd takes in nothing."""

    def __init__(
        self, switch: VswitchIndex, commits: TransactionBatcher, pace: ConfigBarrier
    ) -> None:
        self._switch, self._commits, self._pace = switch, commits, pace

    async def qdisc(self, name: str) -> None:
        """Of a port's QoS, whose binding is taken away and given back."""
        port = self._switch.port(name)
        if port is None or port[1]["qos"] is None:
            raise NotReady(f"the port {name} has lost its QoS meanwhile")
        binding: list[Any] = ["uuid", port[1]["qos"]]
        await self._taken_in(qos_rows.bind(name, ["set", []]))
        await self._taken_in(qos_rows.bind(name, binding))

    async def filter(self, name: str) -> None:
        """Of a port's policing, whose burst is another one for a moment: the rate stays."""
        interface = self._switch.interface(name)
        if interface is None or not interface["ingress_policing_rate"]:
            raise NotReady(f"the port {name} has lost its ingress_policing_rate meanwhile")
        rate, burst = (interface[column] for column in qos_rows.POLICING)
        await self._taken_in(qos_rows.police(name, rate, burst + 1))
        await self._taken_in(qos_rows.police(name, rate, burst))

    async def _taken_in(self, op: Op) -> None:
        await self._commits.commit(lambda: [op])
        await self._pace.ask()
