"""Waits for the state of an Interface row: plugged by ovs-vswitchd, installed by ovn-controller.

No wait has a time-out, and a lost connection does not end one: only the caller knows how long to
wait.
"""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass

from ovnlet.core.errors import NodeFault
from ovnlet.drivers.ovs.installed import installed, plugged
from ovnlet.drivers.ovs.vswitch_index import VswitchIndex
from ovnlet.drivers.ovsdb.replica import Replica, Row


@dataclass(frozen=True, slots=True, eq=False)
class _Wait:
    """What ends a wait, and how it ended."""

    condition: Callable[[Row], bool]
    end: asyncio.Future[None]


def link_exists(name: str) -> bool:
    """Return whether this network namespace has a link of this name."""
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True


class RowWaits:
    """The waits of all callers, by interface name. A caller wakes only when its wait is over."""

    def __init__(
        self, index: VswitchIndex, database: Replica, link_exists: Callable[[str], bool]
    ) -> None:
        self._index, self._database, self._link_exists = index, database, link_exists
        self._waiting: dict[str, set[_Wait]] = {}

    async def plugged(self, name: str) -> None:
        """Wait until ovs-vswitchd has the port. Raise NodeFault if it reports that it cannot."""
        await self._until(name, lambda row: self._is_plugged(name, row))

    async def installed(self, name: str) -> None:
        """Wait until ovn-controller has installed the flows of this interface."""
        await self._until(name, installed)

    async def plugged_and_installed(self, name: str) -> None:
        """Wait for both. Raise NodeFault as ``plugged`` does."""
        await self._until(name, lambda row: self._is_plugged(name, row) and installed(row))

    def wake(self, name: str) -> None:
        """Check the row of this interface for those who wait for it."""
        for wait in tuple(self._waiting.get(name, ())):
            self._check(name, wait)

    def wake_all(self) -> None:
        """Check the rows of all waits."""
        for name in tuple(self._waiting):
            self.wake(name)

    async def _until(self, name: str, condition: Callable[[Row], bool]) -> None:
        """Wait until a row of a live session exists and meets the condition."""
        wait = _Wait(condition, asyncio.get_running_loop().create_future())
        self._check(name, wait)
        if not wait.end.done():
            self._waiting.setdefault(name, set()).add(wait)
        try:
            await wait.end
        finally:
            if (waiting := self._waiting.get(name)) is not None:
                waiting.discard(wait)
                if not waiting:
                    del self._waiting[name]

    def _check(self, name: str, wait: _Wait) -> None:
        """End the wait if its condition is met, or if that raises."""
        row = self._index.interface(name) if self._database.connected.is_set() else None
        if row is None or wait.end.done():
            return
        try:
            if wait.condition(row):
                wait.end.set_result(None)
        except NodeFault as error:
            wait.end.set_exception(error)

    def _is_plugged(self, name: str, row: Row) -> bool:
        if plugged(row):
            return True
        # Rows are written before their links exist. So "No such device" may be an old report.
        if row["error"] and "No such device" not in row["error"] and self._link_exists(name):
            raise NodeFault(f"ovs-vswitchd on {name}: {row['error']}")
        return False
