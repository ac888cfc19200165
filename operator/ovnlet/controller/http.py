"""A replica's HTTP endpoints: liveness, readiness and metrics for Prometheus."""

from types import TracebackType
from typing import Self

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from ovnlet import program_metrics


class HttpEndpoints:
    """Serves `/healthz`, `/readyz` and `/metrics` as an async context manager.

    The replica sets ``leading`` and ``ready``. A replica that waits for the Lease is ready as well.
    ``refusal`` is why it does not even wait for it; empty if it does.
    """

    def __init__(self, listen: str) -> None:
        self._listen = listen
        self._runner: web.AppRunner | None = None
        self.leading = self.ready = False
        self.refusal = ""
        at = self.registry = CollectorRegistry()
        self.requested = program_metrics.register(at)
        self._passes = Counter(
            "ovnlet_controller_passes_total", "Passes that succeeded", ["kind"], registry=at
        )
        self._allocated = Counter(
            "ovnlet_allocations_total",
            "Objects whose addresses were written as annotations",
            ["kind"],
            registry=at,
        )
        self._warnings = Counter(
            "ovnlet_controller_warnings_total",
            "Warning Events about pods and Nodes",
            ["reason"],
            registry=at,
        )
        leading = Gauge(
            "ovnlet_controller_leading",
            "Whether this replica leads and has restored the ports of running pods",
            registry=at,
        )
        leading.set_function(lambda: float(self.ready))

    def passed(self, kind: str) -> None:
        """Count a pass that succeeded."""
        self._passes.labels(kind).inc()

    def allocated(self, kind: str) -> None:
        """Count an object whose addresses were written for the first time."""
        self._allocated.labels(kind).inc()

    def warned(self, reason: str) -> None:
        """Count a Warning Event about a pod or a Node."""
        self._warnings.labels(reason).inc()

    async def __aenter__(self) -> Self:
        """Start to listen. Raises OSError if the address is in use."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/metrics", self._metrics),
                web.get("/healthz", self._liveness),
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
        """Close the listener and its connections."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(self.registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    async def _liveness(self, _: web.Request) -> web.Response:
        """Answer 200: a restart would change nothing. The text is why the replica does not lead."""
        return web.Response(text=self.refusal or "ok")

    async def _readiness(self, _: web.Request) -> web.Response:
        """Answer 503 while a leader has yet to restore ports, and while the replica refuses."""
        if self.refusal:
            return web.Response(text=self.refusal, status=503)
        if self.leading and not self.ready:
            return web.Response(text="restoring", status=503)
        return web.Response(text="leading" if self.leading else "waiting")
