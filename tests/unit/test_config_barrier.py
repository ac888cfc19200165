"""The barrier on ovs-vswitchd's configuration while other clients write all the time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from ovnlet.core.errors import NotReady
from ovnlet.core.plan import Step, Verb
from ovnlet.core.resources import Port
from ovnlet.drivers.ovs.config_barrier import ConfigBarrier
from ovnlet.drivers.ovs.vswitch_index import VswitchIndex
from ovnlet.drivers.ovsdb.replica import Op
from ovnlet.drivers.ovsdb.transaction_batcher import TransactionBatcher

pytestmark = [pytest.mark.review2, pytest.mark.looptime]
PORT = Port("br-int", "c1_h", frozenset({("iface-id", "web.default")}))
BRIDGE = {"name": "br-int", "ports": frozenset(), "datapath_type": "netdev", "fail_mode": "secure"}


class Switch:
    """A root row that ovs-vswitchd follows ``lag`` increments behind, and a batcher on it."""

    def __init__(self) -> None:
        self.index, self.hints = VswitchIndex(), list[str]()
        self.next, self.current, self.lag = 7, 7, 0
        self.busy = False
        batcher = cast("TransactionBatcher", self)
        self.barrier = ConfigBarrier(
            self.index, batcher, lambda _mark, name: self.hints.append(name)
        )
        self._publish()

    async def commit(self, build: Any) -> list[dict[str, Any]]:
        """Carry out increments and selects of `next_cfg`."""
        await asyncio.sleep(0.01)
        results = [self._result(op) for op in build()]
        self._publish()
        return results

    def increment(self) -> None:
        """Ask for one more configuration, as any client does; apply what is ``lag`` behind."""
        self.next += 1
        self.current = max(self.current, self.next - self.lag)
        self._publish()

    def _result(self, op: Op) -> dict[str, Any]:
        if op["op"] == "mutate" and op["table"] == "Open_vSwitch":
            self.next += 1
            return {"count": 1}
        return {"rows": [{"next_cfg": self.next}]} if op["op"] == "select" else {}

    def _publish(self) -> None:
        root = {"external_ids": {}, "cur_cfg": self.current, "next_cfg": self.next}
        self.index.reload(
            {
                "Open_vSwitch": {"r": root},
                "Bridge": {"b": BRIDGE},
                "Port": {},
                "Interface": {},
                "QoS": {},
                "Queue": {},
            }
        )
        self.barrier.root_changed()


@asynccontextmanager
async def others_write() -> AsyncIterator[Switch]:
    """Yield a switch whose configuration another client asks for every 10 ms; it is one behind."""
    switch = Switch()
    switch.lag = 1

    async def others() -> None:
        while True:
            await asyncio.sleep(0.01)
            switch.increment()

    writing = asyncio.create_task(others())
    yield switch
    writing.cancel()


async def test_the_wait_is_for_the_number_of_its_own_write() -> None:
    """L15: `cur_cfg` never equals `next_cfg` here, and need not."""
    async with others_write() as switch:
        began = asyncio.get_running_loop().time()
        await switch.barrier.sync()
        assert asyncio.get_running_loop().time() - began < 0.1


async def test_a_new_port_waits_for_what_was_asked_for_before_it() -> None:
    """L15: not for what others ask for meanwhile."""
    async with others_write() as switch:
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(0.05)
        await switch.barrier.commit([Step(Verb.ENSURE, PORT)])
        assert asyncio.get_running_loop().time() - began < 0.2


async def test_a_wait_that_timed_out_is_hinted_at_once_its_number_is_reached() -> None:
    """L15: also while others write."""
    switch = Switch()
    switch.next = 20  # ovs-vswitchd hangs
    switch._publish()
    with pytest.raises(NotReady):
        await switch.barrier.commit([Step(Verb.ENSURE, PORT)])
    assert switch.hints == []
    switch.lag = 1
    switch.increment()
    assert switch.current < switch.next
    assert switch.hints == ["c1_h"]


async def test_a_hanging_vswitchd_is_not_ready() -> None:
    """L15: the wait still ends."""
    switch = Switch()
    with pytest.raises(NotReady, match="ovs-vswitchd"):
        await switch.barrier.sync()
