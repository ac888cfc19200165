"""Probes and metrics over HTTP: what kubelet and Prometheus ask, answered from memory.

No answer forks, waits for OVSDB or for the API server: a node in trouble is when the probes matter most.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

from ovnlet.drivers.ovs.health import Verdict

log = structlog.get_logger("probes")
_PAUSE = 1.0


class Probes:
    """``/healthz``: the loop turns. ``/readyz``: pods can be attached. ``verdict`` is read, never waited for."""

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
        """Serve until cancelled. A port that is taken is tried again: the agent works without probes as well."""
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
