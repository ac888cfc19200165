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

    ``/healthz`` succeeds while the event loop runs and no part needs a new process, ``/readyz``
    while pods can be attached. ``unhealthy`` returns why a new process is needed, ``verdict`` what
    keeps the node from attaching pods. Neither may block.
    """

    def __init__(
        self,
        address: str | None,
        verdict: Callable[[], Verdict | None],
        metrics: Callable[[web.Request], Awaitable[web.StreamResponse]],
        unhealthy: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._address, self._verdict, self._unhealthy = address, verdict, unhealthy
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

    async def _healthy(self, _: web.Request) -> web.Response:
        if reason := self._unhealthy():
            return web.Response(status=503, text=f"{reason}\n")
        return web.Response(text="ok\n")

    async def _ready(self, _: web.Request) -> web.Response:
        if verdict := self._verdict():
            return web.Response(status=503, text=f"{verdict.reason}\n")
        return web.Response(text="ok\n")
