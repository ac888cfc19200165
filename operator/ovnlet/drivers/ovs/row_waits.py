"""Waits for the state of an Interface row: plugged by ovs-vswitchd, installed by ovn-controller.

No wait has a time-out, and a lost connection does not end one: only the caller knows how long to
wait.
"""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ovnlet.core.errors import NodeFault
from ovnlet.drivers.ovs.installed import installed, plugged
from ovnlet.drivers.ovs.vswitch_index import VswitchIndex
from ovnlet.drivers.ovsdb.replica import Replica, Row


def link_exists(name: str) -> bool:
    """Return whether this network namespace has a link of this name."""
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True


class RowWaits:
    """The waits of all callers, by interface name."""

    def __init__(
        self, index: VswitchIndex, database: Replica, link_exists: Callable[[str], bool]
    ) -> None:
        self._index, self._database, self._link_exists = index, database, link_exists
        self._events: dict[str, set[asyncio.Event]] = {}

    async def plugged(self, name: str) -> None:
        """Wait until ovs-vswitchd has the port. Raise NodeFault if it reports that it cannot."""

        def is_plugged(row: Row) -> bool:
            if plugged(row):
                return True
            # Rows are written before their links exist. So "No such device" may be an old report.
            if row["error"] and "No such device" not in row["error"] and self._link_exists(name):
                raise NodeFault(f"ovs-vswitchd on {name}: {row['error']}")
            return False

        await self._until(name, is_plugged)

    async def installed(self, name: str) -> None:
        """Wait until ovn-controller has installed the flows of this interface."""
        await self._until(name, installed)

    def wake(self, name: str) -> None:
        """Have the waits for this interface check its row again."""
        for event in self._events.get(name, ()):
            event.set()

    def wake_all(self) -> None:
        """Have all waits check their rows again."""
        for name in self._events:
            self.wake(name)

    async def _until(self, name: str, condition: Callable[[Row], bool]) -> None:
        """Wait until a row of a live session exists and meets the condition."""
        with self._watching(name) as event:
            while True:
                row = self._index.interface(name) if self._database.connected.is_set() else None
                if row is not None and condition(row):
                    return
                await event.wait()
                event.clear()

    @contextmanager
    def _watching(self, name: str) -> Iterator[asyncio.Event]:
        event = asyncio.Event()
        self._events.setdefault(name, set()).add(event)
        try:
            yield event
        finally:
            self._events[name].discard(event)
            if not self._events[name]:
                del self._events[name]
