"""One unix socket of a server: it is listened on, lost, taken over by another server, or closed."""

from pathlib import Path

from aiohttp import web

from ovnlet_cni import listener


class Site:
    """A socket file that `runner` serves from `listen` to `close`."""

    def __init__(self, runner: web.AppRunner, path: Path) -> None:
        """Make the site. It serves nothing yet."""
        self._runner, self.path = runner, path
        self._bound: tuple[int, int] | None = None
        self._site: web.SockSite | None = None

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

        Raises OSError, and UnusableSocket for a path that is too long.
        """
        site, old = web.SockSite(self._runner, listener.listen(self.path)), self._site
        await site.start()
        self._site, self._bound = site, listener.identity(self.path)
        if old is not None:
            await old.stop()

    async def close(self) -> None:
        """Accept no more connections. Remove the file if it is still ours."""
        if self.is_ours:
            self.path.unlink(missing_ok=True)
        self._bound = None
        if self._site is not None:
            site, self._site = self._site, None
            await site.stop()
