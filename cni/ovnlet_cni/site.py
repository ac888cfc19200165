"""One unix socket of a server: listened on, lost, taken over by another, closed, or ended."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from ovnlet_cni import listener
from ovnlet_cni.listener import UnusableSocket

# Connections that wait to be accepted. A burst of pods is a hundred.
_BACKLOG = 128


class Site:
    """A socket file, served from `listen` to `close`; `protocol` makes that of a connection."""

    def __init__(self, protocol: Callable[[], asyncio.Protocol], path: Path) -> None:
        """Make the site. It serves nothing yet."""
        self._protocol, self.path = protocol, path
        self._bound: tuple[int, int] | None = None
        self._server: asyncio.Server | None = None
        self.has_ended = False

    @property
    def is_ours(self) -> bool:
        """Whether the file at the path is the socket that we listen on."""
        return self._bound is not None and listener.identity(self.path) == self._bound

    @property
    def is_foreign(self) -> bool:
        """Whether another server listens on the socket at the path."""
        found = listener.identity(self.path)
        return found is not None and found != self._bound and listener.is_answered(self.path)

    async def listen(self) -> None:
        """Listen on a new socket, and close the old one once the new one is in place.

        Raises OSError, and UnusableSocket for a path that is too long and after `end`.
        """
        self._check_not_ended()
        old, sock = self._server, listener.listen(self.path)
        self._bound = listener.identity(self.path)
        self._server = await asyncio.get_running_loop().create_server(
            self._protocol, sock=sock, backlog=_BACKLOG
        )
        if old is not None:
            old.close()
        if self.has_ended:  # meanwhile
            await self.close()
            self._check_not_ended()

    async def end(self) -> None:
        """Close it for good: nobody may listen on it again."""
        self.has_ended = True
        await self.close()

    async def close(self) -> None:
        """Accept no more connections. Remove the file if it is still ours."""
        if self.is_ours:
            self.path.unlink(missing_ok=True)
        self._bound = None
        if self._server is not None:
            self._server.close()
            self._server = None

    def _check_not_ended(self) -> None:
        if self.has_ended:
            raise UnusableSocket(f"{self.path}: the server stops")
