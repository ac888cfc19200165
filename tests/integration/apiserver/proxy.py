"""An HTTPS proxy before the API server that passes requests on, or fails them on purpose."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import aiohttp
from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse | None]]


class ApiProxy:
    """A proxy that keeps its port across ``open`` and ``close``."""

    def __init__(self, behind: str, ca: Path, certificate: Path, key: Path) -> None:
        self._behind = behind
        self._trust = ssl.create_default_context(cafile=str(ca))
        self._certificate = (certificate, key)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port = probe.getsockname()[1]
        self._runner: web.AppRunner | None = None
        self.requests: list[str] = []
        self.answer: Answer = passes

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._port}"

    async def open(
        self, answer: Answer | None = None, certificate: tuple[Path, Path] | None = None
    ) -> None:
        """Listen, and answer requests with ``answer``; by default pass them to the API server."""
        await self.close()
        self.answer = answer or passes
        app = web.Application(client_max_size=1 << 24)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0, handler_cancellation=True)
        await self._runner.setup()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*(certificate or self._certificate))
        await web.TCPSite(
            self._runner, "127.0.0.1", self._port, ssl_context=context, reuse_address=True
        ).start()

    async def close(self) -> None:
        """Refuse new connections and abort the open ones."""
        if self._runner is not None:
            for connection in self._runner.server.connections if self._runner.server else ():
                if connection.transport:
                    connection.transport.abort()
            await self._runner.cleanup()
            self._runner = None

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path_qs}")
        if (answer := await self.answer(request)) is not None:
            return answer
        connector = aiohttp.TCPConnector(ssl=self._trust)
        async with (
            aiohttp.ClientSession(connector=connector, auto_decompress=False) as http,
            http.request(
                request.method,
                self._behind + request.raw_path,
                headers={
                    k: v
                    for k, v in request.headers.items()
                    if k not in ("Host", "Transfer-Encoding")
                },
                data=await request.read() or None,
            ) as upstream,
        ):
            headers = {
                k: v
                for k, v in upstream.headers.items()
                if k not in ("Transfer-Encoding", "Content-Length")
            }
            response = web.StreamResponse(status=upstream.status, headers=headers)
            await response.prepare(request)
            with suppress(aiohttp.ClientError, ConnectionError, asyncio.CancelledError):
                async for chunk in upstream.content.iter_any():
                    await response.write(chunk)
            return response


async def passes(request: web.Request) -> None:
    """Leave the request to the API server."""
    return None


async def unavailable(request: web.Request) -> web.StreamResponse:
    """Answer 503."""
    return web.json_response(
        {"kind": "Status", "code": 503, "message": "the test refuses"}, status=503
    )


async def fails_watches(request: web.Request) -> web.StreamResponse | None:
    """Send an ERROR in each watch that is not 410 Gone; kopf treats it as fatal."""
    if request.query.get("watch") != "true":
        return None
    return web.json_response(
        {"type": "ERROR", "object": {"kind": "Status", "code": 500, "message": "the test"}}
    )
