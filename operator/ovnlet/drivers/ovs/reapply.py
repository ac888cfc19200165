"""Traffic control that ovs-vswitchd must build again from unchanged rows.

ovs-vswitchd remembers what it made of the rows and never checks the kernel again. So it has to
apply a different configuration in between: each call here makes two transactions, and waits until
ovs-vswitchd has applied the first before it sends the second.
"""

from ovnlet.core.errors import NotReady
from ovnlet.drivers.ovs import qos_rows
from ovnlet.drivers.ovs.config_barrier import ConfigBarrier
from ovnlet.drivers.ovs.vswitch_index import VswitchIndex
from ovnlet.drivers.ovsdb.encoding import reference
from ovnlet.drivers.ovsdb.replica import Op
from ovnlet.drivers.ovsdb.transaction_batcher import TransactionBatcher


class Reapply:
    """The two repairs of deleted traffic control.

    Each waits until ovs-vswitchd has applied both of its transactions. Each raises NotReady if the
    rows have gone meanwhile, or if ovs-vswitchd does not apply its configuration in time.
    """

    def __init__(
        self, index: VswitchIndex, batcher: TransactionBatcher, barrier: ConfigBarrier
    ) -> None:
        self._index, self._batcher, self._barrier = index, batcher, barrier

    async def qdisc(self, name: str) -> None:
        """Rebuild the qdisc of a port: unbind its QoS row, then bind it again."""
        port = self._index.port(name)
        if port is None or port[1]["qos"] is None:
            raise NotReady(f"the port {name} has lost its QoS meanwhile")
        await self._commit(qos_rows.bind(name, None))
        await self._commit(qos_rows.bind(name, reference(port[1]["qos"])))

    async def filter(self, name: str) -> None:
        """Rebuild the police filter of a port: change its burst for a moment. The rate stays."""
        interface = self._index.interface(name)
        if interface is None or not interface["ingress_policing_rate"]:
            raise NotReady(f"the port {name} has lost its ingress_policing_rate meanwhile")
        rate, burst = (interface[column] for column in qos_rows.POLICING)
        await self._commit(qos_rows.police(name, rate, burst + 1))
        await self._commit(qos_rows.police(name, rate, burst))

    async def _commit(self, op: Op) -> None:
        await self._batcher.commit(lambda: [op])
        await self._barrier.sync()
