"""Probes and metrics over HTTP for kubelet and Prometheus, answered from memory.

No handler forks, or waits for OVSDB or the API server: probes matter most while those are down.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

from ovnlet.drivers.ovs.health import Verdict

log = structlog.get_logger("probes")
_PAUSE = 1.0


class Probes:
    """The HTTP server. ``address`` is host and port; None serves nothing.

    ``/healthz`` succeeds while the event loop runs, ``/readyz`` while pods can be attached.
    ``verdict`` returns what keeps the node from attaching pods; it must not block.
    """

    def __init__(
        self,
        address: str | None,
        verdict: Callable[[], Verdict | None],
        metrics: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> None:
        self._address, self._verdict = address, verdict
        self._app = web.Application()
        self._app.add_routes(
            [
                web.get("/healthz", self._healthy),
                web.get("/readyz", self._ready),
                web.get("/metrics", metrics),
            ]
        )

    async def run(self) -> None:
        """Serve until cancelled. Retry each second while the port is taken; raise nothing."""
        if self._address is None:
            return
        host, _, port = self._address.rpartition(":")
        runner = web.AppRunner(self._app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            while True:
                try:
                    await web.TCPSite(runner, host.strip("[]"), int(port)).start()
                    break
                except OSError as error:
                    log.warning(
                        "probes cannot be served yet", address=self._address, error=str(error)
                    )
                    await asyncio.sleep(_PAUSE)
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    @staticmethod
    async def _healthy(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _ready(self, _: web.Request) -> web.Response:
        if verdict := self._verdict():
            return web.Response(status=503, text=f"{verdict.reason}\n")
        return web.Response(text="ok\n")
