"""What a replica shows of itself over HTTP: alive, leading and ready, and figures for Prometheus."""

from types import TracebackType
from typing import Self

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST


class HttpEndpoints:
    """``leading`` and ``ready`` are set by the replica; one that waits is ready to."""

    def __init__(self, listen: str) -> None:
        self._listen = listen
        self._runner: web.AppRunner | None = None
        self.leading = self.ready = False
        at = self.registry = CollectorRegistry()
        self._passes = Counter(
            "ovnlet_controller_passes_total", "Passes that succeeded", ["kind"], registry=at
        )
        self._allocated = Counter(
            "ovnlet_allocations_total", "Objects told of their addresses", ["kind"], registry=at
        )
        self._told = Counter(
            "ovnlet_controller_warnings_total", "Warnings told as Events", ["reason"], registry=at
        )
        leads = Gauge(
            "ovnlet_controller_leading", "Whether this replica leads and has restored", registry=at
        )
        leads.set_function(lambda: float(self.ready))

    def passed(self, kind: str) -> None:
        self._passes.labels(kind).inc()

    def allocated(self, kind: str) -> None:
        self._allocated.labels(kind).inc()

    def told(self, reason: str) -> None:
        self._told.labels(reason).inc()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.add_routes(
            [
                web.get("/metrics", self._metrics),
                web.get("/healthz", _ok),
                web.get("/readyz", self._readiness),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        host, _, port = self._listen.rpartition(":")
        await web.TCPSite(self._runner, host.strip("[]"), int(port)).start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(self.registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    async def _readiness(self, _: web.Request) -> web.Response:
        """A leader is ready once it has restored what living pods were told."""
        if self.leading and not self.ready:
            return web.Response(text="restoring", status=503)
        return web.Response(text="leading" if self.leading else "waiting")


async def _ok(_: web.Request) -> web.Response:
    return web.Response(text="ok")
