"""Whether a replica that waits for the Lease could lead: the northbound database answers it."""

from types import TracebackType
from typing import Self

from ovnlet.core.settings import ControllerSettings
from ovnlet.drivers.northbound.session import Session


class Probe(Session):
    """A connection that copies nothing but the term, as an async context manager."""

    def __init__(self, settings: ControllerSettings) -> None:
        super().__init__(settings, {}, lambda _: None, lambda: None)

    async def __aenter__(self) -> Self:
        """Connect in the background, and reconnect until the end."""
        self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the connection."""
        await self.close()
