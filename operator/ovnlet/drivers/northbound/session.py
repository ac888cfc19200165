"""A replica's connection to the northbound database, and the term in which it may write."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from ovnlet.core.settings import ControllerSettings
from ovnlet.drivers.northbound import fence
from ovnlet.drivers.northbound.database import Database
from ovnlet.drivers.northbound.streams import prepare
from ovnlet.drivers.ovsdb.jsonrpc import Disconnected, Refused
from ovnlet.drivers.ovsdb.replica import Change

_AGAIN = 0.2  # seconds between two attempts to begin a term


class Session:
    """The connection, which is reopened after each loss, over all the servers of the settings.

    ``changed`` and ``resynced`` are those of Database. Raise NotReady if the settings lack a key.
    """

    def __init__(
        self,
        settings: ControllerSettings,
        tables: Mapping[str, tuple[str, ...]],
        changed: Callable[[Sequence[Change]], None],
        resynced: Callable[[], None],
    ) -> None:
        prepare(settings)
        self._database = Database(
            settings.ovn_nb,
            "OVN_Northbound",
            {**tables, **fence.TABLES},
            changed=changed,
            reloaded=resynced,
        )

    def start(self) -> None:
        """Connect in the background, and reconnect until ``close``."""
        self._database.start()

    async def ended(self) -> None:
        """Wait until this replica may not write any more, and raise why, TermEnded for one."""
        await self._database.ended()

    async def close(self) -> None:
        """End the connection, and wait for its thread to end."""
        await self._database.close()

    @property
    def connected(self) -> bool:
        """Whether the database is connected and its first dump is complete."""
        return self._database.connected.is_set()

    @property
    def fault(self) -> str:
        """Why the last attempt to connect failed, or the last connection ended."""
        return self._database.fault

    async def ready(self) -> None:
        """Wait until the database is connected and its first dump is complete."""
        await self._database.connected.wait()

    async def lead(self, term: fence.Term) -> None:
        """Begin the term that this replica has won with the Lease: from here on it may write.

        Each transaction fails once another replica has begun a later term. Wait until the database
        is connected. Raise TermEnded if this replica leads no more, or what ``term`` raises.
        """
        while True:
            await self.ready()
            with suppress(Disconnected, Refused):
                self._database.guard = await fence.claim(self._database, term)
                return
            await asyncio.sleep(_AGAIN)
