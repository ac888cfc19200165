"""Whether a replica that waits for the Lease could lead: the northbound database answers it."""

from types import TracebackType
from typing import Self

from ovnlet.core.settings import ControllerSettings
from ovnlet.drivers.northbound import fence
from ovnlet.drivers.northbound.database import Database
from ovnlet.drivers.northbound.streams import prepare


class Probe:
    """A connection to the northbound database that copies nothing but the term.

    It is an async context manager. Raise NotReady if the settings lack a key for `ssl:`.
    """

    def __init__(self, settings: ControllerSettings) -> None:
        prepare(settings)
        self._database = Database(
            settings.ovn_nb,
            "OVN_Northbound",
            fence.TABLES,
            changed=lambda _: None,
            reloaded=lambda: None,
        )

    @property
    def fault(self) -> str:
        """Why the last attempt to connect failed, or the last connection ended."""
        return self._database.fault

    async def ready(self) -> None:
        """Wait until the database is connected, if it is not."""
        await self._database.connected.wait()

    async def __aenter__(self) -> Self:
        """Connect in the background, and reconnect until the end."""
        self._database.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the connection."""
        await self._database.close()
